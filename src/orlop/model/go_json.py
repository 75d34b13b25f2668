"""JSON as Go's `encoding/json` writes it: what IDs are computed over, and what clients of Docker compare.

Keys sorted, no blanks, and `<`, `>`, `&`, U+2028 and U+2029 escaped.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ..errors import Invalid
from .strict_json import load_object

_ESCAPED = {"<": r"\u003c", ">": r"\u003e", "&": r"\u0026", "\u2028": r"\u2028", "\u2029": r"\u2029"}
_SPECIAL = re.compile("[<>&\u2028\u2029]")
# Python has short forms for these two; Go of that time had not
_SHORT = {r"\b": r"\u0008", r"\f": r"\u000c"}
_PAIR = re.compile(r"\\.", re.DOTALL)
_BLANKS = re.compile(r"[ \t\r\n]*")
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s"{}\[\]:,]+', re.DOTALL)


def dumps(value: Any, *, sort_keys: bool = True) -> str:
    """`value` as one line of JSON. Without `sort_keys`, in the order it has, as Go writes a struct."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=sort_keys, allow_nan=False)
    return escape(_PAIR.sub(lambda pair: _SHORT.get(pair[0], pair[0]), text))


def escape(text: str) -> str:
    """JSON text with the five characters escaped that could end a script in HTML."""
    return _SPECIAL.sub(lambda character: _ESCAPED[character[0]], text)


def members(raw: bytes, *, what: str) -> dict[str, str]:
    """The values of a JSON object by name, each as its own text without the blanks, otherwise untouched: numbers,
    escapes and the order of inner objects stay as they were written. `Invalid` as `strict_json.load_object`."""
    load_object(raw, what=what)
    found: dict[str, str] = {}
    depth = 0
    key = ""
    value: list[str] = []
    for word in _WORD.findall(raw.decode())[1:]:
        if depth == 0 and word in (",", "}"):
            if key:
                found[json.loads(key)] = escape("".join(value))
            key, value = "", []
        elif depth == 0 and not key:
            key = word
        elif depth == 0 and word == ":" and not value:
            continue
        else:
            depth += (word in ("{", "[")) - (word in ("}", "]"))
            value.append(word)
    return found


def join(values: dict[str, str]) -> str:
    """An object of `members`, keys sorted by their bytes."""
    keys = sorted(values, key=lambda key: key.encode())
    return "{" + ",".join(f"{dumps(key)}:{values[key]}" for key in keys) + "}"


def split(raw: bytes, *, what: str) -> list[bytes]:
    """JSON values that follow each other, with or without blanks between. `Invalid` where there is none."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise Invalid(f"{what}: not UTF-8 at byte {error.start}") from error
    decoder = json.JSONDecoder()
    found: list[bytes] = []
    position = _past_blanks(text, 0)
    try:
        while position < len(text):
            end = decoder.raw_decode(text, position)[1]
            found.append(text[position:end].encode())
            position = _past_blanks(text, end)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{what}: not JSON at character {position}") from error
    return found


def _past_blanks(text: str, position: int) -> int:
    match = _BLANKS.match(text, position)
    return match.end() if match else position
