"""Running the registry with granian over RSGI: its socket, its one hop into threads, its end."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import resource
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ..errors import Busy, Denied, Unsupported, Usage, of_system
from .answer import Answer, Incoming, Request
from .app import Registry
from .receiving import Application
from .view import View

if TYPE_CHECKING:
    from .v1.app import VersionOne

_THREADS = 8  # views read small files and a catalog; the bytes of blobs are sent by granian itself
_BACKLOG = 512
_HEADER_BYTES = 32 << 10
# left to itself granian takes as many as its backlog, 128, and idle ones keep all others out (RX08)
_CONNECTIONS = 4096
_OTHER_DESCRIPTORS = 64  # the store's, the catalog's, the event loop's
_HEADER_MILLISECONDS = 10_000  # for a request to come whole, and for the next one on a kept connection
_SETTLE = 0.2  # seconds

log = logging.getLogger(__name__)


def serve(
    view: View,
    address: str,
    port: int,
    *,
    ready: Callable[[str], None],
    version_one: VersionOne | None = None,
    insecure_public: bool = False,
    drain: float = 10.0,
    stall: float = 120.0,
) -> None:
    """Serve `view` as a registry of version 2, and `version_one` beside it, until SIGTERM or SIGINT; then finish the
    answers under way, for at most `drain` seconds. Blocks; main thread only.

    `port` 0 takes a free one. `ready` is called once, with `host:port`, when connections are taken. A client that
    takes nothing of its answer, or sends next to nothing of its request, for `stall` seconds is cut off. There is no
    authentication yet: an address that is not loopback is a `Usage` error unless `insecure_public`.
    `Busy` if the port is taken, `Denied`, `Unsupported` without granian.
    """
    try:
        from granian.server.embed import Server
    except ImportError as error:
        raise Unsupported("serve: granian is not installed", hint="pip install 'orlop[serve]'") from error
    with _listening(address, port, insecure_public, stall) as listening:
        asyncio.run(_run(Server, _Both(version_one, Registry(view)), listening, ready, drain, stall))


async def _run(
    server_class: type[Any],
    site: _Both,
    listening: socket.socket,
    ready: Callable[[str], None],
    drain: float,
    stall: float,
) -> None:
    from granian.constants import HTTPModes
    from granian.http import HTTP1Settings

    host, port = listening.getsockname()[:2]
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="serve") as pool:
        server = _on(server_class, listening)(
            Application(site, pool, stall),
            address=host,
            port=port,
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(max_buffer_size=_HEADER_BYTES, header_read_timeout=_HEADER_MILLISECONDS),
            backpressure=_room(),
            websockets=False,
            log_enabled=False,
        )
        loop = asyncio.get_running_loop()
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        serving = loop.create_task(server.serve())
        ready(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        await asyncio.wait([serving, loop.create_task(stopping.wait())], return_when=asyncio.FIRST_COMPLETED)
        server.stop()
        done, _ = await asyncio.wait([serving], timeout=drain)
        if done:
            serving.result()
        else:
            log.warning("stopped with answers still under way after %g seconds", drain)
            site.stop()
            serving.cancel()
        # granian's own threads let go of their last Python objects; ending under them makes it panic
        await asyncio.sleep(_SETTLE)


def _room() -> int:
    """How many connections there are descriptors for: each takes its own, and one of a blob. The soft limit is
    raised for them as far as it goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * _CONNECTIONS + _OTHER_DESCRIPTORS
    if 0 <= soft < wanted:  # infinity is -1
        soft = min(wanted, hard) if hard >= 0 else wanted
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(_CONNECTIONS, max(1, (soft - _OTHER_DESCRIPTORS) // 2)) if soft >= 0 else _CONNECTIONS


def _on(server_class: type[Any], listening: socket.socket) -> Any:
    """The server class on a socket of ours.

    Left to itself granian binds with SO_REUSEPORT: port 0 would stay unknown, and a second server on a port
    that is taken would silently get half of its connections.
    """
    from granian import net

    holder: Any = net.SocketHolder  # type: ignore[attr-defined]

    class OnSocket(server_class):  # type: ignore[misc]
        def _init_shared_socket(self) -> None:
            self._shd = holder(listening.detach(), False, _BACKLOG)  # which closes it
            self._sfd = self._shd.get_fd()
            self._ssp = None

    return OnSocket


class _Both:
    """Two registries at one address, told apart by path; or one."""

    def __init__(self, first: VersionOne | None, other: Registry) -> None:
        self._first = first
        self._other = other

    def open(self, request: Request) -> Answer | Incoming:
        first = self._first
        return first.open(request) if first is not None and first.serves(request.path) else self._other.open(request)

    def stop(self) -> None:
        """Give up what takes long."""
        if self._first is not None:
            self._first.stop()


def _listening(address: str, port: int, insecure_public: bool, stall: float) -> socket.socket:
    what = f"serve: {address}:{port}"
    if not 0 <= port < 65536:
        raise Usage(f"{what}: the port is out of range")
    try:
        family, kind, _, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise Usage(f"{what}: not an address of this machine: {(error.strerror or '').lower()}") from error
    if not insecure_public and not ipaddress.ip_address(place[0]).is_loopback:
        raise Usage(f"{what}: not a loopback address, and anyone who reaches it could read", hint="--public allows it")
    listening = socket.socket(family, kind)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # what the connections inherit: one that takes nothing for so long is reset (RX08)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(stall * 1000))
        listening.bind(place)
        listening.listen(_BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        failure = of_system(error, f"{what}: {(error.strerror or '').lower()}", Usage)
        if isinstance(failure, Busy):
            failure = Busy(f"{what}: something else listens there", hint="port 0 takes a free one")
        elif isinstance(failure, Denied):
            failure = Denied(f"{what}: not permitted", hint="ports below 1024 are root's")
        raise failure from error
    return listening
