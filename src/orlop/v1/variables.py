"""Environment and volumes of an image by the configs of all its ancestors."""

from __future__ import annotations

from collections.abc import Sequence

from ..job import Event, Job
from ..model.v1 import V1Image


def environment_of(images: Sequence[V1Image], job: Job) -> tuple[str, ...]:
    """`NAME=value` by the configs of images, base first: of two values the upper one's counts. What is no such text
    is dropped, with a note."""
    found: dict[str, str] = {}
    for image in images:
        stated = image.config.get("Env")
        for entry in stated if isinstance(stated, list) else []:
            name, equals, value = entry.partition("=") if isinstance(entry, str) else ("", "", "")
            if not name or not equals or "\0" in entry:
                shown = repr(entry)[:80]
                job.progress(Event("note", text=f"{image.id.short}: Unrecognised environment variable {shown}"))
                continue
            found[name] = value
    return tuple(f"{name}={value}" for name, value in found.items())


def volumes_of(images: Sequence[V1Image]) -> tuple[str, ...]:
    """Paths of the volumes that the configs of images name, base first, each once."""
    found: dict[str, None] = {}
    for image in images:
        stated = image.config.get("Volumes")
        found.update(dict.fromkeys(stated if isinstance(stated, dict) else ()))
    return tuple(found)
