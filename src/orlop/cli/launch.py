"""`orlop run` and `orlop bundle`: programs in an image."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import Usage
from . import options, output
from .app import App
from .lazy import Command
from .where import ensure

if TYPE_CHECKING:
    from ..store import DriverName, NetworkMode

# everything after REF belongs to the command in the image, options too
_PASS = {"ignore_unknown_options": False, "allow_interspersed_args": False}


@click.command(cls=Command, context_settings=_PASS)
@options.reference
@click.argument("command", metavar="[CMD...]", nargs=-1, type=click.UNPROCESSED)
@click.option("-e", "--env", "environment", metavar="NAME=VALUE", multiple=True, help="Set a variable; repeatable.")
@click.option("-w", "--workdir", metavar="DIR", default="", help="Start in this directory of the image.")
@click.option("-u", "--user", metavar="USER[:GROUP]", default="", help="Instead of the image's user.")
@click.option("-t", "--tty", "terminal", is_flag=True, help="Give the command a terminal.")
@click.option("--net", "net", type=click.Choice(["host", "none"]), default="host", help="This machine's, or none.")
@options.driver
@options.platform
@options.pull_policy
@click.pass_obj
def run(
    app: App,
    reference: str,
    command: tuple[str, ...],
    environment: tuple[str, ...],
    workdir: str,
    user: str,
    terminal: bool,
    net: NetworkMode,
    driver: DriverName,
    platform: str | None,
    policy: str,
) -> int:
    """Run a command in an image, in a writable root that is gone afterwards.

    Without CMD, what the image says. Options before REF are orlop's, after it the command's. The command
    shares the network of this machine, unless --net says none. The exit code is the command's.

    \b
      orlop run debian:12 ls -l /etc
      orlop run -t debian:12 bash
    """
    if terminal and not sys.stdin.isatty():
        raise Usage("run: -t needs a terminal on stdin")
    variables = [_variable(each, app) for each in environment]
    name = ensure(app, reference, platform, policy)
    job = app.job()
    app.finish()
    app.release_signals()  # from here on they are the command's
    return app.store().run(
        name,
        command,
        driver=driver,
        platform=platform,
        terminal=terminal,
        environment=[each for each in variables if each],
        workdir=workdir,
        user=user,
        network=net,
        job=job,
    )


def _variable(text: str, app: App) -> str:
    """NAME=VALUE; a lone NAME takes its value from our environment, and is left out if it has none."""
    name, equals, _ = text.partition("=")
    if not name:
        raise Usage("run: -e expects NAME=VALUE or NAME")
    if equals:
        return text
    value = app.environment.get(name)
    return "" if value is None else f"{name}={value}"


@click.command(cls=Command, context_settings=_PASS)
@options.reference
@click.argument("directory", metavar="DIR", type=options.FILE)
@click.argument("command", metavar="[CMD...]", nargs=-1, type=click.UNPROCESSED)
@options.driver
@options.platform
@options.pull_policy
@options.as_json
@click.pass_obj
def bundle(
    app: App,
    reference: str,
    directory: Path,
    command: tuple[str, ...],
    driver: DriverName,
    platform: str | None,
    policy: str,
    as_json: bool,
) -> None:
    """Make an OCI runtime bundle: config.json and a writable rootfs, for runc, crun and the like.

    \b
      orlop bundle debian:12 /tmp/b sleep 60 && runc run --bundle /tmp/b mine
    """
    from ..containers import check_bundle
    from ..materialise import check_place

    check_place(directory / "rootfs", app.settings().store)
    check_bundle(directory.absolute())
    name = ensure(app, reference, platform, policy)
    made = app.store().bundle(name, directory, command=command, driver=driver, platform=platform, job=app.job())
    app.finish()
    directory = directory.absolute()
    app.note(f"rootfs by {made.driver}" + (f"; {made.why}" if made.why else ""))
    if as_json:
        output.document({"name": made.name, "digest": made.digest, "directory": str(directory), "driver": made.driver})
    else:
        print(directory)
