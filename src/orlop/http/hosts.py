"""Where to connect for the host of a reference, and with which certificates.

TLS is verified always, but for what the user wrote into `Network.insecure`: `host[:port]` there means plain HTTP,
`https://host[:port]` means TLS without verification. Neither is a fallback: nothing is ever tried twice (CR08).
Without a port all ports of the host are meant, and `10.0.0.0/8` is every address in it that a reference spells out.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ..errors import Denied, Invalid, of_system
from ..settings import Network
from .url import Url

# where the name that people write is not the machine that answers
_MACHINES = {"docker.io": "registry-1.docker.io"}


@dataclass(frozen=True, slots=True)
class Trust:
    """What a TLS connection believes and shows: extra authorities (PEM) and a client certificate with its key."""

    verify: bool = True
    authorities: tuple[Path, ...] = ()
    pair: tuple[Path, Path] | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A registry: the `name` in references, the `url` that answers for it, and its one TLS configuration (CR07)."""

    name: str
    url: Url
    trust: Trust


def endpoint(name: str, network: Network) -> Endpoint:
    """`name` is `host[:port]` as in a reference. Reads the certificate directories; `Invalid`, `Denied`."""
    machine = _MACHINES.get(name, name)
    scheme, verify = _listed({name, machine}, network.insecure)
    url = Url.parse(f"{scheme}://{machine}/")
    if scheme == "http":
        return Endpoint(name, url, Trust())
    return Endpoint(name, url, _trust({name: None, machine: None}, verify, network))


def _listed(names: Collection[str], insecure: Collection[str]) -> tuple[str, bool]:
    """The scheme for a host, and whether TLS is verified. What names it with its port counts before the rest."""
    bare = {_without_port(name) for name in names}
    networks = [entry for entry in insecure if "/" in entry.removeprefix("https://")]
    for hosts in (set(names), bare):
        for scheme, prefix in (("http", ""), ("https", "https://")):
            if any(f"{prefix}{host}" in insecure for host in hosts):
                return scheme, False
    for entry in networks:
        if any(_within(host, entry.removeprefix("https://")) for host in bare):
            return ("https" if entry.startswith("https://") else "http"), False
    return "https", True


def _without_port(name: str) -> str:
    host, colon, port = name.rpartition(":")
    return host if colon and port.isdecimal() and (":" not in host or host.endswith("]")) else name


def _within(host: str, network: str) -> bool:
    """Whether a host is written as an address of a network. Names are not looked up: whoever answers for a name
    could take its TLS away."""
    import ipaddress

    try:
        return ipaddress.ip_address(host.strip("[]")) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _trust(names: dict[str, None], verify: bool, network: Network) -> Trust:
    authorities = [network.ca_file] if network.ca_file else []
    pair = None
    if network.client_cert:
        pair = (network.client_cert, network.client_key or network.client_cert)
    for folder in (base / name for base in network.certificate_dirs for name in names):
        try:
            files = sorted(folder.iterdir()) if folder.is_dir() else []
        except OSError as error:
            text = f"certificates {folder}: cannot be read: {(error.strerror or '').lower()}"
            raise of_system(error, text, Denied) from error
        authorities += [file for file in files if file.suffix == ".crt"]
        for certificate in (file for file in files if file.suffix == ".cert"):
            key = certificate.with_suffix(".key")
            if key not in files:
                raise Invalid(f"certificates {folder}: {certificate.name} has no {key.name} beside it")
            pair = pair or (certificate, key)
    return Trust(verify, tuple(authorities), pair)
