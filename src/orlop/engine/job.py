"""A job: a name, arguments, an environment, three streams and a status, and one run."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING

from ..errors import Error
from .env import Env
from .streams import Input, Output, Tail

if TYPE_CHECKING:
    from .engine import Engine


class Status(IntEnum):
    """What a run ended with; handlers may return any other number too."""

    OK = 0
    ERR = 1
    NOT_FOUND = 127


# Raises `orlop.errors.Error`, which is as good as `return job.error(...)`, or returns a status.
Handler = Callable[["Job"], int]
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class JobFailed(Error):
    """A job ended with another status than 0. Its message is the last line of the job's stderr."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Job:
    """Made by `Engine.job`. The streams are attached before `run`; arguments and environment are the caller's."""

    def __init__(self, engine: Engine, name: str, args: tuple[str, ...], handler: Handler | None) -> None:
        self.engine = engine
        self.name = name
        self.args = args
        self.env = Env()
        self.stdin = Input()
        self.stdout = Output()
        self.stderr = Output()
        self.status: int = Status.OK
        self._handler = handler
        self._ended = False
        self._running = threading.Lock()

    def run(self) -> None:
        """Run it in this thread, then close its streams; returns when it ended with 0.

        `JobFailed`: another status (127 if nobody knows the name), the engine was shut down, it ran already. What a
        handler raises besides `errors.Error` is raised here, after the streams are closed.
        """
        with self.engine.running(self.name):
            if self._ended or not self._running.acquire(blocking=False):
                raise JobFailed(f"{self.name}: job has already completed", Status.ERR)
            self.engine.log(f"+job {self.call}")
            try:
                self._run()
            finally:
                self.engine.log(f"-job {self.call}{self.outcome}")
                self._running.release()

    def _run(self) -> None:
        last = Tail()
        self.stderr.add(last)
        cause: Error | None = None
        try:
            if self._handler is None:
                self.error(f"{self.name}: command not found")
                self.status = Status.NOT_FOUND
            else:
                self.status = Status.ERR  # of a handler that does not return
                self._ended = True
                cause = self._handle(self._handler)
        finally:
            # each of them, whatever the others do
            try:
                self.stdout.close()
            finally:
                self.stderr.close()
                self.stdin.close()
        if self.status != Status.OK:
            raise JobFailed(last.lines(1) or f"{self.name}: status {self.status}", self.status) from cause

    def _handle(self, handler: Handler) -> Error | None:
        try:
            self.status = handler(self)
        except Error as error:
            self.status = self.error(str(error))
            return error
        return None

    @property
    def call(self) -> str:
        """`name(argument, argument)`, on one line."""
        return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), self._call)

    @property
    def _call(self) -> str:
        return f"{self.name}({', '.join(self.args)})"

    @property
    def outcome(self) -> str:
        """` = OK (0)` or ` = ERR (1)`; "" before a handler has run."""
        if not self._ended:
            return ""
        return f" = {'OK' if self.status == Status.OK else 'ERR'} ({int(self.status)})"

    def __str__(self) -> str:
        return f"{self.engine}.{self.call}{self.outcome}"

    def print(self, text: str) -> None:
        """To stdout, as it is."""
        self.stdout.write(text.encode("utf-8", "surrogateescape"))

    def error(self, text: str) -> int:
        """To stderr, with a newline if it has none; gives the status to return: `return job.error("...")`."""
        self.stderr.write((text if text.endswith("\n") else text + "\n").encode("utf-8", "surrogateescape"))
        return Status.ERR

    def log(self, text: str) -> None:
        """To stderr, after the name of the job."""
        self.error(f"[{self}] {text.rstrip(chr(10))}")
