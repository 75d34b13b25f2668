"""`orlop serve`: the store, or an OCI layout, as a registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import Usage
from . import options
from .app import App
from .lazy import Command

if TYPE_CHECKING:
    from ..serve.v1.app import VersionOne
    from ..serve.view import View


@click.command(cls=Command)
@click.option(
    "--listen", metavar="ADDR:PORT", default="127.0.0.1:5000", help="127.0.0.1:5000; port 0 takes a free one."
)
@click.option("--layout", metavar="DIR", type=options.FILE, help="Serve this OCI layout instead of the store.")
@click.option("--v1", "version_one", is_flag=True, help="Speak version 1 too, for old clients.")
@click.option("--writable", is_flag=True, help="Take pushes, of version 1 only: anyone who connects may push.")
@click.option("--public", is_flag=True, help="Allow an address that others reach: anyone there may read everything.")
@click.pass_obj
def serve(app: App, listen: str, layout: Path | None, version_one: bool, writable: bool, public: bool) -> None:
    """Serve the store as a registry, read-only, until it is interrupted.

    Prints the address on stdout once it takes connections.

    \b
      orlop serve --listen 127.0.0.1:5000
      podman pull --tls-verify=false 127.0.0.1:5000/library/debian:12
    """
    from ..serve import server

    address, port = _address(listen)
    if writable and not version_one:
        raise Usage("serve: --writable without --v1", hint="only version 1 takes pushes")
    if version_one and layout is not None:
        raise Usage("serve: --v1 with --layout", hint="version 1 shows the store only")
    view = _view(app, layout)
    first = _version_one(app, writable) if version_one else None
    app.release_signals()
    server.serve(view, address, port, ready=lambda where: _ready(app, where), version_one=first, insecure_public=public)


def _view(app: App, layout: Path | None) -> View:
    if layout is not None:
        from ..serve.layouts import LayoutView

        return LayoutView(layout)
    from ..serve.stores import StoreView

    return StoreView(app.store())


def _version_one(app: App, writable: bool) -> VersionOne:
    from ..serve.v1.app import VersionOne

    return VersionOne(app.store(), writable=writable)


def _ready(app: App, where: str) -> None:
    click.echo(where)
    app.note("serving; Ctrl-C ends it")


def _address(listen: str) -> tuple[str, int]:
    address, colon, port = listen.rpartition(":")
    if not colon or not address or not (port.isascii() and port.isdigit()):
        raise Usage(f"serve: --listen {listen!r}: expected ADDRESS:PORT")
    return address.removeprefix("[").removesuffix("]"), int(port)
