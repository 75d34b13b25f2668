"""Fetching the missing bytes of one blob: one stream, and more of them where that pays.

The first stream asks for the earliest gap. After a second, while connections are idle and much is left,
helpers take the later half of the largest piece in work (the server must answer 206); who is done takes again.
"""

from __future__ import annotations

import threading
import time

from .blobs.partial import Partial
from .errors import Cancelled, Error, Mismatch
from .job import Event, Job
from .model.descriptor import Descriptor
from .ports import Body, Parallel, Source
from .streams import CHUNK

# under this it is not worth another request
_PIECE = 16 << 20
# seconds of the first stream before helpers may start, and of work that must be left for them
_PATIENCE = 1.0


class Slots:
    """How many connections a store's downloads may use at once, and how many do."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._used = 0

    def take(self, limit: int | None = None) -> bool:
        """One more; False if that would pass `limit` (None: in any case)."""
        with self._guard:
            if limit is not None and self._used >= limit:
                return False
            self._used += 1
            return True

    def give(self) -> None:
        with self._guard:
            self._used -= 1


class _Segment:
    """A piece in work: bytes `at..end` are still to come, from the one stream that holds it."""

    def __init__(self, at: int, end: int) -> None:
        self.at = at
        self.end = end


class Download:
    """One blob into one partial. `fetched` counts what came over the wire."""

    def __init__(self, source: Source, wanted: Descriptor, partial: Partial, slots: Slots) -> None:
        self._source = source
        self._wanted = wanted
        self._partial = partial
        self._slots = slots
        self._guard = threading.Lock()
        self._gaps = [_Segment(start, end) for start, end in partial.missing()]
        self._active: list[_Segment] = []
        self._helpers: list[threading.Thread] = []
        self._may_help = isinstance(source, Parallel)
        self._started = time.monotonic()
        self.fetched = 0

    def run(self, job: Job) -> None:
        """Until nothing is missing. Raises what ended the first stream for good, or `Cancelled`."""
        self._slots.take()
        child = job.child()
        try:
            while segment := self._next():
                self._fetch(segment, child, first=True)
        finally:
            child.stop()
            for helper in self._helpers:
                helper.join()
            self._slots.give()
        job.check()
        if missing := self._partial.missing():
            raise Mismatch(f"blob {self._wanted.digest}: {sum(end - start for start, end in missing)} bytes never came")

    def _next(self) -> _Segment | None:
        """A gap, or the later half of the largest piece in work, or None when all is done."""
        while True:
            with self._guard:
                if self._gaps:
                    segment = self._gaps.pop(0)
                    self._active.append(segment)
                    return segment
                if (half := self._split()) is not None:
                    return half
                if not self._active:
                    return None
            time.sleep(0.01)

    def _split(self) -> _Segment | None:
        if not self._may_help or not self._active:
            return None
        victim = max(self._active, key=lambda segment: segment.end - segment.at)
        if victim.end - victim.at < 2 * _PIECE:
            return None
        middle = (victim.at + victim.end) // 2
        segment = _Segment(middle, victim.end)
        victim.end = middle
        self._active.append(segment)
        return segment

    def _fetch(self, segment: _Segment, job: Job, *, first: bool) -> None:
        """Read one segment to its end, which may come nearer meanwhile."""
        try:
            end = segment.end if segment.end < self._wanted.size else None
            with self._source.open(self._wanted, offset=segment.at, end=end, job=job) as body:
                if first and segment.at == 0:
                    self._partial.remember(self._source.origin, body.validator)
                if body.offset != segment.at and not first:
                    self._may_help = False  # it does not do ranges
                    return
                self._drain(body, segment, job, first=first)
        finally:
            with self._guard:
                self._active.remove(segment)
                if segment.at < segment.end:
                    self._put_back(segment)

    def _drain(self, body: Body, segment: _Segment, job: Job, *, first: bool) -> None:
        at = body.offset
        while at < segment.end:
            job.check()
            data = body.read(min(CHUNK, segment.end - at))
            if not data:
                raise Mismatch(f"blob {self._wanted.digest}: ends at byte {at}, expected {self._wanted.size}")
            self._partial.write(at, data)
            at += len(data)
            with self._guard:
                self.fetched += len(data)
                segment.at = max(segment.at, at)
                done = self._partial.kept + self.fetched
            self._source_progress(job, min(done, self._wanted.size))
            if first and self._may_help:
                self._consider_help(job)
        if at >= self._wanted.size and body.read(1):
            raise Mismatch(f"blob {self._wanted.digest}: more than the {self._wanted.size} bytes expected")

    def _source_progress(self, job: Job, done: int) -> None:
        job.progress(Event("progress", self._wanted.digest, done, self._wanted.size))

    def _put_back(self, segment: _Segment) -> None:
        """Give the rest to the stream that runs up to it, or leave it as a gap."""
        for other in self._active:
            if other.end == segment.at:
                other.end = segment.end
                return
        self._gaps.insert(0, _Segment(segment.at, segment.end))

    def _consider_help(self, job: Job) -> None:
        elapsed = time.monotonic() - self._started
        if elapsed < _PATIENCE or not isinstance(self._source, Parallel):
            return
        left = self._wanted.size - self._partial.kept - self.fetched
        if left < 2 * _PIECE or left / max(self.fetched / elapsed, 1) < _PATIENCE:
            return
        if len(self._helpers) + 1 < self._source.streams and self._slots.take(job.workers):
            helper = threading.Thread(target=self._help, args=(job,), name="orlop-helper", daemon=True)
            self._helpers.append(helper)
            helper.start()

    def _help(self, job: Job) -> None:
        try:
            while self._may_help:
                with self._guard:
                    segment = self._split()
                if segment is None:
                    return
                self._fetch(segment, job, first=False)
        except Cancelled:
            return
        except Error as error:
            # the segment was put back: the first stream takes it, and what is wrong for good will show there
            self._may_help = False
            job.progress(Event("retry", self._wanted.digest, text=str(error)))
        finally:
            self._slots.give()
