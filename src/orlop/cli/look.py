"""`orlop inspect`, `history`, `manifest`, `config`, `digest`: looking at one image, in the store or at its source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..errors import Invalid, NotFound
from . import options, output
from .app import App
from .lazy import Command
from .where import is_remote, local_name, looking

if TYPE_CHECKING:
    from ..images import Image
    from ..model.descriptor import Descriptor
    from ..model.document import Document


def _document(app: App, reference: str) -> Document:
    with looking(reference):
        if is_remote(reference):
            return app.store().remote_document(reference, job=app.job())
        return app.store().document(local_name(reference))


def _image(app: App, reference: str, platform: str | None) -> Image:
    with looking(reference):
        if is_remote(reference):
            return app.store().remote_image(reference, platform=platform, job=app.job())
        return app.store().image(local_name(reference), platform=platform)


@click.command(cls=Command)
@options.reference
@options.network
@click.pass_obj
def manifest(app: App, reference: str) -> None:
    """Print the bytes of a manifest or index, exactly as they came."""
    found = _document(app, reference)
    app.finish()
    output.raw(found.raw)


@click.command(cls=Command)
@options.reference
@options.platform
@options.network
@click.pass_obj
def config(app: App, reference: str, platform: str | None) -> None:
    """Print the bytes of an image's config, exactly as they came."""
    image = _image(app, reference, platform)
    app.finish()
    output.raw(image.config.raw)


@click.command(cls=Command)
@options.reference
@options.network
@options.as_json
@click.pass_obj
def digest(app: App, reference: str, as_json: bool) -> None:
    """Print the digest that a name points at."""
    found = _document(app, reference)
    app.finish()
    if as_json:
        output.document({"reference": reference, **_described(found.descriptor)})
    else:
        print(found.digest)


@click.command(cls=Command)
@options.reference
@options.platform
@options.network
@options.as_json
@click.pass_obj
def inspect(app: App, reference: str, platform: str | None, as_json: bool) -> None:
    """Show what an image is made of, in the store or, with docker:// or another prefix, at the source.

    Of what is no image for this platform, the manifest or index is shown.
    """
    found = _document(app, reference)
    try:
        shown = _of_image(_image(app, reference, platform), found)
    except (Invalid, NotFound):
        if platform is not None:
            raise
        shown = _of_document(reference, found)
    app.finish()
    if as_json:
        output.document(shown)
    else:
        _print(shown)


def _of_document(reference: str, found: Document) -> dict[str, Any]:
    layers = found.layers
    return {
        "name": reference,
        **_described(found.descriptor),
        "platforms": [str(child.platform) for child in found.manifests if child.platform],
        "manifests": [_described(child) for child in found.manifests],
        "layers": [_described(layer) for layer in layers],
        "layersSize": sum(layer.size for layer in layers),
        "annotations": dict(found.annotations),
    }


def _of_image(image: Image, target: Document) -> dict[str, Any]:
    layers = image.manifest.layers
    return {
        "name": image.name,
        **_described(image.target),
        "manifest": _described(image.manifest.descriptor),
        "platform": str(image.platform),
        "platforms": [str(child.platform) for child in target.manifests if child.platform],
        "manifests": [_described(child) for child in target.manifests],
        "created": image.config.created or None,
        "layers": [
            {**_described(layer), "diffId": diff_id}
            for layer, diff_id in zip(layers, image.config.diff_ids, strict=False)
        ],
        "layersSize": sum(layer.size for layer in layers),
        "annotations": dict(image.manifest.annotations),
        "config": dict(image.config.process),
    }


def _described(descriptor: Descriptor) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "digest": descriptor.digest,
        "mediaType": descriptor.media_type,
        "size": descriptor.size,
    }
    if descriptor.platform:
        shown["platform"] = str(descriptor.platform)
    return shown


def _print(shown: dict[str, Any]) -> None:
    process = shown.get("config", {})
    output.facts(
        [
            ("Name", shown["name"]),
            ("Digest", shown["digest"]),
            ("Type", shown["mediaType"]),
            ("Platform", shown.get("platform") or ", ".join(shown.get("platforms", ()))),
            ("Created", output.age(shown.get("created") or "")),
            *[(title, _words(process.get(key))) for title, key in _PROCESS],
            *[("Environment" if not number else "", text) for number, text in enumerate(_list(process.get("Env")))],
            *[("Label", f"{key}={value}") for key, value in _pairs(process.get("Labels"))],
            *[("Annotation", f"{key}={value}") for key, value in shown["annotations"].items()],
        ]
    )
    if shown.get("manifests"):
        print()
        rows = [(m.get("platform", ""), m["digest"], output.size(m["size"])) for m in shown["manifests"]]
        output.table(("PLATFORM", "MANIFEST", ">SIZE"), rows)
    if shown["layers"]:
        print()
        output.table(("LAYER", ">SIZE"), [(layer["digest"], output.size(layer["size"])) for layer in shown["layers"]])
        print(f"{output.count(len(shown['layers']), 'layer')}, {output.size(shown['layersSize'])}")


_STEP = 90  # characters of a build step in the table; --json has all of them
_PROCESS = (
    ("User", "User"),
    ("Entrypoint", "Entrypoint"),
    ("Command", "Cmd"),
    ("Directory", "WorkingDir"),
    ("Ports", "ExposedPorts"),
    ("Volumes", "Volumes"),
    ("Stop signal", "StopSignal"),
)


def _list(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, (list, dict)) else []


def _pairs(value: Any) -> list[tuple[str, str]]:
    return [(str(key), str(item)) for key, item in value.items()] if isinstance(value, dict) else []


def _words(value: Any) -> str:
    import shlex

    return value if isinstance(value, str) else shlex.join(_list(value))


@click.command(cls=Command)
@options.reference
@options.platform
@options.network
@options.as_json
@click.pass_obj
def history(app: App, reference: str, platform: str | None, as_json: bool) -> None:
    """Show how an image was built, newest step first."""
    image = _image(app, reference, platform)
    app.finish()
    layers = iter(image.manifest.layers)
    rows: list[dict[str, Any]] = []
    for step in image.config.history:
        layer = None if step.get("empty_layer") is True else next(layers, None)
        rows.append(
            {
                "created": _text(step, "created") or None,
                "createdBy": _text(step, "created_by"),
                "comment": _text(step, "comment"),
                "layer": layer.digest if layer else None,
                "size": layer.size if layer else 0,
            }
        )
    # layers beyond the history have no step of their own; they are shown all the same
    rows.extend(
        {"created": None, "createdBy": "", "comment": "", "layer": layer.digest, "size": layer.size} for layer in layers
    )
    rows.reverse()
    if as_json:
        output.document(rows)
    else:
        output.table(
            ("CREATED", ">SIZE", "CREATED BY"),
            [(output.age(row["created"] or ""), output.size(row["size"]), _step(row)) for row in rows],
        )


def _step(row: dict[str, Any]) -> str:
    text = " ".join(str(row["createdBy"] or row["comment"]).split())
    text = text.removeprefix("/bin/sh -c #(nop) ").removeprefix("/bin/sh -c ")
    return text if len(text) <= _STEP else text[: _STEP - 1] + "\u2026"


def _text(step: Any, key: str) -> str:
    value = step.get(key)
    return value if isinstance(value, str) else ""
