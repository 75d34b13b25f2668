"""What a registry's answer means when it is not what was asked for (distribution-spec 1.1, "Error Codes")."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..errors import Denied, Error, Invalid, NotFound, Unavailable
from ..http.client import Client, Response
from ..model.limits import ERROR_BODY_BYTES
from ..model.strict_json import load_object
from ..streams import read_limited

_SHOWN = 200


def expect(response: Response, statuses: Sequence[int], what: str, client: Client, host: str, repository: str) -> None:
    """Nothing if the status is one of `statuses`; else the error for it. `what` is its subject: `docker.io/a:1`."""
    if response.status in statuses:
        if response.headers.get("content-type").lower().startswith("text/html"):  # NF12
            raise Invalid(
                f"{what}: {response.url.authority} answered with a web page",
                hint="is this host a registry, or does a network wait for a login?",
            )
        return
    raise _error(response, what, client, host, repository)


def _error(response: Response, what: str, client: Client, host: str, repository: str) -> Error:
    status, place = response.status, response.url.authority
    codes, message = _told(response, lambda text: client.conceal(host, text))
    said = f" ({message})" if message else ""
    if status == 404:
        if "NAME_UNKNOWN" in codes:
            return NotFound(f"{what}: no repository {repository!r} at {host}{said}")
        return NotFound(f"{what}: not found at {host}{said}")
    if status in (401, 403):
        if not response.own:
            return Denied(f"{what}: {place}, where {host} keeps it, refused the request with {status}{said}")
        source = client.credential(host, repository).source
        if source:
            hint = "wrong credentials and missing images look the same"
            return Denied(f"{what}: {host} refused the credentials from {source}{said}", hint=hint)
        hint = "log in, or check the name: private and missing images look the same"
        return Denied(f"{what}: {host} refused an anonymous client{said}", hint=hint)
    if status >= 500:
        return Unavailable(f"{what}: {place} answered {status}{said}")
    return Invalid(f"{what}: {place} answered {status}{said}")


def _told(response: Response, conceal: Callable[[str], str]) -> tuple[set[str], str]:
    """Error codes and the first message of an error body; nothing if there is no proper one. Some registries
    repeat in it what they were sent."""
    try:
        errors = load_object(read_limited(response, ERROR_BODY_BYTES, what="error"), what="error").get("errors")
    except Error:
        # the status alone already says that it failed; a bad explanation adds nothing
        return set(), ""
    entries = [entry for entry in errors if isinstance(entry, dict)] if isinstance(errors, list) else []
    codes = {code for entry in entries if isinstance(code := entry.get("code"), str)}
    words = [conceal(str(entry.get("message") or entry.get("code") or "")) for entry in entries[:1]]
    text = " ".join("".join(word if word.isprintable() else "?" for word in words[0]).split()) if words else ""
    return codes, text[:_SHOWN].strip().lower()
