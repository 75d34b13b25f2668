"""What jobs print for people and for clients: status lines, progress and errors, as text or as JSON messages.

The JSON form is that of Docker's remote API 1.14: messages end in CRLF, those of progress in nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import Denied, Error
from ..model import go_json
from ..model.strict_json import load_object

_END = "\r\n"
_OVER = "\r"  # the next line is written over this one
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BAR = 50
_BAR_COLUMNS = 110
_TIME_COLUMNS = 50
# of a terminal that nobody knows
COLUMNS = 200
_UNAUTHORISED = 401
# the words that say what an error is, in the order they are looked for
_HTTP = (
    ("No such", 404),
    ("Bad parameter", 400),
    ("Conflict", 409),
    ("Impossible", 406),
    ("Wrong login/password", 401),
    ("hasn't been activated", 403),
)


def http_status(text: str) -> int:
    """The HTTP status of a job's error by its words; 500 for all that is unknown."""
    return next((status for words, status in _HTTP if words in text), 500)


def human_size(size: int) -> str:
    """Four digits and a decimal unit: `1.049 MB`."""
    value, unit = float(size), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value /= 1000
        unit += 1
    return f"{value:.4g} {_UNITS[unit]}"


@dataclass(frozen=True, slots=True)
class Progress:
    """`current` of `total` bytes, 0 if nobody knows; `start` in seconds since 1970, 0 if it is not to be shown."""

    current: int = 0
    total: int = 0
    start: int = 0

    def text(self, *, columns: int = COLUMNS, now: float = 0.0) -> str:
        """A bar of 50, sizes and the time that is left, as far as the terminal is wide. `now` as `start`; 0: no time.

        "" if there is nothing to say.
        """
        if self.current <= 0 and self.total <= 0:
            return ""
        current = human_size(self.current)
        if self.total <= 0:
            return f"{current:>8}"
        # more than all may have come, but no line is endless
        half = max(0, min(int(self.current / self.total * 100) // 2, COLUMNS))
        bar = f"[{'=' * half}>{' ' * max(0, _BAR - half)}] " if columns > _BAR_COLUMNS else ""
        return f"{bar}{current:>8}/{human_size(self.total)}" + self._left(half, columns, now)

    def _left(self, half: int, columns: int, now: float) -> str:
        if not (self.current > 0 and 0 < self.start <= now and half < _BAR and columns > _TIME_COLUMNS):
            return ""
        return " " + duration((now - self.start) / self.current * (self.total - self.current))

    @property
    def fields(self) -> dict[str, int]:
        """As a message has them."""
        values = {"current": self.current, "total": self.total, "start": self.start}
        return {key: value for key, value in values.items() if value}


def duration(seconds: float) -> str:
    """Whole seconds as Go writes them: `1h2m3s`."""
    minutes, rest = divmod(math.trunc(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


@dataclass(frozen=True, slots=True)
class StreamFormatter:
    """Makes the bytes that a job writes to its stdout: as JSON, or plain."""

    json: bool

    def stream(self, text: str) -> bytes:
        """Output of something that runs, as it comes."""
        return _message({"stream": text}) if self.json else f"{text}{_OVER}".encode()

    def status(self, id: str, text: str) -> bytes:
        """A line about `id`, "" for the whole."""
        return _message({"status": text, "id": id}) if self.json else f"{text}{_END}".encode()

    def error(self, text: str, *, code: int = 0) -> bytes:
        if not self.json:
            return f"Error: {text}{_END}".encode()
        detail: dict[str, Any] = {"code": code} if code else {}
        return _message({"errorDetail": {**detail, **({"message": text} if text else {})}, "error": text})

    def progress(
        self,
        id: str,
        action: str,
        progress: Progress | None = None,
        *,
        columns: int = COLUMNS,
        now: float = 0.0,
    ) -> bytes:
        """How far `action` on `id` is, to be written over the one before."""
        state = progress or Progress()
        text = state.text(columns=columns, now=now)
        if not self.json:
            return f"{action} {text}{_OVER if text else _END}".encode()
        fields = {"status": action, "progressDetail": state.fields, "progress": text, "id": id}
        return _json(fields, keep=("progressDetail",)).encode()


class MessageError(Error):
    """What the other side said went wrong, in its words. `code` is 0 if it gave none."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Message:
    """One of the JSON messages that a stream formatter makes."""

    fields: Mapping[str, Any]

    def text(self, key: str) -> str:
        value = self.fields.get(key)
        return value if isinstance(value, str) else ""

    def check(self) -> None:
        """`MessageError` if it is an error; `Denied` for the one that asks for a login."""
        detail = self.fields.get("errorDetail")
        if not isinstance(detail, dict):
            return
        code, message = detail.get("code"), detail.get("message")
        if code == _UNAUTHORISED:
            raise Denied("Authentication is required.", hint="log in")
        raise MessageError(message if isinstance(message, str) else "", code if isinstance(code, int) else 0)


def read_messages(raw: bytes) -> Iterator[Message]:
    """The messages in what a job wrote. `Invalid` if it is not JSON objects."""
    for value in go_json.split(raw, what="message"):
        yield Message(load_object(value, what="message"))


def _message(fields: dict[str, Any]) -> bytes:
    return (_json(fields) + _END).encode("utf-8", "replace")


def _json(fields: dict[str, Any], *, keep: tuple[str, ...] = ()) -> str:
    """In the order of Docker's message, without what is empty."""
    return go_json.dumps({key: value for key, value in fields.items() if value or key in keep}, sort_keys=False)
