"""Whether a reference means the store or a source, and fetching what is not in the store yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import NotFound
from .app import App

# kept here too, so that looking at the store does not need `model.reference`; a test compares them
SOURCES = ("docker://", "v1://", "oci:", "oci-archive:", "docker-archive:")


def is_remote(reference: str) -> bool:
    """True if it names a source by its transport."""
    return reference.startswith(SOURCES)


def local_name(reference: str) -> str:
    return reference.removeprefix("store:")


@contextmanager
def looking(reference: str) -> Iterator[None]:
    """Add to a `NotFound` of the store where else the image may be."""
    try:
        yield
    except NotFound as error:
        if is_remote(reference):
            raise
        name = local_name(reference)
        advice = f"try docker://{name}, or orlop pull {name}"
        near = f"{error.hint} else " if error.hint.startswith("did you mean") else ""
        raise NotFound(error.message, hint=near + advice) from error


def ensure(app: App, reference: str, platform: str | None, policy: str) -> str:
    """The name under which the image is in the store, fetched first if it is not there and `policy` allows."""
    store = app.store()
    if not is_remote(reference):
        name = local_name(reference)
        try:
            store.image(name, platform=platform)
        except NotFound:
            if policy == "never" or reference != name:
                raise
        else:
            return name
    elif policy == "never":
        raise NotFound(f"{reference}: names a source, and --pull never forbids to fetch")
    pulled = store.pull(reference, platform=platform, job=app.job())
    app.note(f"{pulled.name}: {pulled.digest} fetched")
    return pulled.name
