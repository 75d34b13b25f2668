"""What goes to stdout: tables for people, JSON documents for programs, and how sizes and ages are written."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from ..errors import Error, Partial, Usage

_FILES = ("oci", "oci-archive", "docker-archive")
_SEPARATORS = str.maketrans("/:@", "   ")
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_AGES = (("year", 31_557_600), ("month", 2_629_800), ("week", 604_800), ("day", 86_400), ("hour", 3600), ("minute", 60))


def size(count: int) -> str:
    """Bytes in decimal units, three digits: `512 B`, `47.3 MB`."""
    value = float(count)
    for unit in _UNITS:
        if value < 999.5 or unit == _UNITS[-1]:
            break
        value /= 1000
    return f"{count} B" if unit == "B" else f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"


def count(number: int, thing: str) -> str:
    """`1 blob`, `2 blobs`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def age(moment: str, now: datetime | None = None) -> str:
    """How long ago an RFC 3339 moment was: `3 days ago`. What is no moment comes back as it is."""
    then = _moment(moment)
    if then is None:
        return moment
    seconds = ((now or datetime.now(UTC)) - then).total_seconds()
    if seconds < 0:
        return then.date().isoformat()
    for name, length in _AGES:
        if seconds >= length:
            return f"{count(int(seconds // length), name)} ago"
    return "just now"


def _moment(text: str) -> datetime | None:
    # more than six digits of a second are allowed by RFC 3339, and usual in images
    head, dot, rest = text.partition(".")
    if dot:
        digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        text = f"{head}.{digits[:6].ljust(6, '0')}{rest[len(digits) :]}"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def printable(text: str) -> str:
    """Without control characters: text from images and registries must not drive the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return f"\\x{ord(character):02x}" if ord(character) < 256 else "\ufffd"


def labelled(reference: str, error: Error) -> str:
    """The line of an error that is one of several: with the reference in front, unless it begins so itself."""
    text, bare = str(error), _bare(reference)
    subject = f"/{text.partition(': ')[0]}:"
    return text if f"/{bare}:" in subject else f"{reference}: {text}"


def told_of(reference: str, error: Error) -> str:
    """The message of an error about the only reference there is: with it in front, unless the subject is it, its host
    or file, or another file of this machine. What is wrong with the reference itself quotes it."""
    subject = error.message.partition(": ")[0]
    named = _words(_place(reference)) in _words(subject) or " /" in f" {subject}"
    return error.message if named or isinstance(error, Usage) else f"{reference}: {error.message}"


def _bare(reference: str) -> str:
    return reference.removeprefix("store:").removeprefix("docker://")


def _place(reference: str) -> str:
    """The file, or the host, or the name where there is no host."""
    transport, _, rest = reference.partition(":")
    return rest.partition(":")[0] if transport in _FILES else _bare(reference).partition("/")[0]


def _words(text: str) -> str:
    return f" {text.translate(_SEPARATORS)} "


def ended(failures: Sequence[Error], asked: int) -> int:
    """The exit code where each of `asked` things was tried and some failed: 6 means that others were done."""
    codes = {error.exit_code for error in failures}
    if len(failures) < asked:
        return Partial.exit_code if codes else 0
    return codes.pop() if len(codes) == 1 else Error.exit_code


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns under headings. A heading that starts with `>` makes its column right-aligned."""
    cells = [[head.lstrip(">") for head in heads], *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    for row in cells:
        parts = [
            cell.rjust(width) if head.startswith(">") else cell.ljust(width)
            for cell, width, head in zip(row, widths, heads, strict=True)
        ]
        print("  ".join(parts).rstrip())


def facts(rows: Iterable[tuple[str, str]]) -> None:
    """Names and values, one a line. Rows without a value are left out. On a terminal where a value would be broken
    beside its name, but not on a line of its own, it gets one: a digest should stay whole in 80 columns."""
    shown = [(name, printable(value)) for name, value in rows if value]
    width = max((len(name) for name, _ in shown), default=0)
    columns = os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout.isatty() else 0
    for name, value in shown:
        if width + 2 + len(value) > columns >= 2 + len(value):
            print(f"{name}\n  {value}" if name else f"  {value}")
        else:
            print(f"{name.ljust(width)}  {value}")


def document(value: Any) -> None:
    """One JSON document on stdout."""
    import json

    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def raw(content: bytes) -> None:
    """Bytes on stdout exactly as they are, without a newline of ours."""
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
