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
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
# what the kernel looks at, and how many interpreters it follows: execve(2)
_HEAD_BYTES = 256
_INTERPRETERS = 5
# machines of ELF files (elf(5), e_machine) that a kernel may run; others are not judged
_MACHINES = {
    "x86_64": (62, 3),
    "aarch64": (183, 40),
    "riscv64": (243,),
    "ppc64le": (21,),
    "s390x": (22,),
    "loongarch64": (258,),
}
# programs for other kinds of files, if there are any
_HANDLERS = Path("/proc/sys/fs/binfmt_misc")
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
    between them) if it has no slash, else from `directory`, and whether the kernel would take it. `NoProgram`,
    `NotExecutable`.

    What lies below `hidden` (paths that are mounted over) and whatever else cannot be told is left to the runtime.
    """
    places = [directory] if "/" in name else path.split(":")
    refused = False
    for place in places:
        full = str(PurePosixPath("/", directory, place, name))
        state = _state(root, full, hidden)
        if state == "ok":
            _check_content(root, full, directory, hidden, name)
        if state in ("ok", "unknown"):
            return
        refused = refused or state == "refused"
    raise _refused(name) if refused else _missing(name)


def refuse_log(text: str, name: str) -> None:
    """Raise what a runtime's log says of the program, if it says anything of it: `NoProgram`, `NotExecutable`."""
    told = text.lower()
    if _MISSING.search(told):
        raise _missing(name)
    if _REFUSED.search(told):
        raise _refused(name)


def _check_content(root: Path, place: str, directory: str, hidden: Sequence[str], name: str) -> None:
    """Scripts need their interpreter, and anything else must be made for this machine."""
    about = f"program {name[:200]!r}"
    for _ in range(_INTERPRETERS):
        head = _head(root, place)
        if head is None:
            return
        if not head.startswith(b"#!"):
            if (why := _unfit(head)) is not None:
                raise NotExecutable(f"{about}: {why}")
            return
        line, newline, _rest = head[2:].partition(b"\n")
        words = line.strip(b" \t").replace(b"\t", b" ").split(b" ", 1)
        if not newline and len(head) == _HEAD_BYTES and len(words) == 1:
            return  # cut: kernels differ about it
        if not words[0]:
            raise NotExecutable(f"{about}: is a script without an interpreter")
        place = str(PurePosixPath("/", directory, os.fsdecode(words[0])))
        state = _state(root, place, hidden)
        about += f": its interpreter {place[:200]!r}"
        if state == "missing":
            raise NoProgram(f"{about} is not in the image")
        if state == "refused":
            raise NotExecutable(f"{about} is not executable")
        if state == "unknown":
            return


def _head(root: Path, place: str) -> bytes | None:
    """None if it cannot be read, as it need not be."""
    try:
        with open(_opened(root, place, _READ), "rb", buffering=0) as file:
            return file.read(_HEAD_BYTES)
    except OSError:
        return None


def _unfit(head: bytes) -> str | None:
    """Why no kernel of this machine executes what begins so; None if it may."""
    own = _MACHINES.get(os.uname().machine)
    if head.startswith(b"\x7fELF") and len(head) > 19:
        machine = int.from_bytes(head[18:20], "big" if head[5] == 2 else "little")
        if own is None or machine in own or _may_have_handlers():
            return None
        return f"is for another kind of machine, expected {os.uname().machine}"
    # those who register handlers go by marks that are no text
    is_text = all(byte in b"\t\n\r\f\v" or byte >= 0x20 for byte in head)
    return "is neither a script with #! nor a program" if is_text or not _may_have_handlers() else None


def _may_have_handlers() -> bool:
    if (_HANDLERS / "status").exists():
        return any(entry.name not in ("register", "status") for entry in _HANDLERS.iterdir())
    # out of sight, as in a container; the kernel may have some all the same
    return "binfmt_misc" in Path("/proc/filesystems").read_text()


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
    found = _opened(root, place, _LOOK | flags)
    try:
        return os.fstat(found).st_mode
    finally:
        os.close(found)


def _opened(root: Path, place: str, flags: int) -> int:
    top = os.open(root, _LOOK | os.O_DIRECTORY)
    try:
        return syscalls.openat2(top, os.fsencode(place), flags, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    finally:
        os.close(top)
