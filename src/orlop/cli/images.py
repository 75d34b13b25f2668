"""`orlop images` and `orlop tags`: what there is."""

from __future__ import annotations

from collections.abc import Iterable

import click

from ..errors import NotFound
from . import options, output
from .app import App
from .lazy import Command
from .where import is_remote, local_name


@click.command(cls=Command)
@click.argument("pattern", metavar="[PATTERN]", required=False)
@click.option("--all", "every", is_flag=True, help="Also the entries of version 1 images.")
@options.as_json
@click.pass_obj
def images(app: App, pattern: str | None, every: bool, as_json: bool) -> None:
    """List the images in the store.

    PATTERN is part of a name, or has * and ? for the whole short or full name. With -q, names only.
    """
    listed = [row for row in app.store().images(hidden=every) if pattern is None or _matches(row.name, pattern)]
    if as_json:
        output.document(
            [
                {
                    "name": row.name,
                    "digest": row.digest,
                    "platforms": list(row.platforms),
                    "created": row.created or None,
                    "updated": row.updated or None,
                    "size": row.size,
                    "complete": row.complete,
                }
                for row in listed
            ]
        )
    elif app.quiet:
        for row in listed:
            print(_familiar(row.name))
    else:
        output.table(
            ("NAME", "DIGEST", "PLATFORMS", "CREATED", ">SIZE"),
            [
                (
                    _familiar(row.name),
                    row.digest.short,
                    ", ".join(row.platforms),
                    output.age(row.created),
                    output.size(row.size) + ("" if row.complete else " (incomplete)"),
                )
                for row in listed
            ],
        )


@click.command(cls=Command)
@click.argument("repository", metavar="REPO", shell_complete=options.complete)
@options.network
@options.as_json
@click.pass_obj
def tags(app: App, repository: str, as_json: bool) -> None:
    """List the tags of a repository.

    In the store; with a prefix, at the source: docker://debian, oci:PATH.
    """
    found: Iterable[str]
    if is_remote(repository):
        found = app.store().remote_tags(repository, job=app.job())
    else:
        found = _local_tags(app, repository)
    if as_json:
        output.document({"repository": repository, "tags": list(found)})
        return
    for tag in found:
        print(tag)


def _local_tags(app: App, repository: str) -> list[str]:
    from ..model.reference import Reference

    wanted = Reference.parse(local_name(repository)).name
    names = [Reference.parse(row.name) for row in app.store().images()]
    found = [name.tag for name in names if name.name == wanted and name.tag]
    if not found:
        raise NotFound(f"{repository}: not in the store", hint=f"try orlop tags docker://{local_name(repository)}")
    return found


def _familiar(name: str) -> str:
    from ..model.reference import Reference

    return Reference.parse(name).familiar


def _matches(name: str, pattern: str) -> bool:
    if "*" not in pattern and "?" not in pattern:
        return pattern in name
    from fnmatch import fnmatchcase

    return fnmatchcase(name, pattern) or fnmatchcase(_familiar(name), pattern)
