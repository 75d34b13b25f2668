"""References: what people type, read once. The rules of `docker.io` and `library/` live only here.

Grammar: OCI distribution-spec 1.1 "Pulling manifests" for names and tags; the host part as in Docker's
`reference` package. `docs/reference.md` lists the transports.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import Invalid, Usage
from .digest import Digest

DEFAULT_HOST = "docker.io"
DEFAULT_TAG = "latest"
NAME_LENGTH = 255  # of host and repository together, distribution-spec 1.1

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:.]{{2,45}}\])(?::[1-9][0-9]{{0,4}})?", re.ASCII)
TRANSPORTS = ("docker", "oci", "oci-archive", "docker-archive", "store", "v1")


@dataclass(frozen=True, slots=True)
class Reference:
    """`host/repository[:tag][@digest]`. With both a tag and a digest, the digest decides.

    `host` is the name people write (`docker.io`); where to connect is the business of `http.hosts`.
    """

    host: str
    repository: str
    tag: str = ""
    digest: Digest | None = None

    def __post_init__(self) -> None:
        if _HOST.fullmatch(self.host) is None or _bad_port(self.host) or self.host != self.host.lower():
            raise Usage(f"reference: host {self.host[:80]!r} is malformed")
        if not _looks_like_host(self.host):  # it would be read back as a part of the repository
            raise Usage(f"reference: host {self.host[:80]!r} has neither a dot nor a port", hint="add the port")
        if _REPOSITORY.fullmatch(self.repository) is None:
            lower = " (names are lower case)" if self.repository != self.repository.lower() else ""
            raise Usage(f"reference: repository {self.repository[:80]!r} is malformed{lower}")
        if self.host == DEFAULT_HOST and "/" not in self.repository:
            raise Usage(f"reference: {self.host}/{self.repository[:80]} is written {self.host}/library/...")
        if len(self.host) + 1 + len(self.repository) > NAME_LENGTH:
            raise Usage(f"reference: name is longer than {NAME_LENGTH} characters")
        if self.tag and _TAG.fullmatch(self.tag) is None:
            raise Usage(f"reference: tag {self.tag[:140]!r} is malformed")

    @classmethod
    def parse(cls, text: str) -> Reference:
        """`debian` is `docker.io/library/debian:latest`; a host needs a dot, a port, or to be `localhost`."""
        rest, at, digest = text.partition("@")
        if at and not digest:
            raise Usage(f"reference {text[:140]!r}: nothing after '@'")
        slash = rest.rfind("/")
        colon = rest.find(":", slash + 1)
        name, tag = (rest[:colon], rest[colon + 1 :]) if colon >= 0 else (rest, "")
        if colon >= 0 and not tag:
            raise Usage(f"reference {text[:140]!r}: nothing after ':'")
        host, separator, repository = name.partition("/")
        if not separator or not _looks_like_host(host):
            host, repository = DEFAULT_HOST, name
        if host in ("index.docker.io", "registry-1.docker.io"):
            host = DEFAULT_HOST
        if host == DEFAULT_HOST and repository and "/" not in repository:
            repository = f"library/{repository}"
        try:
            known = Digest(digest) if at else None
        except Invalid as error:
            raise Usage(f"reference {text[:140]!r}: {error}") from error
        return cls(host.lower(), repository, tag or ("" if known else DEFAULT_TAG), known)

    @property
    def name(self) -> str:
        """`host/repository`."""
        return f"{self.host}/{self.repository}"

    @property
    def target(self) -> str:
        """What decides: the digest if there is one, else the tag."""
        return str(self.digest) if self.digest else self.tag

    def __str__(self) -> str:
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    @property
    def familiar(self) -> str:
        """The short form that people type: `debian:12` for `docker.io/library/debian:12`.

        The shortest that `parse` reads as the same name: `docker.io/library/a/b` has none but itself.
        """
        full = str(self)
        for prefix in (f"{DEFAULT_HOST}/library/", f"{DEFAULT_HOST}/"):
            short = full.removeprefix(prefix)
            try:
                if short != full and Reference.parse(short).name == self.name:
                    return short
            except Usage:
                continue  # what is left looks like a host, and a bad one
        return full


@dataclass(frozen=True, slots=True)
class Location:
    """A place an image can come from or go to: a transport, a path for those that are files, and a name in it.

    `transport` is one of `TRANSPORTS`. For `docker`, `v1` and `store`, `reference` is set and `path` empty;
    for files `path` is set and `name` is the tag or reference inside it, empty for "the only one".
    """

    transport: str
    path: str = ""
    name: str = ""
    reference: Reference | None = None

    @classmethod
    def parse(cls, text: str) -> Location:
        """`docker://host/repo:tag`, `oci:PATH[:tag]`, `oci-archive:FILE[:tag]`, `docker-archive:FILE[:ref]`,
        `store:REF`, `v1://host/repo`; without a prefix, `docker`."""
        transport, colon, rest = text.partition(":")
        if not colon or transport not in TRANSPORTS:
            return cls("docker", reference=Reference.parse(text))
        if transport in ("docker", "v1"):
            if not rest.startswith("//"):
                if transport == "docker" and rest:  # an image that is really called "docker"
                    return cls("docker", reference=Reference.parse(text))
                raise Usage(f"reference {text[:140]!r}: expected {transport}://host/repository")
            return cls(transport, reference=Reference.parse(rest[2:]))
        if transport == "store":
            return cls("store", reference=Reference.parse(rest))
        path, _, name = rest.partition(":")
        if not path:
            raise Usage(f"reference {text[:140]!r}: expected {transport}:PATH[:name]")
        return cls(transport, path=path, name=name)

    @property
    def asked(self) -> str:
        """What to ask its source for: a digest, a tag, or the name inside a file."""
        return self.reference.target if self.reference else self.name

    def __str__(self) -> str:
        if self.transport in ("docker", "v1"):
            return f"{self.transport}://{self.reference}"
        if self.transport == "store":
            return f"store:{self.reference}"
        return f"{self.transport}:{self.path}" + (f":{self.name}" if self.name else "")


def is_repository(text: str) -> bool:
    """Whether this is a repository name of the distribution-spec's grammar, without a host."""
    return len(text) <= NAME_LENGTH and _REPOSITORY.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Whether this is a tag of the distribution-spec's grammar."""
    return _TAG.fullmatch(text) is not None


def _looks_like_host(text: str) -> bool:
    return "." in text or ":" in text or text == "localhost" or text != text.lower()


def _bad_port(host: str) -> bool:
    _, colon, port = host.rpartition(":")
    return bool(colon) and port.isdecimal() and not host.endswith("]") and not 0 < int(port) < 65536
