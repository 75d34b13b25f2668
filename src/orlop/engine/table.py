"""A list of environments, as jobs print them: `[{...},{...}]`, or one object a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cmp_to_key

from ..errors import Invalid
from ..model import go_json
from ..model.strict_json import loads
from .env import Env


class Table:
    """Rows in order. `key` is the name they are sorted by."""

    def __init__(self, key: str = "", rows: Iterable[Env] = ()) -> None:
        self.key = key
        self.rows = list(rows)

    def add(self, row: Env) -> None:
        self.rows.append(row)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Env]:
        return iter(self.rows)

    def sort(self) -> None:
        """Ascending; equal rows stay in order. Two values are compared as numbers if both are, else as text."""
        self.rows.sort(key=cmp_to_key(self._compare))

    def reverse_sort(self) -> None:
        self.rows.sort(key=cmp_to_key(self._compare), reverse=True)

    def _compare(self, one: Env, other: Env) -> int:
        a, b = one.get(self.key), other.get(self.key)
        if _is_number(a) and _is_number(b):
            return (int(a) > int(b)) - (int(a) < int(b))
        return (a > b) - (a < b)

    def encode_list(self) -> bytes:
        """All as one JSON list."""
        return b"[" + b",".join(row.encode() for row in self.rows) + b"]"

    def encode(self) -> bytes:
        """One object a line."""
        return b"".join(row.encode() for row in self.rows)

    def decode_list(self, raw: bytes) -> None:
        """Add the objects of a JSON list; what is not an object is left out. `Invalid` if it is not a list."""
        values = loads(raw, what="table")
        if not isinstance(values, list):
            raise Invalid(f"table: expected a JSON list, got {type(values).__name__}")
        for value in values:
            if isinstance(value, dict):
                self.add(Env.decoded(go_json.dumps(value).encode(), what="table"))

    def decode(self, raw: bytes) -> None:
        """Add objects that follow each other. `Invalid` at the first that is none."""
        for value in go_json.split(raw, what="table"):
            self.add(Env.decoded(value, what="table"))


def _is_number(text: str) -> bool:
    digits = text[1:] if text[:1] in ("-", "+") else text
    return digits.isascii() and digits.isdigit() and len(digits) <= 19
