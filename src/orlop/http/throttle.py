"""Waiting: how long another side asks us to, and one gate a host so that a crowd does not ask while it is limited."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import Error, Throttled
from ..job import Job
from .head import Headers

# a wait that someone at a terminal would still sit through; beyond it the error says how long
LONGEST_WAIT = 120.0
_LONGEST_BACKOFF = 30.0
# what a limited host that names no time is left alone for, at first, in back-off steps
_SECONDS = re.compile(r"[0-9]{1,12}", re.ASCII)


def retry_after(headers: Headers, wall: Callable[[], float] = time.time) -> float | None:
    """Seconds to wait by `Retry-After` (RFC 9110 section 10.2.3), never negative; None if it says nothing usable.

    A date counts from the answer's own Date, so that a wrong clock here does no harm.
    """
    value = headers.get("retry-after").strip()
    if _SECONDS.fullmatch(value):
        return float(value)
    until = _date(value)
    if until is None:
        return None
    now = _date(headers.get("date"))
    return max(0.0, until - (wall() if now is None else now))


def _date(value: str) -> float | None:
    if not value[:1].isalpha():
        return None
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def back_off(base: float, attempt: int, chance: float) -> float:
    """Seconds before attempt number `attempt` (1 is the first repetition); `chance` in 0..1 spreads a crowd."""
    return min(_LONGEST_BACKOFF, base * 2.0 ** min(attempt - 1, 16)) * (0.5 + chance / 2)


class Gate:
    """The way to one host. Open, everybody passes; limited, all wait until the time is up, and then one tries."""

    def __init__(self, host: str, clock: Callable[[], float]) -> None:
        self._host = host
        self._clock = clock
        self._changed = threading.Condition()
        self._until: float | None = None  # limited, and a probe is due then
        self._probing = False
        self._refusals = 0

    @contextmanager
    def passing(self, job: Job, patience: int) -> Iterator[None]:
        """Wait for the way to be free. `Throttled` when more than `patience` probes were refused meanwhile, or
        at once when the wait is over 120 s. What happens inside must call `limited` or `opened`."""
        probe = self._enter(job, patience)
        try:
            yield
        finally:
            if probe:
                with self._changed:
                    self._probing = False
                    self._changed.notify_all()

    def _enter(self, job: Job, patience: int) -> bool:
        with self._changed:
            start = self._refusals
            while self._until is not None:
                left = self._until - self._clock()
                if left > LONGEST_WAIT or self._refusals - start > patience:
                    raise Throttled(f"{self._host}: asks to wait {left:.0f} s more", hint="try later", after=left)
                if left <= 0 and not self._probing:
                    self._probing = True
                    return True
                # wake soon enough to see a stop
                self._changed.wait(min(0.1, left) if left > 0 else 0.1)
                job.check()
        return False

    def limited(self, seconds: float) -> None:
        """The host asks to be left alone. Several answers of one crowd count once."""
        with self._changed:
            until = self._clock() + seconds
            if self._until is None or self._probing:
                self._refusals += 1
                self._until = until
            else:
                self._until = max(self._until, until)
            self._changed.notify_all()

    def opened(self) -> None:
        """The host answered as it should."""
        if self._until is None:  # the common case, without the lock
            return
        with self._changed:
            if self._probing or self._clock() >= self._until:
                self._until = None
            self._changed.notify_all()


def refused(host: str, status: int, headers: Headers, after: float | None) -> Error:
    """The error for 429 and 503 once there is no more patience."""
    limit = headers.get("ratelimit-limit")
    text = f"{host}: too many requests" + (f" (its limit is {limit[:40]})" if limit else "")
    if status != 429:
        text = f"{host}: is overloaded (status {status})"
    return Throttled(text, hint=f"try again in {after:.0f} s" if after else "try later", after=after)
