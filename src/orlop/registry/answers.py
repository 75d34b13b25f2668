"""What a registry's answer means when it is not what was asked for (distribution-spec 1.1, "Error Codes")."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..errors import Denied, Error, Invalid, Mismatch, NotFound, Unavailable, Unsupported
from ..http.client import Client, Response
from ..job import Event, Job
from ..model.limits import ERROR_BODY_BYTES
from ..model.strict_json import load_object
from ..streams import read_limited

_SHOWN = 200
# distribution-spec 1.1, "Warnings": a client may stop at 4096 bytes
_WARNING_BYTES = 4096


class Warnings:
    """`Warning: 299 - "text"` of one registry (distribution-spec 1.1): shown once each, never acted upon."""

    def __init__(self, client: Client, host: str) -> None:
        self._client = client
        self._host = host
        self._shown: set[str] = set()

    def show(self, response: Response, job: Job) -> None:
        if not response.own:
            return
        for value in response.headers.all("warning"):
            text = self._client.conceal(self._host, value.removeprefix("299 - ").strip('"'))
            if not value.startswith("299 - ") or not text.isprintable() or text in self._shown:
                continue
            if sum(map(len, self._shown)) + len(text) <= _WARNING_BYTES:
                self._shown.add(text)
                job.progress(Event("note", subject=self._host, text=f"{self._host} warns: {text}"))


def expect(
    response: Response,
    statuses: Sequence[int],
    what: str,
    client: Client,
    host: str,
    repository: str,
    *,
    denied: str = "",
) -> None:
    """Nothing if the status is one of `statuses`; else the error for it. `what` is its subject: `docker.io/a:1`.
    `denied`: what to do about a refusal, if it is not the advice for those who read."""
    if response.status in statuses:
        if response.headers.get("content-type").lower().startswith("text/html"):  # NF12
            raise Invalid(
                f"{what}: {response.url.authority} answered with a web page",
                hint="is this host a registry, or does a network wait for a login?",
            )
        return
    error = _error(response, what, client, host, repository)
    if denied and isinstance(error, Denied):
        error.hint = denied
    raise error


def _error(response: Response, what: str, client: Client, host: str, repository: str) -> Error:
    status, place = response.status, response.url.authority
    codes, message = _told(response, lambda text: client.conceal(host, text))
    said = f" ({message})" if message else ""
    if "MANIFEST_BLOB_UNKNOWN" in codes or (status == 400 and "BLOB_UNKNOWN" in codes):
        return NotFound(f"{what}: {host} lacks something that it needs{said}")
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
    if status == 405:
        return Unsupported(f"{what}: {place} does not allow it{said}")
    if codes & {"DIGEST_INVALID", "SIZE_INVALID"}:
        return Mismatch(f"{what}: {place} got other bytes than were described{said}")
    if status >= 500 or status in (408, 425):
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
