"""`orlop gc`, `fsck` and `df`: keeping the store."""

from __future__ import annotations

import click

from ..errors import Damaged
from . import options, output
from .app import App
from .lazy import Command


@click.command(cls=Command)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--derived", is_flag=True, help="Also what can be made again: plain layers and mountable images.")
@click.option("--partials", is_flag=True, help="Also what pulls that were cut in the last 24 hours have left.")
@options.as_json
@click.pass_obj
def gc(app: App, dry_run: bool, derived: bool, partials: bool, as_json: bool) -> None:
    """Free what no name reaches and nobody uses. Safe while others pull."""
    collected = app.store().gc(dry_run=dry_run, derived=derived, partials=partials, job=app.job())
    app.finish()
    if as_json:
        output.document(
            {
                "removed": list(collected.removed),
                "derived": collected.derived,
                "partials": collected.partials,
                "bytes": collected.bytes,
                "kept": collected.kept,
                "dryRun": dry_run,
            }
        )
        return
    for digest in collected.removed:
        print(digest)
    verb = "would free" if dry_run else "freed"
    app.note(
        f"{verb} {output.size(collected.bytes)}: {output.count(len(collected.removed), 'blob')}, "
        f"{output.count(collected.derived, 'derived file')}, {output.count(collected.partials, 'half-done download')}"
    )
    if collected.kept:
        kept = output.size(collected.kept)
        app.note(f"{kept} of pulls that were cut are kept for a day; orlop gc --partials frees them")


@click.command(cls=Command)
@click.option("--quick", is_flag=True, help="Sizes and names only; read no blob.")
@click.option("--repair", is_flag=True, help="Put damaged blobs aside, drop what can be made again.")
@options.as_json
@click.pass_obj
def fsck(app: App, quick: bool, repair: bool, as_json: bool) -> None:
    """Check every blob against its digest and everything else against the blobs.

    Changes nothing without --repair; after it, pull the images that it names. The exit code is 5 if anything is
    wrong and was not mended.
    """
    checked = app.store().fsck(quick=quick, repair=repair, job=app.job())
    app.finish()
    if as_json:
        output.document(
            {
                "blobs": checked.blobs,
                "bytes": checked.bytes,
                "derived": checked.derived,
                "findings": [
                    {"kind": f.kind, "subject": f.subject, "text": f.text, "mended": f.mended} for f in checked.findings
                ],
            }
        )
    else:
        for finding in checked.findings:
            mended = " (mended)" if finding.mended else ""
            print(output.printable(f"{finding.kind}: {finding.subject}: {finding.text}{mended}"))
    blobs, derived = output.count(checked.blobs, "blob"), output.count(checked.derived, "derived file")
    summary = f"{blobs}, {derived}" if quick else f"{blobs}, {output.size(checked.bytes)}, {derived}"
    left = sum(not finding.mended for finding in checked.findings)
    if left:
        hint = "pull the images named above" if repair else "`orlop fsck --repair`, then pull the images again"
        raise Damaged(f"store: {output.count(left, 'fault')} in {summary}", hint=hint)
    app.note(f"{'all mended' if checked.findings else 'no faults'} in {summary}")


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
                "partials": usage.partials,
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
            ("half-done downloads", str(usage.partials), output.size(usage.partial_bytes)),
            ("free on this disk", "", output.size(usage.free_bytes)),
        ],
    )
