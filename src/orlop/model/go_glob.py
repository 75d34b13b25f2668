"""Patterns of names as Go's `path.Match` has them: `*` and `?` stop at a slash."""

from __future__ import annotations

from collections.abc import Callable

_Test = Callable[[str], bool]


def matches(pattern: str, name: str) -> bool:
    """Whether the whole name fits. A malformed pattern fits nothing. In time of pattern times name."""
    try:
        parts = _parts(pattern)
    except ValueError:
        return False
    at = part = 0
    star = back = -1  # the last `*`, and how far it reaches
    while at < len(name):
        test = parts[part] if part < len(parts) else None
        if part < len(parts) and test is None:
            star, back, part = part, at, part + 1
        elif test is not None and test(name[at]):
            at, part = at + 1, part + 1
        elif star >= 0 and name[back] != "/":
            back += 1
            at, part = back, star + 1
        else:
            return False
    return all(test is None for test in parts[part:])


def _parts(pattern: str) -> list[_Test | None]:
    """A test for each character, None for `*`."""
    parts: list[_Test | None] = []
    at = 0
    while at < len(pattern):
        sign = pattern[at]
        if sign == "[":
            test, at = _class(pattern, at + 1)
            parts.append(test)
            continue
        if sign == "*":
            parts.append(None)
        elif sign == "?":
            parts.append(lambda character: character != "/")
        else:
            sign, at = _literal(pattern, at)
            parts.append(sign.__eq__)
            continue
        at += 1
    return parts


def _class(pattern: str, at: int) -> tuple[_Test, int]:
    negated = pattern[at : at + 1] == "^"
    at += negated
    ranges: list[tuple[str, str]] = []
    while not ranges or pattern[at : at + 1] != "]":
        if pattern[at : at + 1] in ("-", "]"):
            raise ValueError
        low, at = _literal(pattern, at)
        high = low
        if pattern[at : at + 1] == "-":
            high, at = _literal(pattern, at + 1)
        ranges.append((low, high))
    return (lambda character: any(low <= character <= high for low, high in ranges) != negated), at + 1


def _literal(pattern: str, at: int) -> tuple[str, int]:
    """One character, behind a backslash or not, and where the next is."""
    at += pattern[at : at + 1] == "\\"
    if at >= len(pattern):
        raise ValueError
    return pattern[at], at + 1
