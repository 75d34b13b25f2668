"""A program in the foreground: waiting for it, passing signals on to it, and its end when it heeds none."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from ..job import Event, Job

STOP_SECONDS = 10.0  # between SIGTERM and SIGKILL, as Docker has it
_PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGQUIT)
_FROM_KEYBOARD = (signal.SIGINT, signal.SIGQUIT)
_ENDING = (*_FROM_KEYBOARD, signal.SIGTERM)
_ECHO = 0.5  # seconds: `timeout` signals a process and then its group, which is one wish and not two
_TOLD_AFTER = 1.0
_AGAIN = 5.0


def wait_for(process: subprocess.Popen[bytes], kill: Callable[[], None], job: Job) -> int:
    """The status of a runtime's process when it has ended: negative if a signal ended it.

    Signals that would end this process go to it instead. The first program of a container gets only those that it has
    asked for, so whoever asks twice within 5 seconds has it killed, by `kill`. Stopping `job` ends it with SIGTERM,
    then SIGKILL. Signals are passed on in the main thread only.
    """
    with _passing_on(process) as wishes:
        while not job.stopped and not wishes.twice:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(timeout=0.2)
            if wishes.unheeded():
                job.progress(Event("note", text=f"the command goes on; once more within {_AGAIN:g} s kills it"))
        if wishes.twice:
            job.progress(Event("note", text="asked twice: the command is killed"))
            kill()  # the runtime then ends by itself, and gives the terminal back as it was
        else:
            process.terminate()
        with suppress(subprocess.TimeoutExpired):
            status = process.wait(timeout=STOP_SECONDS)
            return -wishes.twice or status
        process.kill()
        return -wishes.twice or process.wait()


class _Wishes:
    """Signals that ask for an end. `twice` is the second of them that came in time, else 0."""

    def __init__(self) -> None:
        self.twice = 0
        self._first: float | None = None
        self._told = False

    def take(self, number: int) -> None:
        now = time.monotonic()
        since = now - self._first if self._first is not None else _AGAIN + 1
        if since > _AGAIN:
            self._first, self._told = now, False
        elif since >= _ECHO:
            self.twice = number

    def unheeded(self) -> bool:
        """True once for each first wish, when it had the time to work."""
        if self._told or self._first is None or time.monotonic() - self._first < _TOLD_AFTER:
            return False
        self._told = True
        return True


@contextmanager
def _passing_on(process: subprocess.Popen[bytes]) -> Iterator[_Wishes]:
    """While inside, signals to this process reach the other. Only the main thread may set handlers."""
    wishes = _Wishes()
    if threading.current_thread() is not threading.main_thread():
        yield wishes
        return

    def pass_on(number: int, _frame: FrameType | None) -> None:
        if number in _ENDING:
            wishes.take(number)
        # the terminal sends its own to the whole foreground group, so the runtime has got them already
        if number not in _FROM_KEYBOARD or not _in_foreground():
            process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in _PASSED_ON}
    try:
        yield wishes
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_foreground() -> bool:
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False
