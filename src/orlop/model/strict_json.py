"""JSON from outside, read strictly: hazards PA10 of the parsing catalogue are refused, not guessed at."""

from __future__ import annotations

import json
import re
from typing import Any

from ..errors import Invalid
from .limits import JSON_BYTES_A_VALUE, JSON_DEPTH, JSON_FREE_VALUES, JSON_NUMBER_DIGITS

_STRING = re.compile(rb'"[^"]*"?')
_SHOWN = 80


def loads(raw: bytes, *, what: str) -> Any:
    """Parse UTF-8 JSON. Refuses duplicate keys, depth over 64, NaN, huge numbers, a BOM, lone surrogates,
    trailing bytes, and so many small values that they would take 20 to 50 times their bytes in memory, each with an
    `Invalid` that starts with `what`."""
    _check_values(raw, what)
    try:
        text = raw.decode("utf-8", errors="strict")
        if text.startswith("\ufeff"):
            raise Invalid(f"{what}: starts with a byte order mark, expected plain UTF-8 JSON")
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer, parse_float=_float
        )
    except Invalid as error:
        raise Invalid(error.message if error.message.startswith(what) else f"{what}: {error.message}") from None
    except UnicodeDecodeError as error:
        raise Invalid(f"{what}: not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise Invalid(f"{what}: not JSON at character {error.pos}: {error.msg.lower()}") from error
    except RecursionError:
        raise Invalid(f"{what}: nested deeper than {JSON_DEPTH}") from None
    _check(value, what)
    return value


def load_object(raw: bytes, *, what: str) -> dict[str, Any]:
    """Like `loads`, and the outermost value must be an object."""
    value = loads(raw, what=what)
    if not isinstance(value, dict):
        raise Invalid(f"{what}: expected a JSON object, got {type(value).__name__}")
    return value


def _check_values(raw: bytes, what: str) -> None:
    """Before anything is built: a list is 2 bytes here and 88 in memory."""
    most = JSON_FREE_VALUES + len(raw) // JSON_BYTES_A_VALUE
    count = _values(raw)
    if count > most:
        # without escapes a quote is always the end of its string
        plain = raw.replace(rb"\\", b"").replace(rb"\"", b"")
        count -= sum(_values(string[0]) for string in _STRING.finditer(plain))
        if count > most:
            raise Invalid(f"{what}: over {most} values in {len(raw)} bytes")


def _values(raw: bytes) -> int:
    """At least the number of values, where no string has such a character in it."""
    return raw.count(b",") + raw.count(b":") + raw.count(b"[") + raw.count(b"{")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        double = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Invalid(f"duplicate key {double[:_SHOWN]!r}")
    return result


def _constant(name: str) -> Any:
    raise Invalid(f"{name} is not JSON")


def _integer(digits: str) -> int:
    count = len(digits.lstrip("-"))
    if count > JSON_NUMBER_DIGITS:
        raise Invalid(f"a number of {count} digits")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise Invalid(f"number {digits[:20]} out of range")
    return value


def _check(value: Any, what: str) -> None:
    """Depth and surrogates, without recursion."""
    level: list[Any] = [value]
    for _ in range(JSON_DEPTH + 1):
        below: list[Any] = []
        for item in level:
            if isinstance(item, str):
                _no_surrogates(item, what)
            elif isinstance(item, list):
                below.extend(item)
            elif isinstance(item, dict):
                for key in item:
                    _no_surrogates(key, what)
                below.extend(item.values())
        if not below:
            return
        level = below
    raise Invalid(f"{what}: nested deeper than {JSON_DEPTH}")


def _no_surrogates(text: str, what: str) -> None:
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise Invalid(f"{what}: a lone surrogate in a string") from None
