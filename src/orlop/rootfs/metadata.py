"""Owner, extended attributes, mode and times of what is written: in this order, each only if it changes something."""

from __future__ import annotations

import errno
import os

from ..errors import Invalid
from ..model.tree import Inode, Kind

_NOBODY = 0xFFFFFFFF  # chown(2) takes it for "leave as it is"


class Metadata:
    """Applies what a tree says. `own`: also owners, and attributes that need privileges.

    What cannot be applied becomes a line of `notes`, once for each reason. Methods are safe from any thread.
    """

    def __init__(self, *, own: bool, umask: int) -> None:
        self._own = own
        self._umask = umask
        self._user = os.geteuid()
        self._group = os.getegid()
        self.notes: dict[str, None] = {}

    def mode(self, inode: Inode) -> int:
        """The final mode. Without the owner, setuid would lend this user's rights to anyone."""
        if self._own or not inode.mode & 0o6000 or inode.kind is Kind.DIRECTORY:
            return inode.mode
        self.note("setuid and setgid: need root, left out")
        return inode.mode & 0o1777

    def created_with(self, inode: Inode) -> int:
        """The mode to create a file with: the final one where nothing needs it to be set later."""
        return 0o600 if inode.mode & 0o7000 or inode.xattrs else inode.mode

    def apply_open(self, descriptor: int, inode: Inode, mode: int) -> None:
        """To an open file or directory that was created with `mode`, its content complete."""
        if self._own and (inode.uid != self._user or inode.gid != self._group):
            os.fchown(descriptor, *_owner(inode))
        if inode.xattrs:
            self._set_xattrs(descriptor, inode, follow=True)
        final = self.mode(inode)
        # an ACL among the attributes has changed the mode
        if inode.xattrs or mode & ~self._umask != final:
            os.fchmod(descriptor, final)
        os.utime(descriptor, ns=(inode.mtime_ns, inode.mtime_ns))

    def apply_named(self, directory: int, name: bytes, inode: Inode) -> None:
        """To a symlink, device, fifo or socket just made under `name`; never through a link."""
        if self._own and (inode.uid != self._user or inode.gid != self._group):
            uid, gid = _owner(inode)
            os.chown(name, uid, gid, dir_fd=directory, follow_symlinks=False)
        if inode.xattrs:
            # there is no lsetxattr with a directory descriptor before Linux 6.13
            self._set_xattrs(b"/proc/self/fd/%d/%s" % (directory, name), inode, follow=False)
        if inode.kind is not Kind.SYMLINK:
            handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            try:
                os.chmod(f"/proc/self/fd/{handle}", self.mode(inode))
            finally:
                os.close(handle)
        times = (inode.mtime_ns, inode.mtime_ns)
        os.utime(name, ns=times, dir_fd=directory, follow_symlinks=False)

    def note(self, text: str) -> None:
        self.notes[text] = None

    def _set_xattrs(self, place: int | bytes, inode: Inode, *, follow: bool) -> None:
        for name, value in inode.xattrs:
            if not self._own and not name.startswith(b"user."):
                self.note(f"xattr {_text(name)}: needs root, left out")
                continue
            try:
                os.setxattr(place, name, value, follow_symlinks=follow)
            except OSError as error:
                # ext4 says ENOSPC also for a value that is too large for it, with room enough on the disk
                full = error.errno in (errno.ENOSPC, errno.EDQUOT)
                if full and os.statvfs(place if isinstance(place, int) else os.path.dirname(place)).f_bavail == 0:
                    raise
                if not full and error.errno not in _REFUSED:
                    raise
                self.note(f"xattr {_text(name)}: left out: {os.strerror(error.errno or 0).lower()}")


_REFUSED = (errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.E2BIG, errno.ERANGE, errno.EINVAL)


def _owner(inode: Inode) -> tuple[int, int]:
    if _NOBODY in (inode.uid, inode.gid):
        raise Invalid(f"owner {inode.uid}:{inode.gid}: the number {_NOBODY} stands for nobody on Linux")
    return inode.uid, inode.gid


def _text(name: bytes) -> str:
    return name.decode(errors="backslashreplace")
