"""Requests to the hosts of one registry of version 1: whom it may send us to, and who may see which credential.

An endpoint is the registry's own host, or one that the user listed (PA18): nobody else is asked anything. The
registry's tokens go to its endpoints, the user's name and password to his registry alone, and over plain HTTP only
where he listed that host as insecure (CR05). Redirects lead to storage, without credentials.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ...errors import Conflict, Denied, Error, Invalid, NotFound, Unavailable, Unsafe
from ...http.client import Client, Response
from ...http.head import Headers
from ...http.sending import Sent
from ...http.url import Url
from ...job import Event, Job
from ...model.limits import ERROR_BODY_BYTES, V1_ENDPOINTS, V1_TOKENS
from ...model.strict_json import load_object, loads
from ...streams import read_limited

_TOKEN = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?", re.ASCII)
_SIGNATURE = re.compile(r"signature=\"?([^\",]+)", re.IGNORECASE)
_COOKIE = re.compile(
    r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}=[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e\"]{0,4096}", re.ASCII
)
_COOKIES = 16
_SHOWN = 200
# Docker's index did not answer where its images were named
_MACHINES = {"docker.io": "index.docker.io"}
_PING_BYTES = 64 << 10

Ask = Callable[[], Response]


@dataclass(frozen=True, slots=True)
class Ping:
    """What a registry says of itself. `standalone`: it is its own index, and takes names and passwords everywhere."""

    version: str = ""
    standalone: bool = True


class Transport:
    """`host` as in a reference; `allowed` are the hosts (`host[:port]`) that it may send us on to. Any thread."""

    def __init__(self, host: str, client: Client, allowed: Collection[str] = ()) -> None:
        self.host = _MACHINES.get(host, host)
        self.client = client
        self.meta: tuple[tuple[str, str], ...] = ()  # headers of the user's, sent with everything
        self._allowed = frozenset(allowed)
        self._lock = threading.Lock()
        self._cookies: dict[str, dict[str, str]] = {}
        self._ping: Ping | None = None

    def ping(self, job: Job) -> Ping:
        """Asked once. The status says nothing: some have no such page (Docker did not look either)."""
        if self._ping is None:
            with self.client.request(self.host, "GET", "/v1/_ping", job=job) as answer:
                told: dict[str, object] = {}
                with suppress(Invalid, Unsafe):  # `true` is what most say
                    told = load_object(read_limited(answer, _PING_BYTES, what="ping"), what="ping")
                version = answer.headers.get("x-docker-registry-version") or str(told.get("version", ""))
                standalone = answer.headers.get("x-docker-registry-standalone") or str(told.get("standalone", "1"))
            self._ping = Ping(version[:_SHOWN], standalone.strip().lower() in ("true", "1", ""))
        return self._ping

    def endpoints(self, headers: Headers, job: Job) -> tuple[str, ...]:
        """Where the registry sends us, in its order; the registry itself if it says nothing. `Unsafe` if it names
        none that it may; others that it may not are passed over, with a note."""
        told = [part.strip() for value in headers.all("x-docker-endpoints") for part in value.split(",")]
        told = [part for part in told if part]
        if not told:
            return (self.host,)
        if len(told) > V1_ENDPOINTS:
            raise Unsafe(f"{self.host}: names {len(told)} endpoints, at most {V1_ENDPOINTS} are taken")
        kept: dict[str, None] = {}
        refused: list[str] = []
        for text in told:
            try:
                kept[self.checked_endpoint(text)] = None
            except (Invalid, Unsafe) as error:
                refused.append(error.message)
                job.progress(Event("note", self.host, text=str(error)))
        if not kept:
            raise Unsafe(refused[0], hint="if that is right, allow it: endpoint_hosts = [...] in the configuration")
        return tuple(kept)

    def checked_endpoint(self, text: str) -> str:
        """The host that an endpoint means. `Unsafe` unless it is the registry itself or listed by the user."""
        home = self.client.url(self.host)
        url = Url.parse(f"{home.scheme}://{text}")
        if url.target != "/":
            raise Invalid(f"{self.host}: names an endpoint that is no host: {text[:_SHOWN]!r}")
        if url.origin == home.origin:
            return self.host
        if url.authority in self._allowed or f"{url.host}:{url.port}" in self._allowed:
            return url.authority
        hint = f"if that is right, allow it: endpoint_hosts = [{url.authority!r}]"
        raise Unsafe(f"{self.host}: sends us to {url.authority}, which is not its own", hint=hint)

    def tokens(self, headers: Headers) -> tuple[str, ...]:
        """The tokens of an answer, kept out of messages from now on."""
        found = tuple(value for value in headers.all("x-docker-token") if value and value.lower() != "true")
        if len(found) > V1_TOKENS or any(_TOKEN.fullmatch(token) is None for token in found):
            raise Invalid(f"{self.host}: gives malformed tokens, or more than {V1_TOKENS}")
        for token in found:
            for secret in (token, *_SIGNATURE.findall(token)):
                self.client.remember(self.host, secret)
        return found

    def to_index(
        self,
        method: str,
        path: str,
        repository: str,
        *,
        headers: Iterable[tuple[str, str]] = (),
        body: Sent = b"",
        job: Job,
    ) -> Response:
        """A request to the index, with the user's name and password if there are any."""
        basic = self.client.credential(self.host, repository).basic
        fields = [*headers, *self.meta, *self._cookie(self.host)]
        answer = self.client.request(
            self.host, method, path, headers=fields, repository=repository, body=body, authorization=basic, job=job
        )
        self._keep_cookies(self.host, answer)
        return answer

    def to_endpoint(
        self,
        endpoint: str,
        method: str,
        path: str,
        tokens: Sequence[str],
        *,
        headers: Iterable[tuple[str, str]] = (),
        body: Sent = b"",
        job: Job,
    ) -> Response:
        """A request to an endpoint of the registry's: with its tokens, or to a registry that stands alone with name
        and password instead."""
        host = self.checked_endpoint(endpoint)
        authorization = f"Token {','.join(tokens)}" if tokens else ""
        if host == self.host:
            basic = self.client.credential(self.host, "").basic
            if basic and self.ping(job).standalone:
                authorization = basic
        else:
            for token in tokens:
                self.client.remember(host, token)
        fields = [*headers, *self.meta, *self._cookie(host)]
        answer = self.client.request(
            host, method, path, headers=fields, body=body, authorization=authorization, job=job
        )
        self._keep_cookies(host, answer)
        return answer

    def read(self, host: str, ask: Ask, limit: int, what: str, job: Job) -> tuple[bytes, Headers]:
        """The body of an answer to `ask`, which checks its status, asked for again if it breaks off."""
        cuts = 0
        while True:
            with self.client.discreet(host), ask() as answer:
                try:
                    return read_limited(answer, limit, what=what), answer.headers
                except Unavailable as error:
                    cuts += 1
                    if cuts > job.retries:
                        raise
                    failure = error
            job.progress(Event("retry", subject=host, text=str(failure)))
            job.wait(self.client.base)

    def refused(self, answer: Response, what: str, text: str) -> Error:
        """The error for an answer that is not what was wanted. `what` is its subject, `text` what Docker said of it."""
        status = answer.status
        said = self.client.conceal(self.host, told(answer))
        message = f"{what}: {text}" + (f" ({said})" if said else "")
        if status in (401, 403):
            source = self.client.credential(self.host, "").source
            hint = f"the credentials from {source} were not enough" if source else "log in, or check the name"
            place = answer.url.authority
            return Denied(
                f"{what}: login required: {place} answered {status}" + (f" ({said})" if said else ""), hint=hint
            )
        if status == 404:
            return NotFound(message)
        if status == 409:
            return Conflict(message)
        return Unavailable(message) if status >= 500 else Invalid(message)

    def _cookie(self, host: str) -> list[tuple[str, str]]:
        with self._lock:
            kept = self._cookies.get(host, {})
            return [("Cookie", "; ".join(f"{name}={value}" for name, value in kept.items()))] if kept else []

    def _keep_cookies(self, host: str, answer: Response) -> None:
        """Some servers keep what they know of a push in one. They go back to the host that gave them, and no other."""
        if not answer.own:
            return
        with self._lock:
            kept = self._cookies.setdefault(host, {})
            for value in answer.headers.all("set-cookie"):
                pair = value.partition(";")[0].strip()
                if _COOKIE.fullmatch(pair) and len(kept) < _COOKIES:
                    name, _, content = pair.partition("=")
                    kept[name] = content


def told(answer: Response) -> str:
    """What an error body says, for people; "" if there is no proper one: the status alone says that it failed."""
    try:
        body = loads(read_limited(answer, ERROR_BODY_BYTES, what="error"), what="error")
    except Error:
        return ""
    text = body.get("error") if isinstance(body, dict) else body
    if not isinstance(text, str):
        return ""
    return " ".join("".join(letter if letter.isprintable() else "?" for letter in text).split())[:_SHOWN]
