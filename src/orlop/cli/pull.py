"""`orlop pull`: fetch images into the store."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ..errors import Cancelled, Error, Usage
from . import options, output
from .app import App
from .lazy import Command

if TYPE_CHECKING:
    from ..transfer import Planned, Pulled


@click.command(cls=Command)
@click.argument("references", metavar="REF...", nargs=-1, required=True, shell_complete=options.complete_reference)
@click.option("--platform", metavar="OS/ARCH|all", help="Instead of this machine's, as linux/arm64/v8; or all.")
@click.option("--dry-run", is_flag=True, help="Show what would be fetched, and fetch nothing but manifests.")
@click.option("--download-only", is_flag=True, help="Keep the blobs; make layers ready when they are first used.")
@options.network
@options.durability
@options.as_json
@click.pass_obj
def pull(
    app: App, references: tuple[str, ...], platform: str | None, dry_run: bool, download_only: bool, as_json: bool
) -> int:
    """Fetch images into the store.

    Prints a digest a line, in the order of the references. An interrupted pull goes on where it was.

    \b
      orlop pull debian:12 ghcr.io/owner/app:1.2
      orlop pull --platform all oci-archive:app.tar
    """
    job, store, app.fetching = app.job(), app.store(), not dry_run
    if app.settings().network.username:
        _refuse_several_hosts(references)
    shown: list[dict[str, Any]] = []
    failures: list[Error] = []
    for reference in references:
        try:
            if dry_run:
                shown.append(_planned(app, reference, store.plan(reference, platform=platform, job=job), as_json))
            else:
                pulled = store.pull(reference, platform=platform, download_only=download_only, job=job)
                shown.append(_pulled(app, reference, pulled, as_json))
        except Cancelled:
            raise
        except Error as error:
            if len(references) == 1:
                error.message = output.told_of(reference, error)
                app.fail(error)
            else:  # the rest may still work; the line says which one this was
                app.fail(error, output.labelled(reference, error))
            failures.append(error)
            shown.append({"reference": reference, "error": error.message})
    if as_json:
        app.finish()
        output.document(shown)
    if failures and len(references) > 1:
        others = "; the others are in the store" if len(failures) < len(references) and not dry_run else ""
        app.say(f"orlop: {len(failures)} of {len(references)} references failed{others}")
    return output.ended(failures, len(references))


def _pulled(app: App, reference: str, pulled: Pulled, as_json: bool) -> dict[str, Any]:
    if not as_json:
        app.finish()
        print(pulled.digest, flush=True)
    speed = f" in {pulled.seconds:.1f} s" if pulled.seconds >= 0.05 else ""
    present = f", {output.size(pulled.present)} were here" if pulled.present else ""
    app.note(f"{pulled.name}: {output.size(pulled.fetched)} fetched{speed}{present}")
    return {
        "reference": reference,
        "name": pulled.name,
        "digest": pulled.digest,
        "manifests": list(pulled.manifests),
        "fetched": pulled.fetched,
        "present": pulled.present,
        "seconds": round(pulled.seconds, 3),
    }


def _planned(app: App, reference: str, planned: Planned, as_json: bool) -> dict[str, Any]:
    total = sum(wanted.size - kept for wanted, kept in planned.blobs)
    here = planned.present + sum(kept for _, kept in planned.blobs)
    if not as_json:
        app.finish()
        if planned.blobs:
            people = sys.stdout.isatty()  # programs get whole digests
            rows = [
                (wanted.digest.short if people else wanted.digest, output.size(wanted.size), output.size(kept))
                for wanted, kept in planned.blobs
            ]
            output.table(("BLOB", ">SIZE", ">KEPT"), rows)
        sys.stdout.flush()
        app.note(
            f"{planned.name}: {output.size(total)} to fetch in {output.count(planned.requests, 'request')}, "
            f"{output.size(here)} here already"
        )
    return {
        "reference": reference,
        "name": planned.name,
        "digest": planned.digest,
        "blobs": [
            {"digest": wanted.digest, "mediaType": wanted.media_type, "size": wanted.size, "kept": kept}
            for wanted, kept in planned.blobs
        ],
        "fetch": total,
        "present": planned.present,
        "requests": planned.requests,
    }


def _refuse_several_hosts(references: tuple[str, ...]) -> None:
    """--creds are for one registry; the others on the line must not see them."""
    from ..model.reference import Location

    found = {Location.parse(reference).reference for reference in references}
    hosts = sorted({reference.host for reference in found if reference is not None})
    if len(hosts) > 1:
        raise Usage(f"--creds: are for one registry, got {', '.join(hosts)}", hint="pull from one host at a time")
