"""`orlop mount`, `umount`, `unpack`, `export`: an image's files as a directory or a tar."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from ..errors import Usage
from . import options, output
from .app import App
from .lazy import Command
from .where import ensure, local_name

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from ..materialise import Mounted
    from ..store import DriverName


@click.command(cls=Command)
@click.argument("reference", metavar="[REF", required=False, shell_complete=options.complete_reference)
@click.argument("directory", metavar="[DIR]]", required=False, type=options.FILE)
@options.driver
@options.platform
@options.pull_policy
@options.as_json
@click.pass_obj
def mount(
    app: App,
    reference: str | None,
    directory: Path | None,
    driver: DriverName,
    platform: str | None,
    policy: str,
    as_json: bool,
) -> None:
    """Show an image as a read-only directory, and print its path.

    Without DIR, at a new directory below the store. Without REF, list the mounts.

    \b
      orlop mount debian:12 /mnt
      ls "$(orlop mount debian:12)"
    """
    if reference is None:
        _list_mounts(app, as_json)
        return
    name = ensure(app, reference, platform, policy)
    mounted = app.store().mount(name, directory, driver=driver, platform=platform, job=app.job())
    app.finish()
    app.note(f"mounted with {mounted.driver}" + (f"; {mounted.why}" if mounted.why else ""))
    if as_json:
        output.document(_mounted(mounted))
    else:
        print(mounted.target)


def _list_mounts(app: App, as_json: bool) -> None:
    found = app.store().mounts()
    if as_json:
        output.document([_mounted(each) for each in found])
    else:
        rows = [(each.name, each.digest.short, each.driver, str(each.target)) for each in found]
        output.table(("NAME", "DIGEST", "DRIVER", "DIRECTORY"), rows)


def _mounted(mounted: Mounted) -> dict[str, Any]:
    return {
        "name": mounted.name,
        "digest": mounted.digest,
        "directory": str(mounted.target),
        "driver": mounted.driver,
        "why": mounted.why,
    }


def _mounts(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from .complete import mounts

    return mounts(context.ensure_object(App), incomplete)


@click.command(cls=Command)
@click.argument("target", metavar="DIR|REF", type=options.Place(readable=False), shell_complete=_mounts)
@click.option("--lazy", is_flag=True, help="Out of sight now, gone once nobody uses it.")
@options.as_json
@click.pass_obj
def umount(app: App, target: str, lazy: bool, as_json: bool) -> None:
    """Undo the mount at a directory, or all mounts of an image."""
    undone = app.store().umount(local_name(target), lazy=lazy)
    if as_json:
        output.document([_mounted(each) for each in undone])
    for each in undone:
        app.note(f"{each.target}: unmounted")


@click.command(cls=Command)
@options.reference
@click.argument("directory", metavar="DIR", type=options.FILE)
@options.platform
@options.pull_policy
@options.as_json
@click.pass_obj
def unpack(app: App, reference: str, directory: Path, platform: str | None, policy: str, as_json: bool) -> None:
    """Write an image's files into a new or empty directory.

    Owners are set if you are root, and recorded beside the directory if not. What was opened for this alone is not
    kept: to mount the image too, pull it first.
    """
    from ..rootfs.directory import check_target

    check_target(directory, own=os.geteuid() == 0)
    name = ensure(app, reference, platform, policy, for_unpack=True)
    unpacked = app.store().unpack(name, directory, platform=platform, job=app.job())
    app.finish()
    for note in unpacked.notes:
        app.note(f"note: {note}")
    entries = "1 entry" if unpacked.entries == 1 else f"{unpacked.entries} entries"
    app.note(f"{entries}, {output.size(unpacked.bytes)}; ownership {unpacked.ownership}")
    if as_json:
        output.document(
            {
                "directory": str(unpacked.target),
                "digest": unpacked.digest,
                "entries": unpacked.entries,
                "bytes": unpacked.bytes,
                "ownership": unpacked.ownership,
                "notes": list(unpacked.notes),
            }
        )
    else:
        print(unpacked.target)


@click.command(cls=Command)
@options.reference
@click.option(
    "-o",
    "--output",
    "out",
    type=options.Place(readable=False),
    metavar="FILE",
    default="-",
    help="Instead of stdout.",
    shell_complete=options.complete_path,
)
@options.platform
@options.pull_policy
@click.pass_obj
def export(app: App, reference: str, out: str, platform: str | None, policy: str) -> None:
    """Write an image's files, all layers together, as one tar."""
    if out == "-" and sys.stdout.isatty():
        raise Usage("export: a tar is nothing for a terminal", hint="use -o FILE or a pipe")
    name = ensure(app, reference, platform, policy)
    with _output(out) as stream:
        written = app.store().export(name, stream, platform=platform, job=app.job())
    app.note(f"{output.size(written)} written")


@contextmanager
def _output(out: str) -> Iterator[BinaryIO]:
    """stdout, or a file that appears under its name only when it is whole."""
    if out == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(out)
    if target.exists() and not target.is_file():
        with _told_of(target), target.open("wb") as stream:  # /dev/null, a fifo
            yield stream
        return
    import tempfile

    with _told_of(target):
        descriptor, draft = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with _told_of(target), open(descriptor, "wb") as stream:
            yield stream
        mask = os.umask(0)
        os.umask(mask)
        with _told_of(target):
            Path(draft).chmod(0o666 & ~mask)
            Path(draft).replace(target)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


@contextmanager
def _told_of(target: Path) -> Iterator[None]:
    """What fails is told of the name that was asked for, not of its draft's or of none."""
    try:
        yield
    except OSError as error:
        if not error.filename or Path(os.fsdecode(error.filename)).parent == target.parent:
            error.filename, error.filename2 = str(target), None
        raise
