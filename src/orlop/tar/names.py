"""Names in archives: raw bytes, cleaned lexically and clamped to the root."""

from __future__ import annotations


def clean(name: bytes) -> list[bytes]:
    """The parts of `name` without empty ones, "." and "..": `a/../b` is `b`, `../../x` and `/x` are `x`.

    As Go's `filepath.Clean("/" + name)`, which containerd, Docker and umoci apply before anything else.
    """
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if parts:
                parts.pop()
        elif part and part != b".":
            parts.append(part)
    return parts


def shown(name: bytes) -> str:
    """`name` for messages: at most 200 characters, nothing in it that a terminal would obey."""
    text = name.decode("utf-8", "backslashreplace")
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return text if len(text) <= 200 else text[:180] + "..." + text[-17:]
