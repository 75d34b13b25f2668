"""Opening connections: name, address, proxy, TLS; each step is named when it fails. And keeping them for reuse."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import Denied, Error, Invalid, of_system
from ..job import Job
from .addresses import Reach, dial, literal_reach, reach, refuse_unreachable, resolve
from .hosts import Trust
from .proxies import Proxy
from .url import Url
from .wire import SLICE, Fault, Wire, alert_hint, reason_of

if TYPE_CHECKING:
    import socket
    import ssl
    from pathlib import Path

# servers drop idle connections after a minute or so; before that they are nearly always good
IDLE_SECONDS = 45.0
IDLE_CONNECTIONS = 16
_CLOCK_TOLERANCE = 300.0


@dataclass(frozen=True, slots=True)
class Route:
    """How to reach an origin. Connections of one route are interchangeable."""

    scheme: str
    host: str
    port: int
    proxy: Proxy | None
    trust: Trust
    inward: Reach | None = None  # the registry's own reach when it is the registry that sends us there

    @property
    def name(self) -> str:
        """For people: the host, with the port unless it is the scheme's own."""
        return Url(self.scheme, self.host, self.port, "/").authority


class Connections:
    """Connections by route, safe from any thread. A wire that is taken belongs to the taker until given back."""

    def __init__(self, timeout: float, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self._timeout = timeout
        self._clock = clock
        self._wall = wall
        self._lock = threading.Lock()
        self._idle: dict[Route, list[tuple[float, Wire]]] = {}
        self._contexts: dict[Trust, ssl.SSLContext] = {}
        self._reach: dict[tuple[str, int], Reach] = {}

    def take(self, route: Route, job: Job, *, fresh: bool = False) -> Wire:
        """An idle connection if there is a good one (unless `fresh`), else a new one."""
        while not fresh and (wire := self._pop(route)):
            if wire.idle():
                wire.job = job
                return wire
            wire.close()
        wire = self._open(route, job)
        wire.job = job
        return wire

    def give(self, route: Route, wire: Wire) -> None:
        """Back for reuse."""
        wire.job = Job()
        with self._lock:
            kept = self._idle.setdefault(route, [])
            if len(kept) < IDLE_CONNECTIONS:
                kept.append((self._clock(), wire))
                return
        wire.close()

    def close(self) -> None:
        with self._lock:
            wires = [wire for kept in self._idle.values() for _, wire in kept]
            self._idle.clear()
        for wire in wires:
            wire.close()

    def reach_of(self, url: Url) -> Reach:
        """Where a host was found when it was last connected to; behind a proxy, what its name says."""
        known = self._reach.get((url.host, url.port))
        return known if known is not None else literal_reach(url.host) or Reach.PUBLIC

    def reached(self, host: str, port: int, where: Reach) -> None:
        """Take down where a connection ended. What was public once does not become a neighbour by leading to one
        later (DNS rebinding)."""
        with self._lock:
            self._reach[host, port] = min(where, self._reach.get((host, port), where))

    def was_reached(self, url: Url) -> bool:
        """Whether a straight connection to it succeeded before."""
        return (url.host, url.port) in self._reach

    def speaks_tls(self, route: Route, job: Job) -> bool:
        """Whether TLS answers where plain HTTP did not work. Only to say so: nothing is sent (CR08)."""
        try:
            self._open(replace(route, scheme="https", trust=Trust(verify=False)), job).close()
        except (Fault, Denied, Invalid):
            return False
        return True

    def _pop(self, route: Route) -> Wire | None:
        with self._lock:
            kept = self._idle.get(route)
            if not kept:
                return None
            since, wire = kept.pop()
        if self._clock() - since > IDLE_SECONDS:
            wire.close()
            return self._pop(route)
        return wire

    def _open(self, route: Route, job: Job) -> Wire:
        link = self._link(route, job)
        try:
            if route.scheme == "https":
                if route.proxy:
                    self._tunnel(link, route, route.proxy, job)
                link = self._secure(link, route, job)
            return Wire(link, route.name, self._timeout, self._clock)
        except BaseException:
            link.close()
            raise

    def _link(self, route: Route, job: Job) -> socket.socket:
        """A connected socket to the host or its proxy. The addresses are checked and then used: no rebinding."""

        def allowed(where: Reach) -> bool:
            if route.inward is not None:
                from .addresses import may_lead

                return may_lead(route.inward, where)
            # a name the user wrote may lie anywhere but at a metadata service; an address he wrote is his word
            return where is not Reach.LINK or literal_reach(route.host) is not None

        if route.proxy:
            written = literal_reach(route.host)
            if written is not None and not allowed(written):
                refuse_unreachable(route.host, resolve(route.host, route.port), allowed)
            addresses = resolve(route.proxy.host, route.proxy.port)
            return dial(f"proxy {route.proxy.host}", addresses, self._timeout, self._clock, job)
        addresses = refuse_unreachable(route.host, resolve(route.host, route.port), allowed)
        link = dial(route.name, addresses, self._timeout, self._clock, job)
        try:
            found = reach(link.getpeername()[0])
        except OSError as error:
            link.close()
            raise Fault(f"{route.name}: connection broke: {reason_of(error)}", step="connect") from error
        self.reached(route.host, route.port, found)
        return link

    def _tunnel(self, link: socket.socket, route: Route, proxy: Proxy, job: Job) -> None:
        """CONNECT through a proxy (RFC 9110 section 9.3.6)."""
        host = f"[{route.host}]" if ":" in route.host else route.host
        target = f"{host}:{route.port}"
        fields = [("Host", target)]
        if proxy.authorization:
            fields.append(("Proxy-Authorization", proxy.authorization))
        wire = Wire(link, f"proxy {proxy.host}", self._timeout, self._clock)
        wire.job = job
        wire.send("CONNECT", target, fields)
        status = wire.head("GET").status
        if status in (401, 407):  # tinyproxy says 401 to wrong ones
            raise Denied(f"proxy {proxy.host}: wants other credentials to connect to {target}")
        if not 200 <= status < 300:
            again = status >= 500
            raise Fault(f"proxy {proxy.host}: refused to connect to {target}: {status}", step="proxy", again=again)

    def _secure(self, link: socket.socket, route: Route, job: Job) -> socket.socket:
        import ssl

        with self._lock:
            context = self._contexts.get(route.trust)
            if context is None:
                context = self._contexts[route.trust] = make_context(route.trust)
        try:
            secure = context.wrap_socket(link, server_hostname=route.host, do_handshake_on_connect=False)
            try:
                self._shake_hands(secure, route, job)
            except BaseException:
                secure.close()  # it has taken the socket over
                raise
            return secure
        except ssl.SSLCertVerificationError as error:
            hint = "if its authority is yours, name it with --ca-file or put it into the certificate directory"
            if error.verify_code in (9, 10):  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
                hint = self._clock_hint(route, job)
            elif error.verify_code in (62, 64):  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
                hint = "it is another host's: check the name, or what answers there"
            reason = error.verify_message.lower().rstrip(".")
            text = f"{route.name}: certificate is not trusted: {reason}"
            raise Fault(text, step="tls", hint=hint, again=False) from error
        except OSError as error:
            reason = reason_of(error)
            hint = alert_hint(error)
            if "wrong version number" in reason or "http request" in reason:
                hint = f"it seems to speak plain HTTP; if that is meant, allow it with --insecure {route.name}"
            again = isinstance(error, (TimeoutError, ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError))
            raise Fault(f"{route.name}: no TLS: {reason}", step="tls", hint=hint, again=again) from error

    def _shake_hands(self, link: ssl.SSLSocket, route: Route, job: Job) -> None:
        """In slices, so that a stop is seen, and within the time-out in all."""
        deadline = self._clock() + self._timeout
        link.settimeout(min(SLICE, self._timeout))
        while True:
            try:
                link.do_handshake()
                return
            except TimeoutError:
                job.check()
            if self._clock() >= deadline:
                raise Fault(f"{route.name}: no TLS within {self._timeout:g} s", step="tls")

    def _clock_hint(self, route: Route, job: Job) -> str:
        """What the server's Date says about our clock (NF13). It is not trusted, only shown; nothing is sent."""
        from email.utils import parsedate_to_datetime

        here = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(self._wall()))
        try:
            probe = self._open(replace(route, trust=Trust(verify=False)), job)
            try:
                probe.send("HEAD", "/", [("Host", route.name), ("Connection", "close")])
                date = parsedate_to_datetime(probe.head("HEAD").headers.get("date")).timestamp()
            finally:
                probe.close()
        except (Error, ValueError, TypeError):
            return f"the clock here says {here}"
        off = self._wall() - date
        if abs(off) < _CLOCK_TOLERANCE:
            return f"the clock here, {here}, agrees with the server's: it is the certificate"
        amount = f"{abs(off) / 86400:.1f} days" if abs(off) > 86400 else f"{abs(off) / 60:.0f} minutes"
        return f"the clock here, {here}, is {amount} {'ahead of' if off > 0 else 'behind'} the server's: set it right"


