"""The client: requests to registries with authentication, redirects, retries and bounds; one for a whole run.

What may go where is decided here and nowhere else: a credential and a client certificate go to the registry's
own origin (and, by `auth`, to its token server); whatever a redirect leads to gets neither, for good (CR02).
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from types import TracebackType

from .. import __version__
from ..errors import Denied, Error, Invalid, Throttled, Unavailable, Unsafe, Usage
from ..job import Event, Job
from ..model.limits import REDIRECTS, TOKEN_BYTES
from ..settings import Network
from ..streams import read_limited
from .auth import Reply, TokenRequest
from .connection import Connections, Route
from .credentials import Credential
from .head import Fields, Head, Headers
from .hosts import Endpoint, Trust
from .proxies import proxy_for
from .sending import Sent, Unreadable
from .site import Site
from .throttle import LONGEST_WAIT, Gate, back_off, refused, retry_after
from .url import Url
from .wire import Content, Fault, Wire

AGENT = f"orlop/{__version__}"
# methods that may be repeated when nobody knows whether it was done (RFC 9110 section 9.2.2)
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})
# steps that a connection fails at before anything was sent
_BEFORE = frozenset({"dns", "connect", "proxy", "tls"})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# what may help to ask again; 425 and 408 by RFC 8470 and RFC 9110, the rest by experience
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
# what storage says of a signed URL that ran out (S3 and Azure, Google, and in general)
_EXPIRED = frozenset({400, 401, 403, 410})
# request headers that strangers may see; all others stay at home
_HARMLESS = frozenset({"accept", "accept-encoding", "if-range", "range", "user-agent"})


@dataclass(frozen=True, slots=True)
class _Request:
    """A request and on whose behalf it is made: `own` is the host that may see `headers` and the certificate."""

    method: str
    url: Url
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    endpoint: Endpoint
    body: Sent = field(default=b"", repr=False)
    again: bool = True  # may be repeated when nobody knows whether it was done
    secret: bool = False  # its body is for this host only
    own: bool = True
    trusted: bool = False  # the user named this host, so it may lie anywhere


class Response:
    """An answer whose body is still to be read. Closing it early gives up the connection; leave it by `with`."""

    def __init__(self, head: Head, url: Url, wire: Wire, release: Callable[[], None], *, own: bool) -> None:
        self.status = head.status
        self.headers: Headers = head.headers
        self.length = head.length  # of the body in bytes, None if unknown
        self.url = url  # where it came from in the end; its str() hides the query
        self.own = own  # from the registry's own origin, not from where a redirect led
        self._wire = wire
        self._content = Content(wire, head)
        self._release: Callable[[], None] | None = release
        self._lasting = head.lasting

    def read(self, size: int, /) -> bytes:
        """1 to `size` bytes, `b""` at the end. `Unavailable` if it breaks off before the end its headers named."""
        data = self._content.read(size)
        if self._content.ended:
            self.close()
        return data

    def close(self) -> None:
        release, self._release = self._release, None
        if release is None:
            return
        if self._content.ended and self._lasting:
            release()
        else:
            self._wire.close()

    def __enter__(self) -> Response:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Client:
    """Connections, tokens and limits of all registries that a run deals with. Safe from any thread.

    `named` is the host that `network.username` and `.password` are for. `base` is the first back-off in
    seconds; the clocks are monotonic and wall time.
    """

    def __init__(
        self,
        network: Network,
        *,
        named: str = "",
        base: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        if network.username and not named:
            raise Usage("credentials: given without the host that they are for")
        self._network = network
        self._named = named
        self.base = base
        self._clock = clock
        self._wall = wall
        self._connections = Connections(network.timeout, clock, wall)
        self._lock = threading.Lock()
        self._sites: dict[str, Site] = {}
        self._gates: dict[tuple[str, str, int], Gate] = {}
        self._plain: set[tuple[str, str, int]] = set()  # origins that plain HTTP was tried with

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close idle connections. Responses that are still read are not touched."""
        self._connections.close()

    def url(self, host: str) -> Url:
        """Where the registry `host` of a reference is reached."""
        return self._site(host).endpoint.url

    def credential(self, host: str, repository: str) -> Credential:
        """What would be sent for a repository, if its registry asks; `source` says where it is from."""
        return self._site(host).credential(repository)

    def conceal(self, host: str, text: str) -> str:
        """`text`, which the registry had a hand in, without the secrets that it was sent (CR10)."""
        return self._site(host).conceal(text)

    def remember(self, host: str, secret: str) -> None:
        """Keep a secret that the registry gave us out of messages about it."""
        self._site(host).auth.remember(secret)

    def discreet(self, host: str) -> AbstractContextManager[None]:
        """Our errors leave it without such secrets."""
        return self._site(host).discreet()

    def request(
        self,
        host: str,
        method: str,
        target: str | Url,
        *,
        headers: Fields = (),
        scope: str = "",
        repository: str = "",
        body: Sent = b"",
        again: bool | None = None,
        authorization: str = "",
        secret: bool = False,
        job: Job,
    ) -> Response:
        """One request to registry `host`, and the answer to it whatever its status, after all that could be tried.

        `target` is a path or a URL on the registry's own origin; another is `Unsafe`. `scope` is the access
        wanted (`repository:a/b:pull`), `repository` chooses the credential. `body` is bytes or an `Upload`, opened
        anew for each attempt. GET and HEAD follow redirects, other methods only those that keep method and body (307,
        308). Tried again, up to `retries` times (the lower of job's and network's), is what may be repeated: `again`,
        by default what RFC 9110 calls idempotent; of others only what surely was not done, and any 5xx is an answer.
        An answer that comes before the body was sent ends the sending. An `authorization` is sent as it is, and 401 is
        an answer then; a `secret` body follows no redirect. `Unavailable`, `Throttled`, `Denied` by a
        token server, `Invalid` answers, `Unsafe` redirects and realms, `Cancelled`; what reading the body raises.
        """
        site = self._site(host)
        with site.discreet():
            url = target if isinstance(target, Url) else site.endpoint.url.join(target)
            if url.origin != site.endpoint.url.origin:
                raise Unsafe(f"{host}: refused to take {url} for a part of it: it is another origin")
            repeated = method in _IDEMPOTENT if again is None else again
            if authorization:
                fields = (*headers, ("Authorization", authorization))
                return self._retried(_Request(method, url, fields, site.endpoint, body, repeated, secret), job)
            flow = site.auth.flow(scope, lambda: site.credential(repository))
            step = next(flow)
            while True:
                response: Response | None = None
                if isinstance(step, TokenRequest):
                    reply = self._token(site, step, job)
                else:
                    own = (*headers, ("Authorization", step.authorization)) if step.authorization else tuple(headers)
                    response = self._retried(_Request(method, url, own, site.endpoint, body, repeated, secret), job)
                    challenges = response.headers.all("www-authenticate") if response.own else ()
                    reply = Reply(response.status if response.own else 0, tuple(challenges))
                try:
                    step = flow.send(reply)
                except StopIteration:
                    if response is None:  # pragma: no cover - a flow ends on an attempt
                        raise Invalid(f"{host}: authentication ended without an answer") from None
                    return response
                except Error:
                    if response is not None:
                        response.close()
                    raise
                if response is not None:
                    response.close()

    def _site(self, host: str) -> Site:
        with self._lock:
            if host not in self._sites:
                self._sites[host] = Site(host, self._network, self._named, self._connections, self._clock)
            return self._sites[host]

    def _gate(self, url: Url) -> Gate:
        with self._lock:
            return self._gates.setdefault(url.origin, Gate(url.authority, self._clock))

    def _token(self, site: Site, step: TokenRequest, job: Job) -> Reply | None:
        """Ask a token server, one thread at a time; None if another thread has got the token meanwhile."""
        with site.token_lock:
            if site.auth.has(step.key):
                return None
            listed = site.auth.lists(step.url)
            same = step.url.host == site.endpoint.url.host
            trust = site.endpoint.trust if same else replace(site.endpoint.trust, verify=True, pair=None)
            if f"https://{step.url.authority}" in self._network.insecure:
                trust = replace(trust, verify=False)
            home = Endpoint(site.endpoint.name, site.endpoint.url, trust)
            request = _Request(
                step.method, step.url, step.headers, home, step.body, secret=True, trusted=same or listed
            )
            with self._retried(request, job) as response:
                body = read_limited(response, TOKEN_BYTES, what=f"{step.url.authority}: token")
                return Reply(response.status, (), body)

    def _retried(self, request: _Request, job: Job) -> Response:
        """The whole chain of a request, again from its start as long as that may help."""
        gate, host = self._gate(request.url), request.url.authority
        name = request.endpoint.name
        retries = min(job.retries, self._network.retries)
        attempt = 0
        while True:
            wait: float | None = None
            with gate.passing(job, retries):
                try:
                    response = self._chain(request, job)
                except Fault as fault:
                    failure: Error = fault
                    helps = fault.again or self._seen(request.url, fault)
                    if not helps or not (request.again or fault.step in _BEFORE):
                        raise
                except Unreadable as unreadable:
                    raise unreadable.error from unreadable.error.__cause__
                else:
                    wait = retry_after(response.headers, self._wall)
                    limited = response.status == 429 or (response.status == 503 and wait is not None)
                    if response.status not in _AGAIN or not (request.again or limited):
                        gate.opened()
                        return response
                    response.close()
                    place = response.url.authority  # not the registry's own, where a redirect led elsewhere
                    failure = Unavailable(f"{place}: answered {response.status}", hint="try later", after=wait)
                    if limited:
                        failure = refused(place, response.status, response.headers, wait)
                        gate.limited(max(wait or 0.0, back_off(self.base, attempt + 1, random.random())))  # noqa: S311
            attempt += 1
            if attempt > retries or (wait or 0.0) > LONGEST_WAIT:
                raise failure
            job.progress(Event("retry", subject=host, text=self.conceal(name, str(failure))))
            if not isinstance(failure, Throttled):
                job.wait(max(wait or 0.0, back_off(self.base, attempt, random.random())))  # noqa: S311

    def _seen(self, url: Url, fault: Fault) -> bool:
        """A host that answered before and now does not may be restarting; a wrong name never did answer."""
        return fault.step in ("dns", "connect") and self._connections.was_reached(url)

    def _chain(self, request: _Request, job: Job) -> Response:
        """A request with its redirects. Where a redirect to storage has run out, the registry is asked once more."""
        start, renewed = request, False
        for _ in range(REDIRECTS + 1):
            response = self._answer(request, job)
            asks = request.method in ("GET", "HEAD")
            if asks and response.status in _EXPIRED and not response.own and not renewed:
                response.close()
                request, renewed = start, True
                continue
            keeps = response.status in (307, 308) and not request.secret
            if response.status not in _REDIRECTS or not (asks or keeps):
                return response
            response.close()  # without reading its body (CVE-2026-21441)
            request = self._redirected(request, response, start)
        raise Invalid(f"{start.url.authority}: more than {REDIRECTS} redirects")

    def _redirected(self, request: _Request, response: Response, start: _Request) -> _Request:
        location = response.headers.get("location")
        if not location:
            raise Invalid(f"{request.url.authority}: redirects without saying where")
        url = request.url.join(location)
        if request.url.scheme == "https" and url.scheme != "https":
            raise Unsafe(f"{request.url.authority}: redirects from https to {url}, refused")
        if request.own and url.origin == start.url.origin:
            return replace(request, url=url)
        headers = tuple((name, value) for name, value in request.headers if name.lower() in _HARMLESS)
        trust = replace(request.endpoint.trust, verify=True, pair=None)
        if f"https://{url.authority}" in self._network.insecure:
            trust = replace(trust, verify=False)
        home = replace(request.endpoint, trust=trust)
        return replace(request, url=url, headers=headers, own=False, trusted=False, endpoint=home)

    def _answer(self, request: _Request, job: Job) -> Response:
        """As `_exchange`; where plain HTTP was allowed and TLS is spoken, that is said instead of what comes of it."""
        origin = request.url.origin
        if request.url.scheme == "https" or origin in self._plain or origin != request.endpoint.url.origin:
            return self._exchange(request, job)
        self._plain.add(origin)
        try:
            response = self._exchange(request, job)
        except (Fault, Invalid) as error:
            if not isinstance(error, Fault) or error.step in ("send", "read"):
                self._refuse_tls(request, job)
            raise
        if response.status == 400:
            try:
                self._refuse_tls(request, job)
            except Error:
                response.close()
                raise
        return response

    def _refuse_tls(self, request: _Request, job: Job) -> None:
        route, host = self._prepared(request)[0], request.url.authority
        if route.proxy is None and self._connections.speaks_tls(route, job):
            hint = f"leave out --insecure, or write --insecure https://{host} to skip verification"
            raise Unavailable(f"{host} speaks TLS", hint=hint)

    def _exchange(self, request: _Request, job: Job) -> Response:
        """One request, one answer. A kept connection that turns out to be dead is replaced once."""
        route, target, fields = self._prepared(request)
        fresh = False
        while True:
            wire = self._connections.take(route, job, fresh=fresh)
            reused = wire.used
            try:
                whole = wire.send(request.method, target, fields, request.body)
                head = wire.head(request.method)
            except Fault as fault:
                wire.close()
                if not reused or fault.step not in ("send", "read") or not request.again:
                    raise
                fresh = True
                continue
            except BaseException:
                wire.close()
                raise

            if head.status == 407 and route.proxy and route.scheme == "http":
                wire.close()
                raise Denied(f"proxy {route.proxy.host}: wants other credentials", hint="set them in http_proxy")

            def release(wire: Wire = wire) -> None:
                self._connections.give(route, wire)

            if not whole:
                head = replace(head, lasting=False)
            response = Response(head, request.url, wire, release, own=request.own)
            if head.length == 0 and not head.chunked:
                response.close()
            return response

    def _prepared(self, request: _Request) -> tuple[Route, str, Fields]:
        """The route, the request target and all header fields."""
        url = request.url
        proxy = proxy_for(url, self._network)
        home = request.endpoint.url
        inward = None
        if url.origin != home.origin and not request.trusted:
            inward = self._connections.reach_of(home)
        trust = request.endpoint.trust if url.scheme == "https" else Trust()
        route = Route(url.scheme, url.host, url.port, proxy, trust, inward)
        fields = [("Host", url.authority), ("User-Agent", AGENT), ("Accept-Encoding", "identity"), *request.headers]
        if proxy is None or url.scheme == "https":
            return route, url.target, fields
        if proxy.authorization:
            fields.append(("Proxy-Authorization", proxy.authorization))
        return route, url.text, fields
