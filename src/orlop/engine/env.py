"""The environment of a job: strings by name, which may hold JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import Invalid
from ..model import go_json
from ..model.strict_json import load_object, loads

_FALSE = ("", "0", "no", "false", "none")
_BLANKS = " \t"
_INT64 = 1 << 63


class Env:
    """Names with values in the order they were set; of a name that was set twice, the last value counts.

    A value remembers whether it was set as JSON (by all but `set`): `encode` writes that as it is and plain strings as
    strings. So a tag called "123" stays a string, which it did not in the original.
    """

    def __init__(self, values: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> None:
        pairs = values.items() if isinstance(values, Mapping) else values
        # name, value, whether it is JSON
        self._values: list[tuple[str, str, bool]] = [(key, value, False) for key, value in pairs]

    def __len__(self) -> int:
        """The number of different names."""
        return len(self._last())

    def __contains__(self, key: object) -> bool:
        return key in self._last()

    def __repr__(self) -> str:
        # values may be credentials
        return f"Env({', '.join(self._last())})"

    def _last(self) -> dict[str, tuple[str, bool]]:
        return {key: (value, is_json) for key, value, is_json in self._values}

    def update(self, other: Env) -> None:
        """Set all that `other` has."""
        self._values += other._values

    def get(self, key: str) -> str:
        """The value, "" if there is none."""
        return self._last().get(key, ("", False))[0]

    def set(self, key: str, value: str) -> None:
        self._values.append((key, value, False))

    def get_bool(self, key: str) -> bool:
        """False for nothing, 0, no, false and none, whatever their case; true for all else."""
        return self.get(key).strip(_BLANKS).lower() not in _FALSE

    def set_bool(self, key: str, value: bool) -> None:
        """1 or 0."""
        self.set_int(key, int(value))

    def get_int(self, key: str) -> int:
        """0 where the value is no number of 64 bits."""
        text = self.get(key).strip(_BLANKS)
        digits = text[1:] if text[:1] in ("-", "+") else text
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 4096):
            return 0
        value = int(text)
        return value if -_INT64 <= value < _INT64 else 0

    def set_int(self, key: str, value: int) -> None:
        self._values.append((key, str(value), True))

    def get_list(self, key: str) -> list[str]:
        """A JSON list of strings; any other value is a list of one; none and null are an empty list."""
        text = self.get(key)
        if not text:
            return []
        try:
            value = loads(_bytes(text), what=key)
        except Invalid:
            return [text]
        if value is None:
            return []
        return value if isinstance(value, list) and all(isinstance(item, str) for item in value) else [text]

    def set_list(self, key: str, value: Sequence[str]) -> None:
        self.set_json(key, list(value))

    def get_json(self, key: str) -> Any:
        """The value read as JSON, None if there is none. `Invalid` if it is not JSON."""
        text = self.get(key)
        return loads(_bytes(text), what=key) if text else None

    def set_json(self, key: str, value: Any) -> None:
        self._values.append((key, go_json.dumps(value), True))

    def get_sub_env(self, key: str) -> Env | None:
        """An environment within this one; None if there is none, or what there is is not one."""
        text = self.get(key)
        if not text:
            return None
        try:
            return Env.decoded(_bytes(text), what=key)
        except Invalid:
            return None

    def set_sub_env(self, key: str, value: Env) -> None:
        self._values.append((key, value.encode().decode().rstrip("\n"), True))

    def map(self) -> dict[str, str]:
        """Each name with its last value."""
        return {key: value for key, (value, _) in self._last().items()}

    def multi_map(self) -> dict[str, list[str]]:
        """Each name with all its values, as HTTP headers have them."""
        result: dict[str, list[str]] = {}
        for key, value, _ in self._values:
            result.setdefault(key, []).append(value)
        return result

    @classmethod
    def from_multi_map(cls, values: Mapping[str, Sequence[str]]) -> Env:
        return cls((key, value) for key, many in values.items() for value in many)

    def encode(self) -> bytes:
        """One JSON object, names sorted, and a newline."""
        values = {key: value if is_json else go_json.dumps(value) for key, (value, is_json) in self._last().items()}
        # bytes of an environment that are not UTF-8 become U+FFFD
        return (_bytes(go_json.join(values)).decode("utf-8", "replace") + "\n").encode()

    def decode(self, raw: bytes, *, what: str = "environment") -> None:
        """Set what a JSON object has: strings as they are, null as if it were not there, all else as JSON.

        `Invalid` if it is not an object."""
        texts = go_json.members(raw, what=what)
        for key, value in load_object(raw, what=what).items():
            if isinstance(value, str):
                self.set(key, value)
            elif value is not None:
                self._values.append((key, texts[key], True))

    @classmethod
    def decoded(cls, raw: bytes, *, what: str = "environment") -> Env:
        result = cls()
        result.decode(raw, what=what)
        return result

    def import_(self, value: Any) -> None:
        """Set the fields of any value that has a JSON form: a mapping or a dataclass. `Invalid` for others."""
        fields = dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
        try:
            self.decode(json.dumps(fields, allow_nan=False).encode(), what="ImportEnv")
        except (TypeError, ValueError, RecursionError) as error:
            raise Invalid(f"ImportEnv: {error}") from error


def _bytes(text: str) -> bytes:
    """What the environment of a process had, before Python made text of it."""
    return text.encode("utf-8", "surrogateescape" if _is_escaped(text) else "replace")


def _is_escaped(text: str) -> bool:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that did not come from bytes
        return False
    return True
