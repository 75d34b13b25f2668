"""Whether a reference means the store or a source, and fetching what is not in the store yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import Cancelled, Error, NotFound
from .app import App
from .output import told_of

# kept here too, so that looking at the store does not need `model.reference`; a test compares them
SOURCES = ("docker://", "v1://", "oci:", "oci-archive:", "docker-archive:")

_LISTED = "`orlop images` lists what is"


def is_remote(reference: str) -> bool:
    """True if it names a source by its transport."""
    return reference.startswith(SOURCES)


def local_name(reference: str) -> str:
    return reference.removeprefix("store:")


@contextmanager
def looking(reference: str) -> Iterator[None]:
    """Say what an error is about; add to a `NotFound` of the store where else the image may be, if it is the name that
    is not there."""
    name = local_name(reference)
    try:
        yield
    except Cancelled:
        raise
    except Error as error:
        if is_remote(reference) or error.message != f"{name}: not in the store":
            error.message = told_of(reference, error)
            raise
        advice = f"try docker://{name}, or orlop pull {name}"
        near = _near(error)
        if _only_here(name):
            raise NotFound(error.message, hint=near or _LISTED) from error
        raise NotFound(error.message, hint=f"{near} else {advice}" if near else advice) from error


@contextmanager
def removing() -> Iterator[None]:
    """Who wants a name gone does not want it fetched."""
    try:
        yield
    except NotFound as error:
        error.hint = _near(error) or _LISTED
        raise


def _only_here(name: str) -> bool:
    """Whether no registry has such names: the store gives them to images from files, and digests are no names."""
    return name.startswith(("localhost/", "sha256:", "sha512:"))


def _near(error: Error) -> str:
    return error.hint if error.hint.startswith("did you mean") else ""


def ensure(app: App, reference: str, platform: str | None, policy: str, *, for_unpack: bool = False) -> str:
    """The name under which the image is in the store, fetched first if it is not there and `policy` allows.
    `for_unpack`: see `Store.pull`."""
    store = app.store()
    if not is_remote(reference):
        name = local_name(reference)
        with looking(reference):
            try:
                store.image(name, platform=platform)
                return name
            except NotFound as error:
                if policy == "never" or reference != name or _only_here(name):
                    raise
                missing = error
        return _fetched(app, reference, platform, missing, for_unpack)
    if policy == "never":
        raise NotFound(f"{reference}: names a source, and --pull never forbids to fetch")
    return _fetched(app, reference, platform, None, for_unpack)


def _fetched(app: App, reference: str, platform: str | None, missing: NotFound | None, for_unpack: bool) -> str:
    """Pull; if that fails, what was `missing` in the store is told first. The error's kind stays the pull's."""
    app.fetching = True
    try:
        pulled = app.store().pull(reference, platform=platform, for_unpack=for_unpack, job=app.job())
    except Cancelled:
        raise
    except Error as error:
        if missing is not None:
            about = f" ({missing.hint})" if missing.hint.startswith("it ") else ""
            error.message = f"{missing.message}{about}, and a pull failed: {error.message}"
            error.hint = _near(missing) or error.hint
        error.message = told_of(reference, error)
        raise
    app.fetching = False
    app.note(f"{pulled.name}: {pulled.digest} fetched")
    with looking(reference):
        app.store().image(pulled.name, platform=platform)  # a registry has more than images
    return pulled.name