def make_context(trust: Trust) -> ssl.SSLContext:
    """TLS 1.2 or later with the system's authorities and those of `trust`. `Invalid` names a bad file."""
    import ssl

    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if not trust.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for file in trust.authorities:
        try:
            context.load_verify_locations(cafile=file)
        except OSError as error:
            raise _bad_certificate(str(file), error) from error
    if trust.pair:
        try:
            # the callback keeps OpenSSL from asking for a passphrase on the terminal
            context.load_cert_chain(*trust.pair, password=lambda: b"")
        except OSError as error:
            if _lacks_key(*trust.pair):
                text = f"certificate {trust.pair[0]}: its key is missing"
                raise Invalid(text, hint="name the file of the key: --client-key") from error
            raise _bad_certificate(f"{trust.pair[0]} with key {trust.pair[1]}", error) from error
    return context


def _lacks_key(certificate: Path, key: Path) -> bool:
    """Whether a certificate was given alone, and its key is not in the same file."""
    try:
        content = certificate.read_bytes() if certificate == key else b""
    except OSError:
        return False
    return b"BEGIN CERTIFICATE" in content and b"PRIVATE KEY" not in content


def _bad_certificate(what: str, error: OSError) -> Error:
    import ssl

    text = f"certificate {what}: {reason_of(error)}"
    # the numbers of TLS errors are not those of the operating system
    return Invalid(text) if isinstance(error, ssl.SSLError) else of_system(error, text, Invalid)
