"""Users and groups by an image's own /etc/passwd and /etc/group, read without ever leaving its root."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from ..errors import Denied, Invalid, NotFound, Unsafe
from ..model.limits import MIB, PATH_DEPTH, SYMLINKS_FOLLOWED
from ..model.runtime import User

# account files of real systems are under 20 KiB; containerd read without end (CVE-2026-47262)
ACCOUNT_BYTES = 1 * MIB
GROUPS = 65_536  # NGROUPS_MAX of Linux
_ID_LIMIT = (1 << 32) - 1  # -1 means "leave it" to chown(2) and setresuid(2)
_HERE = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def find_user(root: Path, text: str) -> User:
    """The user `name|uid[:group|gid]` of the image whose tree is at `root`; "" is root.

    image-spec config.md "User": without a group, the group and supplementary groups of the account files
    hold; a uid without an account has group 0. `NotFound` for a name that is not there, `Unsafe` for files
    that are no bounded plain files, `Invalid` for numbers out of range.
    """
    name, colon, group = (text or "0").partition(":")
    if not name or (colon and not group):
        raise Invalid(f"user {text[:80]!r}: expected name or uid, then maybe a colon and a group or gid")
    uid = _number(name)
    if uid is not None and colon and _number(group) is not None:
        return User(uid, _number(group) or 0, home=_home(root, uid))
    account = _account(root, name, uid)
    if account is None and uid is None:
        raise NotFound(f"user {name[:80]!r}: not in the image's /etc/passwd", hint="a uid works without")
    found, user_name = account or (User(uid or 0, 0), "")
    if colon:
        return User(found.uid, _group(root, group), home=found.home)
    return User(found.uid, found.gid, _memberships(root, user_name, found.gid), found.home)


def _number(text: str) -> int | None:
    if not (text.isascii() and text.isdigit()):
        return None
    value = int(text[:11])
    if value >= _ID_LIMIT:
        raise Invalid(f"user: {text[:20]} is out of range, at most {_ID_LIMIT - 1}")
    return value


def _account(root: Path, name: str, uid: int | None) -> tuple[User, str] | None:
    by_number = None
    for fields in _lines(root, "etc/passwd", 7):
        numbers = _numbers(fields[2], fields[3])
        if numbers is None:
            continue
        home = fields[5] if fields[5].startswith("/") else "/"
        found = User(numbers[0], numbers[1], home=home), fields[0]
        if fields[0] == name:
            return found
        if by_number is None and uid == numbers[0]:
            by_number = found
    return by_number


def _home(root: Path, uid: int) -> str:
    """Only a comfort: numbers were given, so bad account files do not matter."""
    try:
        account = _account(root, str(uid), uid)
    except Unsafe:
        return "/"
    return account[0].home if account else "/"


def _group(root: Path, text: str) -> int:
    number = _number(text)
    for fields in _lines(root, "etc/group", 4):
        if fields[0] == text and (numbers := _numbers(fields[2])) is not None:
            return numbers[0]
    if number is None:
        raise NotFound(f"group {text[:80]!r}: not in the image's /etc/group", hint="a gid works without")
    return number


def _memberships(root: Path, user_name: str, gid: int) -> tuple[int, ...]:
    if not user_name:
        return ()
    found: dict[int, None] = {}
    for fields in _lines(root, "etc/group", 4):
        numbers = _numbers(fields[2])
        if numbers is not None and numbers[0] != gid and user_name in fields[3].split(","):
            found[numbers[0]] = None
    if len(found) > GROUPS:
        raise Unsafe(f"user {user_name[:80]!r}: is in {len(found)} groups, at most {GROUPS} are taken")
    return tuple(found)


def _numbers(*texts: str) -> tuple[int, ...] | None:
    """None for lines that are no accounts: NIS markers, comments, damage."""
    if not all(text.isascii() and text.isdigit() and len(text) <= 10 for text in texts):
        return None
    values = tuple(map(int, texts))
    return values if max(values) < _ID_LIMIT else None


def _lines(root: Path, path: str, count: int) -> Iterator[list[str]]:
    for line in read_inside(root, path).decode("utf-8", errors="surrogateescape").split("\n"):
        fields = line.rstrip("\r").split(":")
        if len(fields) >= count and fields[0]:
            yield fields


def read_inside(root: Path, path: str) -> bytes:
    """A plain file below `root`, b"" if there is none. Symlinks are followed as a process whose `/` is `root`
    would. `Unsafe` if it is larger than `ACCOUNT_BYTES`, or a device, fifo or directory."""
    with ExitStack() as opened:
        try:
            descriptor = _open_inside(root, path, opened)
        except (FileNotFoundError, NotADirectoryError):
            return b""
        except PermissionError as error:
            raise Denied(f"image: /{path} cannot be read: {(error.strerror or '').lower()}") from error
        except OSError as error:
            raise Unsafe(f"image: /{path} cannot be opened: {(error.strerror or '').lower()}") from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Unsafe(f"image: /{path} is not a plain file")
        content = b""
        while chunk := os.read(descriptor, ACCOUNT_BYTES + 1 - len(content)):
            content += chunk
            if len(content) > ACCOUNT_BYTES:
                raise Unsafe(f"image: /{path} is larger than {ACCOUNT_BYTES} bytes", hint="name the user as UID:GID")
        return content


def _open_inside(root: Path, path: str, opened: ExitStack) -> int:
    """Component by component, each by the descriptor of the one before: a name that changes meanwhile leads
    nowhere else. `..` goes back over descriptors that are held, so never above `root`."""

    def keep(descriptor: int) -> int:
        opened.callback(os.close, descriptor)
        return descriptor

    held = [keep(os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))]
    left, followed = path.split("/")[::-1], 0
    while left:
        name = left.pop()
        if name in ("", "."):
            continue
        if name == "..":
            held = held[: max(1, len(held) - 1)]
            continue
        if stat.S_ISLNK(os.stat(name, dir_fd=held[-1], follow_symlinks=False).st_mode):
            followed += 1
            target = os.readlink(name, dir_fd=held[-1])
            if followed > SYMLINKS_FOLLOWED or len(held) + len(left) > PATH_DEPTH:
                raise Unsafe(f"image: /{path} is behind more than {SYMLINKS_FOLLOWED} symbolic links")
            if target.startswith("/"):
                held = held[:1]
            left.extend(target.split("/")[::-1])
        elif any(part not in ("", ".") for part in left):
            held.append(keep(os.open(name, _HERE, dir_fd=held[-1])))
        else:
            # a fifo or a device may do things when it is opened, so look before
            if not stat.S_ISREG(os.stat(name, dir_fd=held[-1], follow_symlinks=False).st_mode):
                raise Unsafe(f"image: /{path} is not a plain file")
            return keep(os.open(name, _READ, dir_fd=held[-1]))
    raise Unsafe(f"image: /{path} is not a plain file")
