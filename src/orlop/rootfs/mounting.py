"""Mounts made and undone by system calls, no external program and no loop device: mount(2), fsopen(2)."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ..disk import syscalls
from ..errors import Busy, Error, NotFound, Unsupported
from .failures import failure
from .mountinfo import holders, mounts

# fsconfig(2) copies values with strndup_user(value, 256)
_VALUE_BYTES = 255
# statvfs flags with the value of the mount flag of the same name
_STRANGER = os.ST_NOSUID | os.ST_NODEV
_BIND_KEEPS = os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC


def mount_erofs(image: Path, devices: Sequence[Path], target: Path, *, directio: bool = False) -> None:
    """Show an EROFS image, whose device slot i + 1 is the file `devices[i]`, read-only at `target`.

    As all read-only mounts here it is nosuid and nodev: an image is a stranger's, and other users of this machine
    can reach it. (A writable overlay over it is not bound by that.) `Denied` without CAP_SYS_ADMIN, `Unsupported` if
    the kernel has no EROFS or cannot mount plain files (before Linux 6.12).
    """
    with _erofs(image, devices, target, directio=directio) as mount:
        syscalls.move_mount(mount, target)


def try_erofs(image: Path, devices: Sequence[Path]) -> None:
    """Mount an image nowhere, and let go of it. Errors as `mount_erofs`."""
    with _erofs(image, devices, image):
        pass


def mount_overlay(lower: Sequence[Path], target: Path, *, upper: Path | None = None, work: Path | None = None) -> None:
    """Show directories as one at `target`, the uppermost first in `lower`.

    Read-only unless `upper` and `work` are given: directories on one file system, `work` empty.
    """
    if len(lower) == 1 and upper is None:
        # overlayfs wants two
        bind(lower[0], target, read_only=True)
        return
    try:
        with _overlay(lower, target, upper, work) as mount:
            syscalls.move_mount(mount, target)
    except Unsupported as error:
        # kernels before 6.7 do not know lowerdir+; the oldest of them do not even say so
        if error.hint and "nknown parameter" not in error.hint:
            raise
        _mount_overlay_old(lower, target, upper, work)


def bind(source: Path, target: Path, *, read_only: bool) -> None:
    """Show the directory `source` at `target` too, at least as nosuid, nodev, noexec as where it comes from, and
    nosuid and nodev if `read_only`."""
    with _failures(target):
        kept = os.statvfs(source).f_flag & _BIND_KEEPS
        syscalls.mount(os.fsencode(source), target, b"", syscalls.MS_BIND)
        if read_only:
            try:
                flags = syscalls.MS_BIND | syscalls.MS_REMOUNT | syscalls.MS_RDONLY | _STRANGER | kept
                syscalls.mount(b"", target, b"", flags)
            except OSError:
                syscalls.umount2(target, syscalls.MNT_DETACH)
                raise


def mount_memory(target: Path, options: str = "mode=0700") -> None:
    """A tmpfs at `target`."""
    with _failures(target):
        syscalls.mount(b"orlop", target, b"tmpfs", 0, options.encode())


def unmount(target: Path, *, lazy: bool = False) -> None:
    """Undo the uppermost mount at `target`. `Busy` names who holds it, where /proc tells; `NotFound` if there
    is no mount. `lazy`: out of sight now, gone once nobody uses it."""
    flags = syscalls.UMOUNT_NOFOLLOW | (syscalls.MNT_DETACH if lazy else 0)
    try:
        syscalls.umount2(target, flags)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise _busy(target) from error
        if error.errno == errno.EINVAL:
            raise NotFound(f"{target}: is not a mount") from error
        raise _translated(error, target) from error


def _busy(target: Path) -> Busy:
    """Who holds a mount. Whoever calls from inside holds it himself: his working directory is his shell's."""
    place = os.path.realpath(target)
    inner = [mount.target for mount in mounts() if str(mount.target).startswith(f"{place}/")]
    if inner:
        text = f"{target}: mount is in use: {', '.join(map(str, inner[:5]))} is mounted inside"
        return Busy(text, hint="unmount what is inside first, or all of it with --lazy")
    users, ours = dict(holders(target)), []
    with suppress(OSError):  # the working directory may be gone
        if Path.cwd().is_relative_to(target.resolve()):
            ours = [process for process in (os.getpid(), os.getppid()) if users.pop(process, "")]
    inside = f"this {'shell' if os.getppid() in ours else 'process'}'s working directory is inside" if ours else ""
    others = ", ".join(f"{name} ({process})" for process, name in list(users.items())[:5])
    told = "; ".join(filter(None, (f"by {others}" if others else "", inside)))
    hint = "leave it" if inside and not others else "end what uses it"
    text = f"{target}: mount is in use{' ' if others else ': ' if told else ''}{told}"
    return Busy(text, hint=f"{hint}, or unmount it with --lazy")


