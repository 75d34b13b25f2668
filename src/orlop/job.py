"""A job: progress out, stop in, limits along; and the one place where threads are made for transfers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from .errors import Cancelled

EventKind = Literal["plan", "start", "progress", "done", "exists", "resume", "retry", "wait", "note"]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. May come from any thread; receivers must be quick.

    plan: `total` bytes over `count` blobs are to come. start, progress, done, exists, resume, wait: of the
    blob `subject` (a digest), `done` of `total` bytes. retry and note: `text` says what.
    """

    kind: EventKind
    subject: str = ""
    done: int = 0
    total: int = 0
    count: int = 0
    text: str = ""


def _ignore(event: Event) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Handed down to everything that takes time. `stop()` makes it raise `Cancelled` at the next chunk."""

    progress: Callable[[Event], None] = _ignore
    workers: int = 4  # transfers at once
    retries: int = 5  # attempts of one request or stream after the first; the source's own limit may be lower
    _stopped: threading.Event = field(default_factory=threading.Event)
    _parent: Job | None = None

    def stop(self) -> None:
        """Ask this job and its children to end. Idempotent, from any thread."""
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set() or (self._parent is not None and self._parent.stopped)

    def check(self) -> None:
        """Raise `Cancelled` if the job was stopped."""
        if self.stopped:
            raise Cancelled("stopped before it was done")

    def wait(self, seconds: float) -> None:
        """Sleep, but wake and raise `Cancelled` soon after a stop."""
        left = seconds
        while left > 0:
            self.check()
            step = min(left, 0.1)
            self._stopped.wait(step)
            left -= step
        self.check()

    def child(self) -> Job:
        """A job that can be stopped without stopping this one; stopping this one stops it too."""
        return replace(self, _stopped=threading.Event(), _parent=self)


def run_all(job: Job, tasks: Iterable[Callable[[Job], None]], *, workers: int | None = None) -> None:
    """Run all tasks, at most `workers` (default: the job's) at once, in order of submission.

    The first failure stops the others and is raised once they have ended. Each task gets a child of `job`.
    """
    child = job.child()
    with ThreadPoolExecutor(max_workers=workers or job.workers, thread_name_prefix="orlop") as pool:
        futures: list[Future[None]] = [pool.submit(_run, task, child) for task in tasks]
        try:
            pending = set(futures)
            while pending:
                # a timeout, so that the main thread still sees Ctrl-C
                done, pending = wait(pending, timeout=0.2, return_when=FIRST_EXCEPTION)
                if any(future.exception() for future in done):
                    break
        finally:
            child.stop()
            for future in futures:
                future.cancel()
    failures = [error for future in futures if not future.cancelled() and (error := future.exception())]
    # siblings that were merely told to stop are not the cause
    for error in failures:
        if not isinstance(error, Cancelled):
            raise error
    for error in failures:
        raise error
    job.check()


@contextmanager
def beside(job: Job, task: Callable[[Job], None]) -> Iterator[None]:
    """Run `task` in a thread of its own while the context's body runs. Its failure is raised after the body; if
    the body fails, it is told to stop."""
    child = job.child()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="orlop") as pool:
        future = pool.submit(_run, task, child)
        try:
            yield
        except BaseException:
            child.stop()
            raise
        future.result()


def _run(task: Callable[[Job], None], job: Job) -> None:
    job.check()
    task(job)
