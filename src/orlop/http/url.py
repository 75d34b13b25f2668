"""URLs as registries name them (RFC 3986, http and https only), read strictly so that all parsers would agree."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urljoin

from ..errors import Invalid

_PORTS = {"http": 80, "https": 443}
_URL = re.compile(
    r"(?P<scheme>https?)://(?:\[(?P<six>[0-9a-f:.]{2,45})\]|(?P<host>[a-z0-9](?:[a-z0-9._-]{0,252}[a-z0-9])?))"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<target>(?:[/?][^#]*)?)(?:#.*)?",
    re.ASCII | re.IGNORECASE,
)
# "https:evil.example" is a path to urllib, as in RFC 1808, and an address without a host to Go, as in RFC 3986
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.ASCII | re.IGNORECASE)
# visible ASCII without the backslash, which some parsers take for a slash (CVE-2019-9636 and its kin)
_SAFE = re.compile(r"[\x21-\x5b\x5d-\x7e]+", re.ASCII)
_QUAD = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)", re.ASCII)
_NUMERIC_END = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)", re.ASCII)
URL_LENGTH = 16 << 10


@dataclass(frozen=True, slots=True, repr=False)
class Url:
    """An absolute URL without user information. `str()` hides the query, which may be signed; `text` is all of it."""

    scheme: str
    host: str  # lower case, IPv6 without brackets
    port: int
    target: str  # path and query, starts with "/"

    @classmethod
    def parse(cls, text: str) -> Url:
        """`Invalid` for other schemes, user information, white space, non-ASCII, odd spellings of IP addresses."""
        if len(text) > URL_LENGTH:
            raise Invalid(f"URL: {len(text)} characters, at most {URL_LENGTH} are taken")
        match = _URL.fullmatch(text) if _SAFE.fullmatch(text) else None
        if match is None:
            raise Invalid(f"URL {_without_query(text)!r}: malformed, expected http(s)://host[:port]/path")
        scheme, host = match["scheme"].lower(), (match["six"] or match["host"]).lower()
        port = int(match["port"]) if match["port"] else _PORTS[scheme]
        if not 0 < port < 65536 or ".." in host:
            raise Invalid(f"URL {_without_query(text)!r}: port or host is malformed")
        if match["host"] and _NUMERIC_END.fullmatch(host) and not _QUAD.fullmatch(host):
            raise Invalid(f"URL {_without_query(text)!r}: host is an unusual spelling of an IP address")
        target = match["target"] or "/"
        return cls(scheme, host, port, target if target.startswith("/") else f"/{target}")

    def join(self, reference: str) -> Url:
        """The URL that a `Location` or `Link` with `reference` means here (RFC 3986 section 5)."""
        ambiguous = _SCHEME.match(reference) is not None and _URL.fullmatch(reference) is None
        if len(reference) > URL_LENGTH or _SAFE.fullmatch(reference) is None or ambiguous:
            raise Invalid(f"{self.authority}: named a malformed URL {_without_query(reference)!r}")
        try:
            joined = urljoin(self.text, reference)
        except ValueError as error:
            raise Invalid(f"{self.authority}: named a malformed URL {_without_query(reference)!r}") from error
        return Url.parse(joined)

    @property
    def authority(self) -> str:
        """`host[:port]`, as in a Host header: the scheme's own port is left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    @property
    def text(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"

    def __str__(self) -> str:
        return _without_query(self.text)

    def __repr__(self) -> str:
        return f"Url({str(self)!r})"


def _without_query(text: str) -> str:
    """For people: signed queries and user information are secrets (CR11)."""
    path, question, _ = text[:200].partition("?")
    scheme, separator, rest = path.partition("://")
    authority, slash, tail = rest.partition("/")
    if "@" in authority:
        path = f"{scheme}{separator}...@{authority.rpartition('@')[2]}{slash}{tail}"
    return path + ("?..." if question else "")
