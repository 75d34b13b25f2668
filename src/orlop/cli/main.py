"""The entry point: runs one command, and turns whatever comes out of it into one line and an exit code."""

from __future__ import annotations

import gc
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from .. import __version__
from ..errors import Cancelled, Error, NoSpace, Partial, Usage, of_system

if TYPE_CHECKING:
    from collections.abc import Sequence

    import click

    from .app import App

BUG = 1
_COMPLETE = "_ORLOP_COMPLETE"  # set by the scripts of `orlop completion`
BROKEN_PIPE = 141  # what a shell reports for a program that SIGPIPE ended


def main() -> NoReturn:
    """The program `orlop`."""
    if sys.argv[1:] == ["--version"]:
        # answered before click is imported: scripts ask this often
        with suppress(OSError):  # a full disk, a closed pipe: told below, where it is tried once more
            print(f"orlop {__version__}", flush=True)
            raise SystemExit(0)
    _occupy()
    # threads that index in Python must not hold up those that need the interpreter for a moment between two chunks
    sys.setswitchinterval(0.0005)
    # a command makes a hundred thousand entries, none in a cycle: looking for cycles took a fifth of a first mount
    gc.set_threshold(200_000)
    raise SystemExit(run(sys.argv[1:]))


def _occupy() -> None:
    """Where standard input, output or error are closed, the next file opened would take its place."""
    import os

    while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", closefd=False))


def run(arguments: Sequence[str], app: App | None = None) -> int:
    """Run one command line; returns its exit code."""
    from .app import App

    app = app or App()
    try:
        with app:
            return _invoke(list(arguments), app)
    except BrokenPipeError:
        return _broken_pipe()
    except KeyboardInterrupt:
        return _report(Cancelled("interrupted"), app)
    except Error as error:
        return _report(error, app)
    except OSError as error:
        return _system(error, app)
    except Exception as error:  # noqa: BLE001 -- the surface: a bug ends here as one line
        return _bug(error, app)


def _invoke(arguments: list[str], app: App) -> int:
    import click

    from .root import root

    if instruction := app.environment.get(_COMPLETE):
        from .complete import answer

        return answer(root, app, instruction)
    try:
        # not click's own main(): that has its say on broken pipes and interrupts
        with root.make_context("orlop", arguments, obj=app) as context:
            status = root.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.UsageError as error:
        return _report(_usage(error), app)
    except click.Abort as error:
        raise KeyboardInterrupt from error
    except click.ClickException as error:
        app.say(f"orlop: {error.format_message()}")
        return error.exit_code
    return status if isinstance(status, int) else 0


def _usage(error: click.UsageError) -> Usage:
    """click's own in our form: `pull: no such option '--nosuch'; orlop pull --help`."""
    text = " ".join(error.format_message().split()).rstrip(".")
    text, question, advice = text.partition(". Did you mean")
    text, _, more = (text[0].lower() + text[1:]).partition("; did you mean")
    command = error.ctx.command_path if error.ctx else "orlop"
    name = command.partition(" ")[2]
    if question or more:
        hint = f"did you mean{advice}{more}"
    else:
        hint = f"{command} --help"
    return Usage(f"{name}: {text}" if name else text, hint=hint)


def _report(error: Error, app: App) -> int:
    if isinstance(error, Cancelled) and app.fetching:
        error.hint = "what was fetched is kept; run it again to go on"
    elif isinstance(error, Cancelled) and app.sending:
        error.hint = "what has arrived stays there; run it again to go on"
    if isinstance(error, Partial):
        for each in error.errors:
            app.fail(each)
    app.fail(error)
    return error.exit_code


def _system(error: OSError, app: App) -> int:
    """An OSError that reached the surface: writing the output failed, or a file named on the command line did."""
    where, text = error.filename, (error.strerror or str(error)).lower()
    ours = of_system(error, f"{where}: {text}" if where else text, Error)
    if isinstance(ours, NoSpace) and not where:
        ours.message = f"standard output: {text}"  # whatever else is written has a name
        _silence()
    app.fail(ours)
    if app.verbose:
        _traceback(app)
    return ours.exit_code


def _bug(error: Exception, app: App) -> int:
    app.say(f"orlop: this is a bug: {type(error).__name__}: {error}; -v shows where")
    if app.verbose:
        _traceback(app)
    return BUG


def _traceback(app: App) -> None:
    import traceback

    app.say(traceback.format_exc().rstrip("\n"))


def _broken_pipe() -> int:
    """The reader of our output went away: nothing that anybody wants to hear."""
    _silence()
    return BROKEN_PIPE


def _silence() -> None:
    """What stdout still holds goes nowhere: else Python flushes it at the end, fails again, and has its own say."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
