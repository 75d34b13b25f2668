"""`orlop tag`, `untag` and `rm`: the names in the store."""

from __future__ import annotations

from typing import Any

import click

from ..errors import Error
from . import options, output
from .app import App
from .lazy import Command
from .where import local_name, looking, removing


@click.command(cls=Command)
@click.argument("source", metavar="SRC", shell_complete=options.complete)
@click.argument("new", metavar="NEW")
@click.pass_obj
def tag(app: App, source: str, new: str) -> None:
    """Give an image another name. If NEW is taken, it moves. Prints the digest."""
    with looking(source):
        print(app.store().tag(local_name(source), local_name(new)))


@click.command(cls=Command)
@click.argument("reference", metavar="REF", shell_complete=options.complete)
@click.pass_obj
def untag(app: App, reference: str) -> None:
    """Remove one name; the bytes stay until gc. Prints the digest that it had."""
    with removing():
        print(app.store().untag(local_name(reference)))


@click.command(cls=Command, name="rm")
@click.argument("references", metavar="REF...", nargs=-1, required=True, shell_complete=options.complete)
@options.as_json
@click.pass_obj
def remove(app: App, references: tuple[str, ...], as_json: bool) -> int:
    """Remove names from the store, and what nothing else needs. Registries are not touched."""
    store, failures = app.store(), list[Error]()
    shown: list[dict[str, Any]] = []
    for reference in references:
        try:
            with removing():
                collected = store.remove(local_name(reference))
        except Error as error:
            app.fail(error, output.labelled(reference, error))
            failures.append(error)
            shown.append({"reference": reference, "error": error.message})
        else:
            removed: dict[str, Any] = {"reference": reference, "removed": list(collected.removed)}
            removed["bytes"] = collected.bytes
            if collected.stopped:
                removed["stopped"] = collected.stopped
                app.note(f"{reference}: removed; freeing stopped: {collected.stopped}")
            else:
                app.note(f"{reference}: removed, {output.size(collected.bytes)} freed")
            shown.append(removed)
    if as_json:
        output.document(shown)
    if failures and len(references) > 1:
        were = "was" if len(failures) == 1 else "were"
        app.say(f"orlop: {len(failures)} of {len(references)} names {were} not removed")
    return output.ended(failures, len(references))