def _set(context: int, key: str, value: bytes) -> None:
    syscalls.fsconfig(context, syscalls.FSCONFIG_SET_STRING, key, value)


def _short(path: Path, held: ExitStack) -> bytes:
    """The absolute path, or one through an open descriptor where the kernel would cut it or unescape it."""
    name = os.path.abspath(os.fsencode(path))
    if len(name) <= _VALUE_BYTES and b"\\" not in name:
        return name
    descriptor = os.open(name, os.O_PATH | os.O_CLOEXEC)
    held.callback(os.close, descriptor)
    return b"/proc/self/fd/%d" % descriptor


@contextmanager
def _context(kind: str, target: Path) -> Iterator[int]:
    """A file system context; what fails inside is told with the kernel's own messages."""
    with _failures(target, f"this kernel has no {kind}"):
        context = syscalls.fsopen(kind)
    try:
        yield context
    except OSError as error:
        raise _translated(error, target, _messages(context)) from error
    finally:
        os.close(context)


@contextmanager
def _erofs(image: Path, devices: Sequence[Path], target: Path, *, directio: bool = False) -> Iterator[int]:
    with ExitStack() as held, _context("erofs", target) as context:
        _set(context, "source", _short(image, held))
        for device in devices:
            _set(context, "device", _short(device, held))
        if directio:
            syscalls.fsconfig(context, syscalls.FSCONFIG_SET_FLAG, "directio")
        with _created(context, read_only=True) as mount:
            yield mount


@contextmanager
def _overlay(lower: Sequence[Path], target: Path, upper: Path | None, work: Path | None) -> Iterator[int]:
    with ExitStack() as held, _context("overlay", target) as context:
        _set(context, "source", b"orlop")
        for directory in lower:
            _set(context, "lowerdir+", _short(directory, held))
        if upper is not None and work is not None:
            _set(context, "upperdir", _short(upper, held))
            _set(context, "workdir", _short(work, held))
        with _created(context, read_only=upper is None) as mount:
            yield mount


@contextmanager
def _created(context: int, *, read_only: bool) -> Iterator[int]:
    """A mount of a context that is set up; it goes away again unless it is moved to a place."""
    if read_only:
        syscalls.fsconfig(context, syscalls.FSCONFIG_SET_FLAG, "ro")
    syscalls.fsconfig(context, syscalls.FSCONFIG_CMD_CREATE)
    stranger = syscalls.MOUNT_ATTR_RDONLY | syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NODEV
    mount = syscalls.fsmount(context, stranger if read_only else 0)
    try:
        yield mount
    finally:
        os.close(mount)


def _messages(context: int) -> str:
    """The kernel's errors and warnings about a context: "e overlay: ..." a read."""
    lines: list[str] = []
    with suppress(OSError):
        while len(lines) < 16:
            lines.append(os.read(context, 4096).decode(errors="replace").strip())
    return "; ".join(line[2:] for line in lines if line[:2] in ("e ", "w "))


@contextmanager
def _failures(target: Path, missing: str = "") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if missing and error.errno == errno.ENODEV:
            raise Unsupported(missing) from error
        raise _translated(error, target) from error


def _translated(error: OSError, target: Path, messages: str = "") -> Error:
    found = failure(error, "mount", target)
    if messages:
        found.hint = f"the kernel says: {messages}"
    return found


def _mount_overlay_old(lower: Sequence[Path], target: Path, upper: Path | None, work: Path | None) -> None:
    """By mount(2), for kernels without lowerdir+: everything in one page of options."""
    options = [b"lowerdir=" + b":".join(_escaped(directory, b"\\:,") for directory in lower)]
    if upper is not None and work is not None:
        options += [b"upperdir=" + _escaped(upper, b"\\,"), b"workdir=" + _escaped(work, b"\\,")]
    data = b",".join(options)
    if len(data) >= os.sysconf("SC_PAGE_SIZE"):
        raise Unsupported(f"{target}: {len(lower)} layers do not fit one mount on this kernel; expected Linux 6.7")
    with _failures(target):
        syscalls.mount(b"orlop", target, b"overlay", syscalls.MS_RDONLY | _STRANGER if upper is None else 0, data)


def _escaped(path: Path, special: bytes) -> bytes:
    name = os.path.abspath(os.fsencode(path))
    return b"".join(b"\\" + bytes((byte,)) if byte in special else bytes((byte,)) for byte in name)
