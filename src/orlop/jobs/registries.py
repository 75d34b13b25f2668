"""Jobs on registries of version 1: who asks, by the environment of a job; `search` and `auth`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from ..engine.env import Env
from ..errors import Invalid, Unsafe, Usage
from ..http.url import Url
from ..job import Job as Work
from ..model.reference import DEFAULT_HOST, Reference
from ..model.strict_json import load_object
from ..registry.v1.account import Found, login
from ..registry.v1.account import search as find
from ..registry.v1.session import V1Session
from ..settings import Settings
from ..sources import open_session
from ..store import Store

_META = re.compile(r"x-meta-[a-z0-9-]{1,80}", re.IGNORECASE | re.ASCII)
_VALUE = re.compile(r"[\x20-\x7e]{0,4096}", re.ASCII)
_INDEX = "index.docker.io"


@dataclass(frozen=True, slots=True)
class Asking:
    """`authConfig` and `metaHeaders` of a job: who asks, and headers `X-Meta-...` of each request."""

    username: str = ""
    password: str = field(default="", repr=False)
    email: str = ""
    address: str = ""
    meta: tuple[tuple[str, str], ...] = ()

    @classmethod
    def read(cls, env: Env) -> Asking:
        """`Invalid` for what is not as Docker's client sent it."""
        fields = _object(env, "authConfig")
        known: dict[str, str] = {}
        for key in ("username", "password", "email", "serveraddress"):
            value = fields.get(key, "")
            if not isinstance(value, str):
                raise Invalid(f"authConfig: {key} is not a string")
            known[key] = value
        meta: list[tuple[str, str]] = []
        for name, values in _object(env, "metaHeaders").items():
            for each in values if isinstance(values, list) else [values]:
                if not _META.fullmatch(name) or not isinstance(each, str) or not _VALUE.fullmatch(each):
                    raise Invalid(f"metaHeaders: {name[:80]!r} is no header X-Meta-... with text")
                meta.append((name, each))
        return cls(known["username"], known["password"], known["email"], known["serveraddress"], tuple(meta))

    @property
    def host(self) -> str:
        """The host that the credentials are for, "" if nobody says."""
        return _host(self.address) if self.address else ""

    @contextmanager
    def session(self, host: str, settings: Settings) -> Iterator[V1Session]:
        """`Unsafe` if the credentials are another host's."""
        if self.username and self.host not in ("", host) and {self.host, host} != {_INDEX, DEFAULT_HOST}:
            raise Unsafe(f"authConfig: is for {self.host}, not for {host}")
        network = settings.network
        if self.username:
            network = replace(network, username=self.username, password=self.password)
        with open_session(host, replace(settings, network=network)) as session:
            session.transport.meta = self.meta
            yield session


def search(store: Store, term: str, asking: Asking, *, work: Work) -> tuple[Found, ...]:
    """What an index finds: Docker's, or that of a host before the term, as `host:5000/term`."""
    host, slash, rest = term.partition("/")
    named = bool(slash) and ("." in host or ":" in host or host == "localhost")
    with asking.session(host if named else DEFAULT_HOST, store.settings) as session:
        return find(session, rest if named else term, job=work)


def authenticate(store: Store, asking: Asking, *, work: Work) -> str:
    """Log in where the credentials are for, Docker's index by default; what to tell the user. Nothing is kept."""
    if not asking.username:
        raise Usage("auth: no user name in authConfig")
    with asking.session(asking.host or DEFAULT_HOST, store.settings) as session:
        return login(session, asking.username, asking.password, asking.email, job=work)


def describe_found(found: Found) -> dict[str, Any]:
    """A row of `search`."""
    return {
        "name": found.name,
        "description": found.description,
        "star_count": found.stars,
        "is_official": found.official,
        "is_trusted": found.automated,
        "is_automated": found.automated,
    }


def reference_of(name: str, tag: str) -> Reference:
    """Where a repository is, by its name in the tag store."""
    return Reference.parse(f"{name}:{tag}")


def _host(address: str) -> str:
    return Url.parse(address if "://" in address else f"https://{address}").authority


def _object(env: Env, key: str) -> dict[str, object]:
    text = env.get(key)
    return load_object(text.encode("utf-8", "surrogateescape"), what=key) if text else {}
