"""Renderers of `job.Event`s: bars, lines, JSON lines, or nothing. Safe from any thread."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TextIO

from .output import count, printable, size

if TYPE_CHECKING:
    from ..job import Event
    from .bars import Display

_INTERVAL = 0.1  # seconds between two updates of one blob
_PLAIN_INTERVAL = 5.0  # seconds between two lines about bytes

Clock = Callable[[], float]


class Progress(Protocol):
    def __call__(self, event: Event) -> None: ...
    def note(self, text: str) -> None:
        """A line for people, between whatever is being drawn."""

    def pause(self) -> None:
        """One piece of work is done: take it off the screen. The next event begins another."""

    def close(self) -> None:
        """Take everything off the screen that would not stay true. Idempotent; later events are dropped."""

    def stopping(self, text: str) -> None:
        """A line for people from a signal handler: without locks, as any may be held by what was interrupted."""

    def abandon(self) -> None:
        """Restore the terminal from a signal handler: without locks, the process ends right after."""


def choose(mode: str, stream: TextIO) -> Progress:
    """`mode` is auto, plain, json or none. auto means bars if `stream` is a terminal, else plain."""
    if mode == "none":
        return Quiet(stream)
    if mode == "json":
        return Lines(stream)
    if mode == "auto" and stream.isatty():
        return Bars(stream)
    return Plain(stream)


class Quiet:
    """Nothing but notes."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.lock = threading.RLock()
        self.closed = False

    def __call__(self, event: Event) -> None:
        pass

    def note(self, text: str) -> None:
        with self.lock:
            print(text, file=self.stream, flush=True)

    def pause(self) -> None:
        pass

    def close(self) -> None:
        with self.lock:
            self.closed = True

    def stopping(self, text: str) -> None:
        _write_at_once(self.stream, f"\n{text}\n")

    def abandon(self) -> None:
        pass


class _Throttle:
    """Lets one event of a subject through an interval."""

    def __init__(self, interval: float, clock: Clock) -> None:
        self.interval = interval
        self.clock = clock
        self.last: dict[str, float] = {}

    def ready(self, subject: str) -> bool:
        now = self.clock()
        if now - self.last.get(subject, float("-inf")) < self.interval:
            return False
        self.last[subject] = now
        return True


class _Totals:
    """Bytes done over all blobs of all plans so far. What earlier tries left is in neither of the sums."""

    def __init__(self) -> None:
        self.total = 0
        self.count = 0
        self.finished = 0
        self.done: dict[str, int] = {}
        self.kept: dict[str, int] = {}
        self.ended: set[str] = set()

    def take(self, event: Event) -> None:
        if event.kind == "plan":
            self.total += event.total
            self.count += event.count
        elif event.kind in ("progress", "done", "start", "resume"):
            if event.kind == "resume" and event.subject not in self.done:
                self.kept[event.subject] = event.done
            done = event.total if event.kind == "done" else event.done
            self.done[event.subject] = done - self.kept.get(event.subject, 0)
        if event.kind == "done" and event.subject not in self.ended:
            self.ended.add(event.subject)
            self.finished += 1

    @property
    def bytes(self) -> int:
        return sum(self.done.values())


class Plain(Quiet):
    """One line an event, and now and then one about bytes: for logs."""

    def __init__(self, stream: TextIO, clock: Clock = time.monotonic) -> None:
        super().__init__(stream)
        self.totals = _Totals()
        self.throttle = _Throttle(_PLAIN_INTERVAL, clock)
        self.throttle.ready("")  # the first line about bytes comes after one interval

    def __call__(self, event: Event) -> None:
        with self.lock:
            if self.closed:
                return
            self.totals.take(event)
            line = self._line(event)
            if line:
                print(printable(line), file=self.stream, flush=True)

    def _line(self, event: Event) -> str:
        if event.kind == "plan":
            whole = f", {size(event.total)}" if event.total else ""  # a quick check reads no bytes
            return f"plan: {count(event.count, 'blob')}{whole}" if event.count else ""
        if event.kind == "progress":
            whole = f"{size(self.totals.bytes)} of {size(self.totals.total)}"
            return f"progress: {whole}" if self.throttle.ready("") else ""
        if event.kind == "start":
            return ""
        about = event.text or (size(event.total) if event.total else "")
        if event.kind == "resume":
            about = event.text or f"at {size(event.done)} of {size(event.total)}"
        return _told(event, about)


