"""Whether the program that a container is to start is there: told before a runtime says it in its own way."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from ..disk import syscalls
from ..errors import Denied, NotFound

_RESOLVE_NO_MAGICLINKS, _RESOLVE_IN_ROOT = 0x02, 0x10  # openat2(2)
_LOOK = os.O_PATH | os.O_CLOEXEC
# what runc 1.1 and crun 1.8 write about it
_RUNC = r"container process: exec:? .*: "
_MISSING = re.compile(rf"executable file .*not found|{_RUNC}(no such file or directory|not a directory)")
_REFUSED = re.compile(rf"({_RUNC}|open executable: )(permission denied|operation not permitted|is a directory)")


class NoProgram(NotFound):
    """The program is not in the image. The exit code is a shell's."""

    exit_code = 127


class NotExecutable(Denied):
    """The program is there, and cannot be executed. The exit code is a shell's."""

    exit_code = 126


def check_program(root: Path, name: str, path: str, directory: str, hidden: Sequence[str] = ()) -> None:
    """Look for the program `name` as a process in the tree at `root` would: along `path` (directories with colons
    between them) if it has no slash, else from `directory`. `NoProgram`, `NotExecutable`.

    What lies below `hidden` (paths that are mounted over) and whatever else cannot be told is left to the runtime.
    """
    places = [directory] if "/" in name else path.split(":")
    seen = [_state(root, str(PurePosixPath("/", directory, place, name)), hidden) for place in places]
    if "ok" in seen or "unknown" in seen:
        return
    raise _refused(name) if "refused" in seen else _missing(name)


def refuse_log(text: str, name: str) -> None:
    """Raise what a runtime's log says of the program, if it says anything of it: `NoProgram`, `NotExecutable`."""
    told = text.lower()
    if _MISSING.search(told):
        raise _missing(name)
    if _REFUSED.search(told):
        raise _refused(name)


def _missing(name: str) -> NoProgram:
    where = "image" if "/" in name else "image's PATH"
    return NoProgram(f"program {name[:200]!r}: not in the {where}")


def _refused(name: str) -> NotExecutable:
    return NotExecutable(f"program {name[:200]!r}: is not executable")


def _state(root: Path, place: str, hidden: Sequence[str]) -> str:
    """ok, missing, refused or unknown. Links are followed as in the container, never out of `root`."""
    if any(PurePosixPath(place).is_relative_to(other) for other in hidden):
        return "unknown"
    try:
        mode = _mode(root, place, 0)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            return "unknown"
        return "unknown" if _is_link(root, place) else "missing"
    return "ok" if stat.S_ISREG(mode) and mode & 0o111 else "refused"


def _is_link(root: Path, place: str) -> bool:
    """A link that leads nowhere here may lead somewhere in the container."""
    try:
        return stat.S_ISLNK(_mode(root, place, os.O_NOFOLLOW))
    except OSError:
        return False


def _mode(root: Path, place: str, flags: int) -> int:
    top = os.open(root, _LOOK | os.O_DIRECTORY)
    try:
        found = syscalls.openat2(top, os.fsencode(place), _LOOK | flags, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    finally:
        os.close(top)
    try:
        return os.fstat(found).st_mode
    finally:
        os.close(found)
