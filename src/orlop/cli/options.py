"""Options shared by commands: those of every command, those of the network, platform, driver, JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .app import App

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])


class Place(click.Path):
    """A path that names something. "" is what a shell makes of a variable that is not set, and would mean the
    working directory to whatever took it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not os.fspath(value):
            self.fail("expected a path, got ''", param, ctx)
        return super().convert(value, param, ctx)


FILE = Place(path_type=Path, readable=False)  # whoever reads it says so in our words
DRIVERS = ("auto", "erofs", "overlay", "directory")


def common() -> list[click.Option]:
    """Fresh options that every command takes, before and after its name. They set fields of `App`."""
    return [
        _option(
            "--store",
            "store_path",
            type=Place(readable=False),
            metavar="PATH",
            help="The store; else $ORLOP_STORE, else the default place.",
            shell_complete=complete_path,
        ),
        _option("--config", "config", type=FILE, metavar="FILE", help="Only this file of settings."),
        _option("-q", "--quiet", "quiet", is_flag=True, help="Only results and errors."),
        _option("-v", "--verbose", "verbose", count=True, help="Causes of errors, what is done; -vv for more."),
        _option(
            "--progress",
            "progress",
            type=click.Choice(("auto", "plain", "json", "none")),
            help="Bars on a terminal and lines elsewhere (auto), lines, JSON lines, or nothing.",
        ),
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_version,
            help="Show the version and exit.",
        ),
    ]


def _option(*names: str, **attributes: Any) -> click.Option:
    return click.Option(names, expose_value=False, callback=_set, **attributes)


def _set(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value and parameter.name:
        setattr(context.ensure_object(App), parameter.name, value)


def _version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from .. import __version__

        click.echo(f"orlop {__version__}")
        context.exit()


def network(command: F) -> F:
    """--jobs, --retry, --timeout, --insecure, --creds, --authfile and the certificates: into `App.network`."""
    made: list[Callable[[Any], Any]] = [
        _network("--jobs", type=click.IntRange(1, 64), metavar="N", help="Transfers at once (4)."),
        _network("--retry", type=click.IntRange(0, 100), metavar="N", help="Attempts after the first (5)."),
        _network("--timeout", type=click.FloatRange(0.1), metavar="S", help="Seconds without a byte (60)."),
        _network(
            "--insecure",
            multiple=True,
            metavar="[https://]HOST[:PORT]",
            help="Plain HTTP for this host only; with https://, TLS without verification. Repeatable.",
        ),
        _network("--creds", metavar="USER:PASS", help="For the registry that is named; - reads a line of stdin."),
        _network("--authfile", type=FILE, metavar="FILE", help="Credentials from this file only."),
        _network("--ca-file", type=FILE, metavar="PEM", help="Certificates to trust beside the system's."),
        _network("--client-cert", type=FILE, metavar="PEM", help="Certificate to show to the registry."),
        _network("--client-key", type=FILE, metavar="PEM", help="Its key."),
    ]
    for option in reversed(made):
        command = option(command)
    return command


def is_network(option: click.Option) -> bool:
    """Whether `network` made it; help has a heading for these."""
    return option.callback is _set_network


def _network(name: str, **attributes: Any) -> Callable[[Any], Any]:
    return click.option(name, expose_value=False, callback=_set_network, **attributes)


_FIELDS = {"retry": "retries"}


def _set_network(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value is None or value == () or context.resilient_parsing:
        return
    app = context.ensure_object(App)
    name = parameter.name or ""
    if name == "jobs":
        app.changes["workers"] = value
    elif name == "creds":
        app.network.update(_credentials(value, app))
    elif name == "insecure":
        app.network["insecure"] = frozenset(map(_host, value))
    else:
        app.network[_FIELDS.get(name, name)] = value


def _credentials(value: str, app: App) -> dict[str, str]:
    if value == "-":
        value = sys.stdin.readline(64 << 10).rstrip("\r\n")
    app.secrets.add(value)
    username, colon, password = value.partition(":")
    if not colon or not username or not password:
        raise click.UsageError("--creds: expected USER:PASS")
    app.secrets.add(password)
    return {"username": username, "password": password}


def _host(value: str) -> str:
    host, slash, bits = value.removeprefix("https://").partition("/")
    if not host or (slash and not bits.isdecimal()):
        raise click.UsageError(f"--insecure: expected HOST[:PORT] or https://HOST[:PORT], got {value!r}")
    return value.lower()


def durability(command: F) -> F:
    def apply(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
        if value:
            context.ensure_object(App).changes["durability"] = value

    return click.option(
        "--durability",
        type=click.Choice(("full", "none")),
        expose_value=False,
        callback=apply,
        help="Whether to survive a power cut (full) or be a little faster (none).",
    )(command)


def platform(command: F) -> F:
    return click.option("--platform", metavar="OS/ARCH", help="Instead of this machine's, as linux/arm64/v8.")(command)


def driver(command: F) -> F:
    return click.option(
        "--driver", type=click.Choice(DRIVERS), default="auto", help="How the root is made; auto takes the best."
    )(command)


def as_json(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="One JSON document; sizes in bytes.")(command)


def pull_policy(command: F) -> F:
    return network(
        durability(
            click.option(
                "--pull",
                "policy",
                type=click.Choice(("missing", "never")),
                default="missing",
                help="Fetch the image if it is not in the store (missing, the default), or fail (never).",
            )(command)
        )
    )


def reference(command: F) -> F:
    """The argument REF, completed from the store and with files."""
    return click.argument("reference", metavar="REF", shell_complete=complete_reference)(command)


def complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    from .complete import names

    return names(context.ensure_object(App), incomplete)


def complete_reference(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    from .complete import references

    return references(context.ensure_object(App), incomplete)


def complete_source(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    from .complete import sources

    return sources(context.ensure_object(App), incomplete)


def complete_destination(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    from .complete import destinations

    return destinations(context.ensure_object(App), incomplete)


def complete_jobs(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    from ..jobs import NAMES

    return [name for name in NAMES if name.startswith(incomplete)]


def complete_path(_context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Left to the shell."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="dir" if parameter.name == "store_path" else "file")]
