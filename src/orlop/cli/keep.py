"""`orlop gc`, `fsck` and `df`: keeping the store."""

from __future__ import annotations

import click

from ..errors import Damaged
from . import options, output
from .app import App
from .lazy import Command


@click.command(cls=Command)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@options.as_json
@click.pass_obj
def gc(app: App, dry_run: bool, as_json: bool) -> None:
    """Free what no name reaches and nobody uses. Safe while others pull."""
    collected = app.store().gc(dry_run=dry_run, job=app.job())
    app.finish()
    if as_json:
        output.document(
            {
                "removed": list(collected.removed),
                "derived": collected.derived,
                "partials": collected.partials,
                "bytes": collected.bytes,
                "dryRun": dry_run,
            }
        )
        return
    for digest in collected.removed:
        print(digest)
    verb = "would free" if dry_run else "freed"
    app.note(
        f"{verb} {output.size(collected.bytes)}: {len(collected.removed)} blobs, "
        f"{collected.derived} derived files, {collected.partials} half-done downloads"
    )


@click.command(cls=Command)
@click.option("--quick", is_flag=True, help="Sizes and names only; read no blob.")
@options.as_json
@click.pass_obj
def fsck(app: App, quick: bool, as_json: bool) -> None:
    """Check every blob against its digest and everything else against the blobs. Changes nothing.

    The exit code is 5 if anything is wrong.
    """
    checked = app.store().fsck(quick=quick, job=app.job())
    app.finish()
    if as_json:
        output.document(
            {
                "blobs": checked.blobs,
                "bytes": checked.bytes,
                "derived": checked.derived,
                "findings": [{"kind": f.kind, "subject": f.subject, "text": f.text} for f in checked.findings],
            }
        )
    else:
        for finding in checked.findings:
            print(output.printable(f"{finding.kind}: {finding.subject}: {finding.text}"))
    summary = f"{checked.blobs} blobs, {output.size(checked.bytes)}, {checked.derived} derived files"
    if checked.findings:
        count = len(checked.findings)
        raise Damaged(f"store: {count} fault{'s' if count > 1 else ''} in {summary}", hint="pull the images again")
    app.note(f"no faults in {summary}")


@click.command(cls=Command)
@options.as_json
@click.pass_obj
def df(app: App, as_json: bool) -> None:
    """Show what the store takes on disk."""
    usage = app.store().df()
    if as_json:
        output.document(
            {
                "images": usage.images,
                "blobs": usage.blobs,
                "blobBytes": usage.blob_bytes,
                "derivedBytes": usage.derived_bytes,
                "partialBytes": usage.partial_bytes,
                "freeBytes": usage.free_bytes,
            }
        )
        return
    output.table(
        ("WHAT", ">COUNT", ">SIZE"),
        [
            ("images", str(usage.images), ""),
            ("blobs", str(usage.blobs), output.size(usage.blob_bytes)),
            ("ready to mount", "", output.size(usage.derived_bytes)),
            ("half-done downloads", "", output.size(usage.partial_bytes)),
            ("free on this disk", "", output.size(usage.free_bytes)),
        ],
    )
