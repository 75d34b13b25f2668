"""What is mounted, and who uses it: /proc/self/mountinfo and /proc/<pid> (proc_pid_mountinfo(5))."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_ESCAPE = re.compile(rb"\\([0-7]{3})")


class Mount(NamedTuple):
    """One line of mountinfo, unescaped."""

    target: Path
    kind: str  # file system type: erofs, overlay, ext4
    source: str
    root: str  # the directory of the file system that is shown: not "/" for binds
    read_only: bool
    device: tuple[int, int]


def mounts() -> list[Mount]:
    """Every mount of this mount namespace, in the order they were made; a later one hides an earlier one."""
    content = Path("/proc/self/mountinfo").read_bytes()
    return [_parsed(line) for line in content.splitlines()]


def is_target(place: Path) -> bool:
    """Whether something is mounted at a directory. `Path.is_mount` does not see a bind within one file system."""
    real = Path(os.path.realpath(place))
    return any(mount.target == real for mount in mounts())


def _parsed(line: bytes) -> Mount:
    fields = line.split(b" ")
    rest = fields[fields.index(b"-") + 1 :]
    major, _, minor = fields[2].partition(b":")
    options = fields[5].split(b",") + rest[2].split(b",")
    return Mount(
        target=Path(_plain(fields[4])),
        kind=_plain(rest[0]),
        source=_plain(rest[1]),
        root=_plain(fields[3]),
        read_only=b"ro" in options,
        device=(int(major), int(minor)),
    )


def _plain(field: bytes) -> str:
    return os.fsdecode(_ESCAPE.sub(lambda found: bytes((int(found[1], 8),)), field))


def holders(target: Path) -> list[tuple[int, str]]:
    """(process id, command) of those that work in, run from, or hold open something at `target` or below.

    Only what this user may see; a process can end meanwhile.
    """
    place = os.path.realpath(os.fsencode(target))
    found = []
    for entry in os.listdir("/proc"):
        with suppress(OSError):
            if entry.isdecimal() and _uses(f"/proc/{entry}", place):
                found.append((int(entry), Path(f"/proc/{entry}/comm").read_text(errors="replace").strip()))
    return found


def _uses(process: str, place: bytes) -> bool:
    links = [f"{process}/cwd", f"{process}/root", f"{process}/exe"]
    links += [f"{process}/fd/{descriptor}" for descriptor in os.listdir(f"{process}/fd")]
    for link in links:
        with suppress(OSError):
            # by name, not by stat: a stat could hang on a dead network mount
            name = os.readlink(os.fsencode(link))
            if name == place or name.startswith(place + b"/"):
                return True
    return False
