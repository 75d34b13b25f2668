"""Credentials from the files of Docker and of containers/image (config.json, auth.json, .dockercfg), and their helpers.

A credential is found by the exact host[:port] it was stored for, or by a longer path below it; there is no
default and no fallback to another host (CR06).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import Invalid, NotFound, of_system
from ..model.limits import MIB
from ..model.strict_json import load_object
from ..settings import Network

# the key under which Docker keeps the credential of docker.io
_DOCKER_IO_KEY = "https://index.docker.io/v1/"
_DOCKER_IO_NAMES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_FILE_BYTES = 1 * MIB


@dataclass(frozen=True, slots=True)
class Credential:
    """What is known for a registry; all empty for anonymous. `source` names the place that won, without secrets."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)  # an OAuth2 refresh token
    registry_token: str = field(default="", repr=False)  # a bearer token, as it is
    source: str = ""

    @property
    def basic(self) -> str:
        """The value of an Authorization header, "" without a password."""
        if not self.password:
            return ""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode("ascii")

    @property
    def secrets(self) -> frozenset[str]:
        """What must not be shown, in each form in which it is sent (CR10)."""
        words = (self.password, self.basic.removeprefix("Basic "), self.identity_token, self.registry_token)
        return frozenset(filter(None, words))


ANONYMOUS = Credential()


def find(host: str, repository: str, network: Network) -> Credential:
    """The credential for a repository on `host` (as in its reference); `ANONYMOUS` if there is none.

    Order: `authfile` alone if it is set; else DOCKER_AUTH_CONFIG; REGISTRY_AUTH_FILE, or auth.json in the
    runtime directory; ~/.config/containers/auth.json; Docker's config.json; ~/.dockercfg. The first that
    knows the host wins. May run a credential helper. `Denied`, `Invalid` name the file or the helper.
    """
    for place, fields in _sources(network):
        found = _in_file(host, repository, place, fields, network)
        if found is not None:
            return found
    return ANONYMOUS


def _sources(network: Network) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name and content of each configuration that exists, in order."""
    if network.authfile:
        yield str(network.authfile), _read(network.authfile, required=True)
        return
    if network.docker_auth_config:
        raw = network.docker_auth_config.encode("utf-8", "surrogateescape")
        yield "DOCKER_AUTH_CONFIG", load_object(raw, what="DOCKER_AUTH_CONFIG")
    home, files = network.home, []
    if network.registry_auth_file:
        files.append(network.registry_auth_file)
    elif network.runtime_dir:
        files.append(network.runtime_dir / "containers" / "auth.json")
    if home:
        files.append(home / ".config" / "containers" / "auth.json")
    docker = network.docker_config or (home / ".docker" if home else None)
    if docker:
        files.append(docker / "config.json")
    for file in files:
        yield str(file), _read(file, required=False)
    if home:
        old = home / ".dockercfg"  # the content of `auths` without the word
        yield str(old), {"auths": _read(old, required=False)}


def _read(file: Path, *, required: bool) -> Mapping[str, Any]:
    try:
        with file.open("rb") as stream:
            raw = stream.read(_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        if required:
            raise NotFound(f"credentials {file}: no such file") from None
        return {}
    except OSError as error:
        text = f"credentials {file}: cannot be read: {(error.strerror or '').lower()}"
        raise of_system(error, text, Invalid) from error
    if len(raw) > _FILE_BYTES:
        raise Invalid(f"credentials {file}: more than {_FILE_BYTES} bytes")
    # an empty file is what `docker logout` of some versions leaves
    return load_object(raw, what=f"credentials {file}") if raw.strip() else {}


def _in_file(host: str, repository: str, place: str, fields: Mapping[str, Any], network: Network) -> Credential | None:
    helpers = _object(fields, "credHelpers", place)
    helper = next((helpers[key] for key in helpers if _key(key) == _name(host)), None)
    if helper:
        found = _ask(helper, host, f"{place} (credHelpers)", network)
        if found:
            return found
    store = fields.get("credsStore")
    if store:
        found = _ask(store, host, f"{place} (credsStore)", network)
        if found:
            return found
    auths = _object(fields, "auths", place)
    # of several keys that mean one place, that which is written as we name it wins
    keys = sorted(auths, key=lambda key: key == _key(key))
    known = {_key(key): (key, auths[key]) for key in keys}
    for name in _names(host, repository):
        if name in known:
            key, value = known[name]
            found = _entry(value, f"{place} (auths: {key})")
            if found:
                return found
    return None


def _names(host: str, repository: str) -> Iterator[str]:
    """`host/a/b`, `host/a`, `host`: the longest stored prefix wins (containers-auth.json(5))."""
    parts = repository.split("/") if repository else []
    for count in range(len(parts), 0, -1):
        yield f"{_name(host)}/{'/'.join(parts[:count])}"
    yield _name(host)


def _name(host: str) -> str:
    return "docker.io" if host in _DOCKER_IO_NAMES else host


def _key(text: str) -> str:
    """A stored key as `host[:port][/path]`: the old forms `https://host/v1/` and `host/v2` mean the host."""
    scheme, separator, rest = text.rpartition("://")
    if separator and scheme not in ("http", "https"):
        return ""
    host, _, path = rest.rstrip("/").partition("/")
    if separator or path in ("v1", "v2"):
        path = ""
    return _name(host.lower()) + (f"/{path}" if path else "")


def _entry(value: Any, source: str) -> Credential | None:
    """One value of `auths`; None if it holds nothing, as Docker writes beside a credsStore."""
    if not isinstance(value, dict):
        raise Invalid(f"credentials {source}: expected an object")
    words = {}
    for name in ("auth", "username", "password", "identitytoken", "registrytoken"):
        words[name] = value.get(name) or ""
        if not isinstance(words[name], str):
            raise Invalid(f"credentials {source}: {name} is not a string")
    username, password = words["username"], words["password"]
    if words["auth"]:
        try:
            login = base64.b64decode(words["auth"], validate=True).decode("utf-8").rstrip("\0")
        except (binascii.Error, ValueError):
            raise Invalid(f"credentials {source}: auth is not base64 of user:password") from None
        username, colon, password = login.partition(":")
        if not colon:
            raise Invalid(f"credentials {source}: auth is not base64 of user:password")
    if not (password or words["identitytoken"] or words["registrytoken"]):
        return None
    return Credential(username, password, words["identitytoken"], words["registrytoken"], source)


def _ask(helper: Any, host: str, source: str, network: Network) -> Credential | None:
    from .helpers import ask

    if not isinstance(helper, str):
        raise Invalid(f"credentials {source}: expected the name of a helper")
    server = _DOCKER_IO_KEY if _name(host) == "docker.io" else host
    answer = ask(helper, server, path=network.helper_path)
    if answer is None:
        return None
    username, secret = answer
    source = f"docker-credential-{helper}, named by {source}"
    if username == "<token>":
        return Credential(identity_token=secret, source=source)
    return Credential(username, secret, source=source)


def _object(fields: Mapping[str, Any], name: str, place: str) -> Mapping[str, Any]:
    value = fields.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Invalid(f"credentials {place}: {name} is not an object")
    return value
