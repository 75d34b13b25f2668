"""click's Group and Command, with modules imported only when their command is called, and the common options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click

from .options import common, is_network

_COMMON = "Options of every command"


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command is (`module` below `orlop.cli`, its attribute), and its line in the list of commands."""

    module: str
    attribute: str
    summary: str


class Command(click.Command):
    """A command that also takes the common options."""

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self._common = common()
        self.params.extend(self._common)

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(context, args)
        except click.UsageError as error:
            error.ctx = error.ctx or context  # an option without its argument does not know whose it is
            raise

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        own = [p for p in self.get_params(context) if isinstance(p, click.Option) and p not in self._common]
        _section(context, formatter, "Options", [option for option in own if not is_network(option)])
        _section(context, formatter, "Network", [option for option in own if is_network(option)])
        _section(context, formatter, _COMMON, self._common)


class Group(Command, click.Group):
    """A few commands under one name."""

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(context, formatter)
        self.format_commands(context, formatter)


class Commands(click.Group):
    """The group of all commands. `sections` maps a heading to the names under it."""

    command_class = Command

    def __init__(
        self, *arguments: Any, entries: Mapping[str, Entry], sections: Mapping[str, Sequence[str]], **attributes: Any
    ) -> None:
        super().__init__(*arguments, **attributes)
        self.entries = entries
        self.sections = sections
        self._common = common()
        self.params.extend(self._common)

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(self.entries)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        entry = self.entries.get(name)
        if entry is None:
            return None
        command = getattr(import_module(f"orlop.cli.{entry.module}"), entry.attribute)
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = arguments[0]
        if name not in self.entries and not context.resilient_parsing and not name.startswith("-"):
            raise click.UsageError(f"no such command {name!r}{self._near(name)}", context)
        return super().resolve_command(context, arguments)

    def _near(self, name: str) -> str:
        from difflib import get_close_matches

        near = get_close_matches(name, self.entries, n=2, cutoff=0.5)
        return f"; did you mean {' or '.join(repr(each) for each in near)}?" if near else ""

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, names in self.sections.items():
            with formatter.section(heading):
                formatter.write_dl([(name, self.entries[name].summary) for name in names])
        _section(context, formatter, _COMMON, self.get_params(context))


def _section(
    context: click.Context, formatter: click.HelpFormatter, heading: str, parameters: Sequence[click.Parameter]
) -> None:
    rows = [row for parameter in parameters if (row := parameter.get_help_record(context)) is not None]
    if rows:
        with formatter.section(heading):
            formatter.write_dl(rows)
