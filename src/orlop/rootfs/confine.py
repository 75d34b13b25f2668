"""Where OCI runtimes cannot work as things are, a mount namespace in which they can; then the runtime itself.

A program of its own, run as `python confine.py HIDE ROOT PROGRAM ARGS...`, because a namespace is entered for good.
HIDE covers cgroups: "unified" those of version 2 in a hybrid tree, with which crun does not run; "all" the place where
none are mounted, without which it does not run either; "" nothing. ROOT (a directory
or "") is where this root is mounted again and entered: in a chroot "/" is no mount, and runtimes need it to be one.
"""

from __future__ import annotations

import ctypes
import os
import sys

_CLONE_NEWNS = 0x20000
_MS_READ_ONLY, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 1 << 12, 1 << 14, 1 << 18
_CGROUPS = "/sys/fs/cgroup"


def main(hide: str, root: str, *command: str) -> None:
    """Does not return: the process becomes `command`. OSError with what failed."""
    libc = ctypes.CDLL(None, use_errno=True)

    def mount(source: str, target: str, kind: str, flags: int) -> None:
        words = [os.fsencode(word) if word else None for word in (source, target, kind)]
        if libc.mount(*words, ctypes.c_ulong(flags), None) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), target)

    if libc.unshare(_CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "mount namespace")
    if hide == "unified":
        mount("", _CGROUPS, "", _MS_REC | _MS_PRIVATE)
        mount("none", f"{_CGROUPS}/unified", "tmpfs", _MS_READ_ONLY)
    elif hide:
        mount("", "/sys", "", _MS_REC | _MS_PRIVATE)
        mount("none", _CGROUPS, "tmpfs", _MS_READ_ONLY)
    if root:
        here = os.getcwd()
        mount("/", root, "", _MS_BIND | _MS_REC)
        mount("", root, "", _MS_REC | _MS_PRIVATE)
        os.chroot(root)
        os.chdir(here)
    os.execv(command[0], command)  # noqa: S606 -- no shell is what is wanted


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as failed:
        sys.exit(f"orlop: cannot make a place for the runtime: {failed.filename}: {failed.strerror}")
