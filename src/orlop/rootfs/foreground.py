"""A program in the foreground: its start, waiting for it, passing signals on to it, and its end when it heeds none."""

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


def run_in_foreground(
    start: Callable[[], subprocess.Popen[bytes]], kill: Callable[[], None], clean: Callable[[], None], job: Job
) -> int:
    """Start a runtime and wait for its end; returns its status, negative if a signal ended it.

    Signals that would end this process go to it instead, from before it starts until after `clean`. The first program
    of a container gets only those that it has asked for, so whoever asks twice within 5 seconds has it killed, by
    `kill`. Stopping `job` ends it with SIGTERM, then SIGKILL. Signals are passed on in the main thread only.
    """
    with _passing_on() as wishes:
        process = start()
        try:
            wishes.reach(process)
            return _wait(process, wishes, kill, job)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            clean()


def _wait(process: subprocess.Popen[bytes], wishes: _Wishes, kill: Callable[[], None], job: Job) -> int:
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
    """Signals that came, for a process that may not be there yet. `twice` is the second one that asks for an end, if it
    came in time, else 0."""

    def __init__(self) -> None:
        self.twice = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []
        self._first: float | None = None
        self._told = False

    def reach(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        for number in self._early:
            process.send_signal(number)

    def take(self, number: int, _frame: FrameType | None) -> None:
        """As a signal handler."""
        if number in _ENDING:
            self._count(number)
        if self._process is None:
            self._early.append(number)
        # the terminal sends its own to the whole foreground group, so the runtime has got them already
        elif number not in _FROM_KEYBOARD or not _in_foreground():
            self._process.send_signal(number)

    def _count(self, number: int) -> None:
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
def _passing_on() -> Iterator[_Wishes]:
    wishes = _Wishes()
    if threading.current_thread() is not threading.main_thread():
        yield wishes
        return
    before = {number: signal.signal(number, wishes.take) for number in _PASSED_ON}
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
