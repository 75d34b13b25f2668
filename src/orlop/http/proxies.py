"""Forward proxies: which one to use for a URL, and when to use none (the conventions of curl and Go)."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import Invalid, Unsupported
from ..settings import Network
from .addresses import Reach, literal_reach
from .url import Url


@dataclass(frozen=True, slots=True)
class Proxy:
    """A plain HTTP proxy. `authorization` is for the proxy alone, never for what stands behind it (CR15)."""

    host: str
    port: int
    authorization: str = field(default="", repr=False)


def proxy_for(url: Url, network: Network) -> Proxy | None:
    """None to connect straight: no proxy is set, `no_proxy` says so, or the host is this machine."""
    text = network.https_proxy if url.scheme == "https" else network.http_proxy
    if not text or literal_reach(url.host) is Reach.LOOPBACK or bypasses(network.no_proxy, url.host, url.port):
        return None
    return _parse(text)


def _parse(text: str) -> Proxy:
    scheme, separator, rest = text.rpartition("://")
    if separator and scheme.lower() != "http":
        raise Unsupported(f"proxy: a {scheme[:10]!r} proxy cannot be used, expected http://host:port")
    login, at, place = rest.rpartition("@")
    try:
        url = Url.parse(f"http://{place}")
    except Invalid:
        raise Invalid("proxy: malformed, expected http://[user:password@]host[:port]") from None
    if not at:
        return Proxy(url.host, url.port)
    import base64
    from urllib.parse import unquote_to_bytes

    token = base64.b64encode(unquote_to_bytes(login)).decode("ascii")
    return Proxy(url.host, url.port, f"Basic {token}")


def bypasses(no_proxy: str, host: str, port: int) -> bool:
    """Whether `no_proxy` lists it. Entries, by comma or space: `*`; `name`, which holds for all below it too;
    `.name`, for those below only; an address; a network `10.0.0.0/8`; each but the last with `:port` if wanted."""
    for entry in no_proxy.replace(",", " ").lower().split():
        if entry == "*" or _matches(entry, host.lower().rstrip("."), port):
            return True
    return False


def _matches(entry: str, host: str, port: int) -> bool:
    if "/" in entry:
        return _within(entry, host)
    name, colon, wanted = entry.rpartition(":")
    if not colon or (":" in name and not name.endswith("]")):  # no port, or a bare IPv6 address
        name, wanted = entry, ""
    if wanted and wanted != str(port):
        return False
    name = name.strip("[]").removeprefix("*").rstrip(".")
    if not name or name == ".":
        return False
    # no suffix match between addresses: 1.2.3.4 does not lie below 3.4
    if literal_reach(host) is not None and host != "localhost":
        return _within(name, host)
    if name.startswith("."):
        return host.endswith(name)
    return host == name or host.endswith(f".{name}")


def _within(network: str, host: str) -> bool:
    """Whether the host is an address in the network (or equal to the address) as numbers, not as text."""
    import ipaddress

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
