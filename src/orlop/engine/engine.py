"""The engine: handlers by name, the jobs that run on it, and their end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import Conflict
from ..model.v1 import random_id
from .job import Handler, Job, JobFailed, Status
from .parse import parse_job
from .streams import Sink

# a job of this name runs as long as the engine does: nobody waits for its end
SERVING = "serveapi"
JOBS_SECONDS = 5.0
HANDLERS_SECONDS = 10.0


class Engine:
    """Knows handlers by name. `log` gets two lines a run; without it there is none.

    From any thread. `jobs_seconds` and `handlers_seconds`: how long a shutdown waits for what runs.
    """

    def __init__(
        self, *, log: Sink | None = None, jobs_seconds: float = JOBS_SECONDS, handlers_seconds: float = HANDLERS_SECONDS
    ) -> None:
        self.id = str(random_id())
        self._log = log
        self._jobs_seconds = jobs_seconds
        self._handlers_seconds = handlers_seconds
        self._handlers: dict[str, Handler] = {}
        self._catchall: Handler | None = None
        self._changed = threading.Condition()
        self._jobs = 0
        self._is_shutdown = False
        self._on_shutdown: list[Callable[[], None]] = []
        self.register("commands", self._print_commands)

    def __str__(self) -> str:
        """The first 8 digits of its ID."""
        return self.id[:8]

    def register(self, name: str, handler: Handler) -> None:
        """Jobs called `name` run `handler`. `Conflict` if the name has one."""
        with self._changed:
            if name in self._handlers:
                raise Conflict(f"Can't overwrite handler for command {name}")
            self._handlers[name] = handler

    def register_catchall(self, handler: Handler) -> None:
        """Jobs with a name that no handler has, but a name, run this one."""
        self._catchall = handler

    def commands(self) -> list[str]:
        """The names that have a handler, sorted."""
        with self._changed:
            return sorted(self._handlers)

    def _print_commands(self, job: Job) -> int:
        job.print("".join(f"{name}\n" for name in self.commands()))
        return Status.OK

    def job(self, name: str, *args: str) -> Job:
        """A job of any name: whether there is a handler shows when it runs."""
        with self._changed:
            handler = self._handlers.get(name, self._catchall if name else None)
        return Job(self, name, args, handler)

    def parse_job(self, text: str) -> Job:
        """A job from one line, `image_tag NEW OLD KEY=VALUE`. `Invalid` without a name."""
        name, args, env = parse_job(text)
        job = self.job(name, *args)
        job.env.update(env)
        return job

    def log(self, text: str) -> None:
        """A line to the engine's log."""
        if self._log is not None:
            self._log.write(f"[{self}] {text.rstrip(chr(10))}\n".encode("utf-8", "surrogateescape"))

    @contextmanager
    def running(self, name: str) -> Iterator[None]:
        """Around each run of a job: refused after a shutdown, waited for by one."""
        counts = name != SERVING
        with self._changed:
            if self._is_shutdown:
                raise JobFailed("engine is shutdown", Status.ERR)
            self._jobs += counts
        try:
            yield
        finally:
            with self._changed:
                self._jobs -= counts
                self._changed.notify_all()

    def on_shutdown(self, handler: Callable[[], None]) -> None:
        """Call this when the engine is shut down, at the same time as the others."""
        with self._changed:
            self._on_shutdown.append(handler)

    @property
    def is_shutdown(self) -> bool:
        return self._is_shutdown

    def shutdown(self) -> None:
        """Refuse new jobs, wait for those that run, then run the handlers of `on_shutdown`, all at once.

        Waits 5 seconds for the ones and 10 for the others, no longer. A second call does nothing.
        """
        with self._changed:
            if self._is_shutdown:
                return
            self._is_shutdown = True
            self._changed.wait_for(lambda: self._jobs == 0, self._jobs_seconds)
            handlers = list(self._on_shutdown)
        # daemons: a handler that hangs must not keep the process
        threads = [threading.Thread(target=handler, daemon=True) for handler in handlers]
        for thread in threads:
            thread.start()
        end = time.monotonic() + self._handlers_seconds
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
