"""`orlop push` and `orlop copy`: images to registries, and from anywhere to anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..errors import Usage
from . import options, output
from .app import App
from .lazy import Command
from .where import is_remote, local_name, looking

if TYPE_CHECKING:
    from ..push import Pushed


@click.command(cls=Command)
@click.argument("reference", metavar="REF", shell_complete=options.complete)
@click.argument("destination", metavar="[DEST]", default="", shell_complete=options.complete_destination)
@click.option("--platform", metavar="OS/ARCH", help="Only the image for this platform, without the index above it.")
@options.network
@options.as_json
@click.pass_obj
def push(app: App, reference: str, destination: str, platform: str | None, as_json: bool) -> None:
    """Send an image of the store to a registry.

    DEST is where its name says, if it is not given. Prints the digest that DEST points at then. Blobs that are there
    already are not sent.

    \b
      orlop push registry.example/team/app:1
      orlop push debian:12 registry.example/mirror/debian:12
    """
    if is_remote(reference):
        raise Usage(f"{reference}: is not in the store", hint=f"orlop copy {reference} DEST")
    job, store = app.job(), app.store()
    name = local_name(reference)
    with looking(reference):
        store.digest(name)
    app.sending = True
    _shown(app, reference, store.push(name, destination, platform=platform, job=job), as_json)


@click.command(cls=Command)
@click.argument("source", metavar="SRC", shell_complete=options.complete_source)
@click.argument("destination", metavar="DST", shell_complete=options.complete_destination)
@click.option("--all", "everything", is_flag=True, help="The whole index, with the images for all platforms.")
@click.option("--platform", metavar="OS/ARCH", help="Instead of this machine's, as linux/arm64/v8.")
@options.network
@options.durability
@options.as_json
@click.pass_obj
def copy(app: App, source: str, destination: str, everything: bool, platform: str | None, as_json: bool) -> None:
    """Copy an image from anywhere to a registry or the store.

    SRC is whatever `orlop pull` takes, or store:REF. DST is docker://... or store:REF. From one registry to another it
    goes straight through, and nothing is kept here. Prints the digest that DST points at then.

    \b
      orlop copy debian:12 registry.example/mirror/debian:12
      orlop copy --all oci-archive:app.tar docker://registry.example/team/app:1
    """
    if everything and platform:
        raise Usage("copy: --all and --platform exclude each other")
    job, store = app.job(), app.store()
    app.fetching = destination.startswith("store:")
    app.sending = not app.fetching
    _shown(app, source, store.copy(source, destination, platform="all" if everything else platform, job=job), as_json)


def _shown(app: App, reference: str, pushed: Pushed, as_json: bool) -> None:
    app.finish()
    if as_json:
        output.document(
            {
                "reference": reference,
                "name": pushed.name,
                "digest": pushed.digest,
                "manifests": list(pushed.manifests),
                "sent": pushed.sent,
                "present": pushed.present,
                "seconds": round(pushed.seconds, 3),
            }
        )
    else:
        print(pushed.digest, flush=True)
    speed = f" in {pushed.seconds:.1f} s" if pushed.seconds >= 0.05 else ""
    present = f", {output.size(pushed.present)} were there" if pushed.present else ""
    app.note(f"{pushed.name}: {output.size(pushed.sent)} sent{speed}{present}")
