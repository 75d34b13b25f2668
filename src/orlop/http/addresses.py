"""Where an IP address lies, who may send us there, and connecting to the first address that answers (RFC 8305)."""

from __future__ import annotations

import errno
import os
import selectors
import socket
from collections.abc import Callable, Sequence
from enum import IntEnum
from itertools import chain, zip_longest
from typing import Any

from ..errors import Unsafe
from ..job import Job
from .wire import Fault

Address = tuple[int, Any]  # family, socket address
# metadata services that are not at a link-local address: those of AWS, Alibaba, Oracle, and Azure's "wire server"
_METADATA = frozenset({"fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"})
# RFC 8305 section 5, "Connection Attempt Delay"
_NEXT_AFTER = 0.25


class Reach(IntEnum):
    """How far an address reaches. `LINK` also holds cloud metadata services and whatever is no host at all."""

    PUBLIC = 0
    PRIVATE = 1
    LOOPBACK = 2
    LINK = 3


def reach(address: str) -> Reach:
    """Of a textual IP address; IPv4 inside IPv6 (mapped, 6to4, NAT64) counts as what it leads to."""
    import ipaddress

    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return reach(str(inner))
    if str(ip) in _METADATA:
        return Reach.LINK
    if ip.is_loopback or ip.is_unspecified:
        return Reach.LOOPBACK
    if ip.is_link_local or ip.is_multicast or ip == ipaddress.IPv4Address("255.255.255.255"):
        return Reach.LINK
    return Reach.PUBLIC if ip.is_global else Reach.PRIVATE


def literal_reach(host: str) -> Reach | None:
    """Of a host that is written as an address or as localhost; None for other names."""
    if host == "localhost" or host.endswith(".localhost"):
        return Reach.LOOPBACK
    try:
        return reach(host)
    except ValueError:
        return None


def may_lead(registry: Reach, target: Reach) -> bool:
    """Whether a registry may send us on to such an address: outwards always, inwards only where it is itself."""
    if target is Reach.PRIVATE:
        return registry in (Reach.PRIVATE, Reach.LOOPBACK)
    return target is Reach.PUBLIC or target is registry


def resolve(host: str, port: int) -> list[Address]:
    """Addresses to try, families alternating, the system's preference first. `Fault` at the step dns."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        again = error.errno == socket.EAI_AGAIN
        raise Fault(
            f"{host}: name cannot be resolved: {(error.strerror or '').lower()}", step="dns", again=again
        ) from error
    except UnicodeError as error:
        raise Fault(f"{host[:80]}: name cannot be resolved", step="dns", again=False) from error
    first = [(family, address) for family, _, _, _, address in found if family == found[0][0]]
    second = [(family, address) for family, _, _, _, address in found if family != found[0][0]]
    return [item for item in chain.from_iterable(zip_longest(first, second)) if item is not None]


def refuse_unreachable(host: str, addresses: Sequence[Address], allowed: Callable[[Reach], bool]) -> list[Address]:
    """Those addresses that may be connected to; `Unsafe` if none is left. Connect only to what this returns."""
    kept = [item for item in addresses if allowed(reach(item[1][0]))]
    if not kept:
        where = reach(addresses[0][1][0]).name.lower().replace("link", "link-local")
        raise Unsafe(
            f"{host}: is at the {where} address {addresses[0][1][0]}, where the registry may not send us",
            hint="for a token server, allow it with realm_hosts",
        )
    return kept


def dial(
    host: str, addresses: Sequence[Address], timeout: float, clock: Callable[[], float], job: Job
) -> socket.socket:
    """A connected socket to the first address that answers within `timeout` seconds in all."""
    waiting = list(addresses)
    deadline, next_start = clock() + timeout, clock()
    failure: OSError | None = None
    with _selector(host) as selector:
        try:
            while waiting or selector.get_map():
                if waiting and (clock() >= next_start or not selector.get_map()):
                    failure = _start(*waiting.pop(0), selector) or failure
                    next_start = clock() + _NEXT_AFTER
                if clock() > deadline:
                    raise Fault(f"{host}: no answer to connect within {timeout:g} s", step="connect")
                job.check()
                for key, _ in selector.select(_NEXT_AFTER) if selector.get_map() else ():
                    selector.unregister(key.fileobj)
                    code = key.data.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if code == 0:
                        return _ready(key.data)
                    key.data.close()
                    failure = OSError(code, os.strerror(code))
        finally:
            for key in list(selector.get_map().values()):
                key.data.close()
    raise _unconnected(host, failure) from failure


def _selector(host: str) -> selectors.BaseSelector:
    try:
        return selectors.DefaultSelector()
    except OSError as error:  # it takes a descriptor, and there may be none left
        raise _unconnected(host, error) from error


def _unconnected(host: str, failure: OSError | None) -> Fault:
    reason = failure.strerror if failure and failure.strerror else "no address"
    code = failure.errno if failure else None
    hint = "raise the limit of open files or lower --jobs" if code in (errno.EMFILE, errno.ENFILE) else ""
    text = f"{host}: cannot connect: {reason.lower()}"
    return Fault(text, step="connect", hint=hint, again=code != errno.ECONNREFUSED)


def _start(family: int, address: Any, selector: selectors.BaseSelector) -> OSError | None:
    """Begin to connect; the error if that fails at once, as it does without IPv6."""
    try:
        link = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        return error
    link.setblocking(False)
    code = link.connect_ex(address)
    if code not in (0, errno.EINPROGRESS):
        link.close()
        return OSError(code, os.strerror(code))
    selector.register(link, selectors.EVENT_WRITE, link)
    return None


def _ready(link: socket.socket) -> socket.socket:
    link.setblocking(True)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link
