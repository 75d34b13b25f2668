"""What is being pulled and pushed at this moment, so that nobody does it twice."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Literal

from ..errors import Conflict, Error, Invalid
from ..job import Job

Kind = Literal["pull", "push"]


@dataclass
class Work:
    """Something in progress. `wait` gives what became of it to everybody else."""

    kind: str
    key: str
    _done: threading.Event = field(default_factory=threading.Event)
    _error: Error | None = None

    def finish(self, error: Error | None = None) -> None:
        """It ended, well or with an error. The first call counts."""
        if not self._done.is_set():
            self._error = error
            self._done.set()

    def wait(self, job: Job) -> None:
        """Until it has ended; raises the error that it ended with."""
        while not self._done.is_set():
            job.wait(0.05)
        if self._error is not None:
            raise self._error


class Pools:
    """Keys in use: `repo:tag` of pulls, `repo` of pushes. Safe from any thread."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._pools: dict[str, dict[str, Work]] = {"pull": {}, "push": {}}

    def add(self, kind: str, key: str) -> Work:
        """Begin a work. `InProgress` (a `Conflict`), with the work that is, if the key is in either pool."""
        with self._guard:
            pool = self._pool(kind)
            for name, works in self._pools.items():
                if key in works:
                    raise InProgress(name, works[key])
            pool[key] = Work(kind, key)
            return pool[key]

    def remove(self, kind: str, key: str, error: Error | None = None) -> None:
        """End a work; whoever waits for it is told how it ended. No error if there is none."""
        with self._guard:
            work = self._pool(kind).pop(key, None)
        if work is not None:
            work.finish(error)

    def _pool(self, kind: str) -> dict[str, Work]:
        if kind not in self._pools:
            raise Invalid("Unknown pool type")
        return self._pools[kind]


class InProgress(Conflict):
    """The key is taken. `work` is what has it."""

    def __init__(self, kind: str, work: Work) -> None:
        super().__init__(f"{kind} {work.key} is already in progress")
        self.work = work
