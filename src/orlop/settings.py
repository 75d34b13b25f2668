"""Settings: read once by a surface from files, environment and flags, then passed down as plain values."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from .errors import Invalid, NotFound, of_system
from .model.platform import Platform

Durability = Literal["full", "none"]
_CONFIG_BYTES = 1 << 20
_JOBS = 64  # as --jobs


@dataclass(frozen=True, slots=True)
class Network:
    """How to reach registries. Every field is the user's own word; nothing in it comes from a server."""

    insecure: frozenset[str] = frozenset()  # hosts (host[:port]) where plain HTTP or unverified TLS was allowed
    ca_file: Path | None = None  # PEM, beside the system's authorities
    client_cert: Path | None = None  # PEM, mTLS
    client_key: Path | None = None
    username: str = ""  # --creds: for the host that is named on the command line only
    password: str = field(default="", repr=False)
    authfile: Path | None = None  # --authfile: only this file is read
    home: Path | None = None  # where ~/.docker and ~/.config are looked for
    docker_config: Path | None = None  # $DOCKER_CONFIG, a directory
    docker_auth_config: str = field(default="", repr=False)  # $DOCKER_AUTH_CONFIG, JSON itself
    registry_auth_file: Path | None = None  # $REGISTRY_AUTH_FILE
    runtime_dir: Path | None = None  # $XDG_RUNTIME_DIR
    helper_path: str = ""  # $PATH for docker-credential-*
    http_proxy: str = field(default="", repr=False)
    https_proxy: str = field(default="", repr=False)
    no_proxy: str = ""
    certificate_dirs: tuple[Path, ...] = (Path("/etc/docker/certs.d"), Path("/etc/containers/certs.d"))
    realm_hosts: frozenset[str] = frozenset()  # token servers allowed beyond the rule of http.auth
    endpoint_hosts: frozenset[str] = frozenset()  # host[:port] that a registry of version 1 may send us on to
    timeout: float = 60.0  # seconds without a byte
    retries: int = 5


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that a surface decides."""

    store: Path
    network: Network = field(default_factory=Network)
    platform: Platform = field(default_factory=lambda: Platform.of_machine(os.uname().machine))
    durability: Durability = "full"
    workers: int = 4
    runtime: str = ""  # OCI runtime to run; "" looks for crun, then runc

    @classmethod
    def load(
        cls,
        environment: Mapping[str, str],
        *,
        user: int,
        config: Path | None = None,
        store: str | Path | None = None,
    ) -> Settings:
        """From `config` (else /etc/orlop/config.toml and the user's own) and the environment; `user` is the uid.

        Precedence: argument, environment, user's file, system's file. `Invalid` names the file and the key.
        """
        home = Path(environment.get("HOME") or "/")
        config_home = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
        files = [config] if config else [Path("/etc/orlop/config.toml"), config_home / "orlop" / "config.toml"]
        values: dict[str, Any] = {}
        for file in files:
            values.update(_read(file, required=config is not None))
        place = store or environment.get("ORLOP_STORE") or values.get("store") or _default_store(environment, user)
        return cls(
            store=Path(place).absolute(),
            network=_network(environment, values, home),
            durability=values.get("durability", "full"),
            workers=values.get("jobs", 4),
            runtime=values.get("runtime", ""),
        )

    def with_network(self, **changes: Any) -> Settings:
        """The same with some fields of `network` replaced."""
        return replace(self, network=replace(self.network, **changes))


_KEYS: dict[str, type] = {
    "store": str,
    "insecure": list,
    "ca_file": str,
    "client_cert": str,
    "client_key": str,
    "realm_hosts": list,
    "endpoint_hosts": list,
    "durability": str,
    "jobs": int,
    "runtime": str,
}


def _read(file: Path, *, required: bool) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            raw = stream.read(_CONFIG_BYTES + 1)
    except FileNotFoundError:
        if required:
            raise NotFound(f"config {file}: no such file") from None
        return {}
    except OSError as error:
        text = f"config {file}: cannot be read: {(error.strerror or '').lower()}"
        raise of_system(error, text, Invalid) from error
    if len(raw) > _CONFIG_BYTES:
        raise Invalid(f"config {file}: more than {_CONFIG_BYTES} bytes")
    try:
        values = tomllib.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # also for a number of 5,000 digits, or lists 1,000 deep
        raise Invalid(f"config {file}: not TOML: {error}") from error
    for key, value in values.items():
        if key not in _KEYS:
            raise Invalid(f"config {file}: unknown key {key!r}", hint=f"known: {', '.join(sorted(_KEYS))}")
        if not isinstance(value, _KEYS[key]) or isinstance(value, bool):
            raise Invalid(f"config {file}: {key} is a {type(value).__name__}, expected {_KEYS[key].__name__}")
        _check_texts(file, key, value if isinstance(value, list) else [value])
    if not 1 <= values.get("jobs", 1) <= _JOBS:
        raise Invalid(f"config {file}: jobs is {values['jobs']}, expected 1 to {_JOBS}")
    if values.get("durability", "full") not in ("full", "none"):
        raise Invalid(f"config {file}: durability is {values['durability']!r}, expected 'full' or 'none'")
    return values


def _check_texts(file: Path, key: str, values: list[Any]) -> None:
    for value in values:
        if not isinstance(value, str | int) or (isinstance(value, int) and key != "jobs"):
            raise Invalid(f"config {file}: {key} has a {type(value).__name__} in it, expected str")
        if isinstance(value, str) and "\0" in value:
            raise Invalid(f"config {file}: {key} has a NUL in it")


def _network(environment: Mapping[str, str], values: Mapping[str, Any], home: Path) -> Network:
    def either(*names: str) -> str:
        return next((environment[name] for name in names if environment.get(name)), "")

    def path(text: str | None) -> Path | None:
        try:
            return Path(text).expanduser() if text else None
        except RuntimeError as error:
            raise Invalid(f"config: {text}: there is no such user") from error

    return Network(
        insecure=frozenset(map(str, values.get("insecure", ()))),
        ca_file=path(values.get("ca_file")),
        client_cert=path(values.get("client_cert")),
        client_key=path(values.get("client_key")),
        home=home,
        docker_config=path(environment.get("DOCKER_CONFIG")),
        docker_auth_config=environment.get("DOCKER_AUTH_CONFIG", ""),
        registry_auth_file=path(environment.get("REGISTRY_AUTH_FILE")),
        runtime_dir=path(environment.get("XDG_RUNTIME_DIR")),
        helper_path=environment.get("PATH", ""),
        # upper-case HTTP_PROXY is not read: a CGI server lets its clients set it (httpoxy, CVE-2016-5385)
        http_proxy=either("http_proxy", "all_proxy", "ALL_PROXY"),
        https_proxy=either("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"),
        no_proxy=either("no_proxy", "NO_PROXY"),
        realm_hosts=frozenset(map(str, values.get("realm_hosts", ()))),
        endpoint_hosts=frozenset(map(str, values.get("endpoint_hosts", ()))),
    )


def _default_store(environment: Mapping[str, str], user: int) -> Path:
    if user == 0:
        return Path("/var/lib/orlop")
    data = environment.get("XDG_DATA_HOME") or Path(environment.get("HOME") or "/") / ".local" / "share"
    return Path(data) / "orlop"
