"""What the options of a command line decided, and what every command needs: settings, store, job, messages."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..errors import Error
    from ..job import Job
    from ..settings import Settings
    from ..store import Store
    from .progress import Progress

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ECHO = 0.5  # seconds: `timeout` signals a process and then its group, which is one wish and not two
_GRACE = 2.0  # seconds between asking a job to stop and breaking off what the main thread waits for


def _overdue(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _environment() -> Mapping[str, str]:
    return dict(os.environ)


@dataclass
class App:
    """The context object of click. A context manager: leaving it closes the store and restores the terminal.

    `opener` is how a store is opened; None is `Store.open`. The flags are set by `options.common`.
    """

    opener: Callable[[Settings], Store] | None = None
    environment: Mapping[str, str] = field(default_factory=_environment, repr=False)
    store_path: str | None = None
    config: Path | None = None
    quiet: bool = False
    verbose: int = 0
    progress: str = "auto"
    network: dict[str, Any] = field(default_factory=dict, repr=False)  # fields of settings.Network
    changes: dict[str, Any] = field(default_factory=dict)  # fields of Settings
    fetching: bool = False  # what is done now goes on there if it is done again
    sending: bool = False  # the same, with what is kept being elsewhere
    secrets: set[str] = field(default_factory=set, repr=False)
    _settings: Settings | None = field(default=None, repr=False)
    _store: Store | None = None
    _progress: Progress | None = None
    _job: Job | None = None
    _interrupted: float | None = None  # when it first was, by the monotonic clock
    _handlers: dict[int, Any] = field(default_factory=dict)

    # -- what commands ask for -----------------------------------------------------------------------------

    def settings(self) -> Settings:
        """Files, environment and flags together. Read once."""
        if self._settings is None:
            from dataclasses import replace

            from ..settings import Settings

            loaded = Settings.load(self.environment, user=os.geteuid(), config=self.config, store=self.store_path)
            given = frozenset(self.network.pop("insecure", ()))
            # verified or not is decided by the command line: plain HTTP of a file gives way to TLS of a flag
            insecure = given | {host for host in loaded.network.insecure if f"https://{host}" not in given}
            self._settings = replace(loaded.with_network(insecure=insecure, **self.network), **self.changes)
            self.secrets.update(_secrets(self._settings))
            if self.verbose:
                self._log()
        return self._settings

    def store(self) -> Store:
        """The store, opened on first use."""
        if self._store is None:
            settings = self.settings()
            if self.opener is not None:
                self._store = self.opener(settings)
            else:
                from ..store import Store

                self._store = Store.open(settings=settings)
        return self._store

    def job(self) -> Job:
        """The job of this command. From now on an interrupt stops it instead of raising."""
        if self._job is None:
            from ..job import Job
            from .progress import choose

            settings = self.settings()
            self._progress = choose("none" if self.quiet else self.progress, sys.stderr)
            self._job = Job(
                progress=self._progress,
                workers=settings.workers,
                retries=settings.network.retries,
            )
        return self._job

    def say(self, text: str) -> None:
        """A message for people, on stderr, whole lines, without secrets or control characters."""
        from .output import printable

        for secret in self.secrets:
            text = text.replace(secret, "***")
        text = "\n".join(printable(line) for line in text.split("\n"))
        if self._progress is not None:
            self._progress.note(text)
        else:
            print(text, file=sys.stderr, flush=True)

    def fail(self, error: Error, text: str = "") -> None:
        """The one line of an error (`text`, or what it says itself), and with -v its causes."""
        from .output import printable

        self.say(f"orlop: {printable(text or str(error))}")
        cause: BaseException | None = error
        while self.verbose and cause is not None:
            cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
            if cause is not None:
                self.say(f"  because of {type(cause).__name__}: {cause}")

    def note(self, text: str) -> None:
        """Like `say`, but not with -q."""
        if not self.quiet:
            self.say(text)

    def finish(self) -> None:
        """Take the progress bars away; called before a result is printed."""
        if self._progress is not None:
            self._progress.pause()

    # -- signals and the end -------------------------------------------------------------------------------

    def release_signals(self) -> None:
        """Give SIGINT and SIGTERM back, for commands that handle them in their own way."""
        if signal.SIGALRM in self._handlers:
            signal.setitimer(signal.ITIMER_REAL, 0)
        while self._handlers:
            number, handler = self._handlers.popitem()
            signal.signal(number, handler)

    def __enter__(self) -> App:
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._interrupt) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.close()
        self.release_signals()
        if self._store is not None:
            self._store.__exit__(kind, error, trace)

    def _interrupt(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._interrupted is not None:
            if now - self._interrupted < _ECHO:
                return
            # asked twice: whatever is half done is a draft that nothing will ever see
            if self._progress is not None:
                self._progress.abandon()
            os._exit(128 + number)
        self._interrupted = now
        if self._job is None:
            raise KeyboardInterrupt
        self._job.stop()
        if not self.quiet and self._progress is not None:
            self._progress.stopping("orlop: stopping; once more ends at once")
        # some calls of the system wait without looking at the job: name look-ups, handshakes
        self._handlers[signal.SIGALRM] = signal.signal(signal.SIGALRM, _overdue)
        signal.setitimer(signal.ITIMER_REAL, _GRACE)

    def _log(self) -> None:
        import logging

        from .log import SecretlessFormatter

        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(SecretlessFormatter(self.secrets))
        logger = logging.getLogger("orlop")
        logger.handlers = [handler]
        logger.setLevel(logging.DEBUG if self.verbose > 1 else logging.INFO)


def _secrets(settings: Settings) -> set[str]:
    """Strings of the settings that must not reach a message, whatever is wrong below."""
    network = settings.network
    found = {network.password, network.docker_auth_config}
    for proxy in (network.http_proxy, network.https_proxy):
        user, at, _ = proxy.rpartition("@")
        if at:
            found.add(user.rpartition("//")[2].partition(":")[2])
    return {secret for secret in found if secret}