class Lines(Quiet):
    """JSON, one event a line: for programs. Keys: event, subject, done, total, count, text; bytes."""

    def __init__(self, stream: TextIO, clock: Clock = time.monotonic) -> None:
        super().__init__(stream)
        self.throttle = _Throttle(_INTERVAL, clock)

    def __call__(self, event: Event) -> None:
        with self.lock:
            if self.closed or (event.kind == "progress" and not self.throttle.ready(event.subject)):
                return
            self._write(event.kind, event.subject, event.done, event.total, event.count, event.text)

    def note(self, text: str) -> None:
        with self.lock:
            self._write("message", "", 0, 0, 0, text)

    def stopping(self, text: str) -> None:
        _write_at_once(self.stream, f"{self._line('message', text=text)}\n")

    def _write(self, kind: str, subject: str, done: int, total: int, count: int, text: str) -> None:
        print(self._line(kind, subject, done, total, count, text), file=self.stream, flush=True)

    def _line(self, kind: str, subject: str = "", done: int = 0, total: int = 0, count: int = 0, text: str = "") -> str:
        import json

        fields = {"event": kind, "subject": subject, "done": done, "total": total, "count": count, "text": text}
        return json.dumps(fields)


class Bars(Quiet):
    """A bar a blob in flight and one for the whole. rich is imported at the first plan or progress."""

    def __init__(self, stream: TextIO, clock: Clock = time.monotonic) -> None:
        super().__init__(stream)
        self.totals = _Totals()
        self.throttle = _Throttle(_INTERVAL, clock)
        self.display: Display | None = None
        self.notice = ""
        self.drawing = False  # the terminal is rich's, or will be at once

    def __call__(self, event: Event) -> None:
        if event.kind == "progress" and not self.throttle.ready(event.subject):
            return
        with self.lock:
            if self.closed:
                return
            self.totals.take(event)
            if event.kind in ("retry", "note"):
                self.note(printable(_told(event, event.text)))
                return
            if self.display is None:
                if event.kind not in ("plan", "progress", "start"):
                    return
                self._begin()
            if self.display is not None:
                self._draw(self.display, event)

    def _begin(self) -> None:
        from .bars import Display

        self.drawing = True
        self.display = Display(self.stream, self.notice)
        self.display.notice = self.notice  # set in between

    def _draw(self, display: Display, event: Event) -> None:
        if event.kind in ("done", "exists"):
            display.remove(event.subject)
        elif event.kind in ("start", "progress", "resume", "wait"):
            display.update(event.subject, short(event.subject), event.done, event.total, event.text)
        display.whole(self.totals.bytes, self.totals.total, self.totals.finished, self.totals.count)

    def note(self, text: str) -> None:
        with self.lock:
            if self.display is None:
                super().note(text)
            else:
                self.display.note(text)

    def pause(self) -> None:
        with self.lock:
            if self.display is not None:
                self.display.close()
                self.display = None
                self.drawing = False
            self.totals = _Totals()

    def close(self) -> None:
        with self.lock:
            self.pause()
            super().close()

    def stopping(self, text: str) -> None:
        self.notice = text
        if self.display is not None:
            self.display.notice = text  # drawn by the thread that draws
        elif not self.drawing:
            super().stopping(text)

    def abandon(self) -> None:
        if self.display is not None:
            # the bars go, and the cursor comes back, which they had hidden
            _write_at_once(self.stream, "\r\x1b[2K" + "\x1b[1A\x1b[2K" * (self.display.height - 1) + "\x1b[?25h")


def _write_at_once(stream: TextIO, text: str) -> None:
    """Past the stream's own buffer, which whatever was interrupted may be writing to."""
    with suppress(OSError):  # no terminal left to write to
        os.write(stream.fileno(), text.encode())


def _told(event: Event, about: str) -> str:
    """The kind, the subject unless the text names it, the text."""
    subject = "" if event.subject and event.subject in about else short(event.subject)
    return " ".join(part for part in (f"{event.kind}:", subject, about) if part)


def short(subject: str) -> str:
    """A digest as people know it from lists: 12 hex digits. Anything else stays."""
    algorithm, colon, encoded = subject.partition(":")
    return encoded[:12] if colon and algorithm in ("sha256", "sha512") and len(encoded) >= 64 else subject
