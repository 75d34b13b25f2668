"""`orlop job` and `orlop image set`: the jobs of Docker's engine, from a shell."""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import Cancelled, NotFound, Usage, of_system
from . import options
from .app import App
from .lazy import Command, Group

if TYPE_CHECKING:
    from ..job import Job

_GLANCE = 200  # milliseconds that a pipe is waited for before the job is looked at
_PASS = {"ignore_unknown_options": False, "allow_interspersed_args": False}


class Stdin:
    """A `Readable` over standard input that heeds interrupts while it waits. `Usage` for a terminal, or none at all:
    whoever wants to give nothing says so."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._poll = select.poll()
        self._poll.register(0, select.POLLIN)
        self._ended = False

    def read(self, size: int, /) -> bytes:
        if self._ended:
            return b""
        if sys.stdin is None or os.isatty(0):
            what = "closed" if sys.stdin is None else "a terminal"
            raise Usage(f"standard input: is {what}, expected a tar", hint="< FILE, or < /dev/null for nothing")
        while not self._poll.poll(_GLANCE):
            self._job.check()
        self._job.check()
        data = os.read(0, size)
        self._ended = not data
        return data


class _Lines:
    """A sink of text that says whole lines."""

    def __init__(self, app: App) -> None:
        self._app = app

    def write(self, data: bytes, /) -> None:
        self._app.say(data.decode("utf-8", "replace").rstrip("\n"))


@click.command(cls=Command, context_settings=_PASS)
@click.argument("name", metavar="NAME", shell_complete=options.complete_jobs)
@click.argument("arguments", metavar="[ARG...]", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def job(app: App, name: str, arguments: tuple[str, ...]) -> int:
    """Run a job of Docker's engine on the store.

    The environment of the command is the job's, standard input and output too. The exit code is the job's status: 0,
    1 for an error, 127 for an unknown name. `orlop job commands` lists the jobs.
    """
    from ..engine.job import JobFailed
    from ..jobs.handlers import make_engine

    work = app.job()
    lines = _Lines(app)
    engine = make_engine(app.store(), work=work, log=lines if app.verbose else None)
    running = engine.job(name, *arguments)
    for key, value in app.environment.items():
        running.env.set(key, value)
    running.stdin.add(Stdin(work))
    running.stdout.add(sys.stdout.buffer)
    running.stderr.add(lines)
    try:
        running.run()
    except JobFailed as error:
        if isinstance(error.__cause__, Cancelled):
            raise error.__cause__ from error
        if not running.stderr.used:
            app.say(error.message)
        return error.status
    return 0


@click.command(cls=Command, name="set")
@click.argument("id", metavar="ID")
@click.option("--json", "file", type=options.FILE, metavar="FILE", help="The image's JSON; default: $json.")
@click.pass_obj
def image_set(app: App, id: str, file: Path | None) -> None:
    """Take in a version 1 image: its JSON byte for byte, and its layer from standard input.

    The layer is a tar, plain or compressed; nothing to read is an image without a layer. Prints the ID.
    """
    from ..jobs.images import image_set as take

    raw = _read(file) if file is not None else os.fsencode(app.environment.get("json", ""))
    if not raw:
        raise Usage("image set: no JSON", hint="give it with --json FILE, or in the environment as json=...")
    work = app.job()
    taken = take(app.store(), id, raw, Stdin(work), work=work)
    app.finish()
    print(taken)


@click.group(cls=Group, commands={"set": image_set}, no_args_is_help=False)
def image() -> None:
    """Take in version 1 images."""


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise of_system(error, f"{file}: {(error.strerror or '').lower()}", NotFound) from error
