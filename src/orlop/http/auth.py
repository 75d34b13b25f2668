"""Who may see a credential, and which: token authentication (distribution `spec/auth/token.md`, `oauth.md`; RFC 9110
section 11) as generators that do no input or output."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from ..errors import Denied, Invalid, Unsafe
from ..model.strict_json import load_object
from .credentials import Credential
from .url import Url

CLIENT_ID = "orlop"
# token.md: "If omitted, this defaults to 60 seconds"
_DEFAULT_LIFE = 60.0
_LONGEST_LIFE = 86_400.0
# a token is renewed before its last tenth, at most this many seconds before its end
_EARLY = 10.0
_CHALLENGES = 16
# tokens that are kept out of messages
_ISSUED = 64
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_QUOTED = re.compile(r'"((?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t\x20-\x7e])*)"', re.ASCII)
# wider than RFC 9110's token: some servers leave URLs unquoted
_BARE = re.compile(r'[^\s",\x00-\x1f\x7f]+', re.ASCII)
_TOKEN = re.compile(r"[\x21-\x7e]{1,65536}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge of a `WWW-Authenticate` header: `scheme` and parameter names in lower case."""

    scheme: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Attempt:
    """Send the request with this Authorization ("" for none) and report the answer."""

    authorization: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """Ask a token server and report the answer, or None if `Authenticator.has(key)` became true meanwhile."""

    method: str
    url: Url
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)
    key: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a step. `challenges` are the values of WWW-Authenticate, from the registry itself only."""

    status: int
    challenges: tuple[str, ...] = ()
    body: bytes = field(default=b"", repr=False)


Flow = Generator[Attempt | TokenRequest, Reply | None, None]


class Authenticator:
    """The authentication of one registry; safe from any thread. Remembers challenges and tokens, by scope."""

    def __init__(
        self, registry: Url, *, realm_hosts: Iterable[str], local: Callable[[], bool], clock: Callable[[], float]
    ) -> None:
        """`local` says whether the registry lies on this machine or a private network; `clock` is monotonic."""
        self._registry = registry
        self._realm_hosts = frozenset(realm_hosts)
        self._local = local
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, Challenge] = {}
        self._tokens: dict[tuple[str, ...], tuple[str, float]] = {}
        self._issued: deque[str] = deque(maxlen=_ISSUED)

    def flow(self, scope: str, credential: Callable[[], Credential]) -> Flow:
        """Drive one request: at most two attempts, and one token between them. `scope` is what the caller expects
        to need; `credential` is asked only when the registry wants one."""
        challenge = self._known.get(scope)
        first = ""
        if challenge is not None:
            first = yield from self._authorization(challenge, scope, credential())
        reply = yield Attempt(first)
        if reply is None or reply.status != 401:
            return
        challenge = self._choose(reply.challenges)
        if challenge is None:
            return
        known = credential()
        if challenge.scheme == "basic" and first.startswith("Basic"):
            return  # the same again would be refused again
        if first.startswith("Bearer") and challenge.scheme == "bearer":
            self._forget(first.removeprefix("Bearer "))
        second = yield from self._authorization(challenge, scope, known)
        if not second:
            return
        self._known[scope] = challenge
        yield Attempt(second)

    @property
    def issued(self) -> set[str]:
        """The last tokens, good and refused ones, so that they can be kept out of messages."""
        with self._lock:
            return set(self._issued)

    def remember(self, secret: str) -> None:
        """Another one to be kept out of messages."""
        with self._lock:
            if secret not in self._issued:
                self._issued.append(secret)

    def has(self, key: tuple[str, ...]) -> bool:
        """Whether there is a token for it that will hold for a while."""
        return bool(self._cached(key))

    def _authorization(
        self, challenge: Challenge, scope: str, credential: Credential
    ) -> Generator[Attempt | TokenRequest, Reply | None, str]:
        if challenge.scheme == "basic":
            return credential.basic
        if credential.registry_token:
            return f"Bearer {_checked_token(credential.registry_token, 'registrytoken')}"
        request = self._token_request(challenge, scope, credential)
        if token := self._cached(request.key):
            return f"Bearer {token}"
        began = self._clock()
        reply = yield request
        if reply is None:
            return f"Bearer {self._cached(request.key)}"
        token, life = _token_of(reply, request.url, credential)
        self.remember(token)
        with self._lock:
            self._tokens[request.key] = (token, began + life - min(_EARLY, life / 10))
        return f"Bearer {token}"

    def _cached(self, key: tuple[str, ...]) -> str:
        token, until = self._tokens.get(key, ("", 0.0))
        return token if self._clock() < until else ""

    def _forget(self, token: str) -> None:
        with self._lock:
            self._tokens = {key: value for key, value in self._tokens.items() if value[0] != token}

    def _choose(self, values: Iterable[str]) -> Challenge | None:
        """Bearer before Basic, as the narrower of the two."""
        challenges = parse_challenges(values)
        for scheme in ("bearer", "basic"):
            for challenge in challenges:
                if challenge.scheme == scheme and (scheme == "basic" or challenge.parameters.get("realm")):
                    return challenge
        return None

    def _token_request(self, challenge: Challenge, scope: str, credential: Credential) -> TokenRequest:
        parameters = challenge.parameters
        secret = bool(credential.basic or credential.identity_token)
        realm = self._checked_realm(parameters["realm"], secret=secret)
        service, scope = parameters.get("service", ""), _widened(parameters.get("scope", scope), scope)
        key = (str(self._registry), realm.text, service, scope, credential.username, credential.source)
        fields = [("service", service)] if service else []
        if credential.identity_token:
            fields = [("grant_type", "refresh_token"), *fields, ("client_id", CLIENT_ID)]
            fields += [("scope", scope), ("refresh_token", credential.identity_token)]
            form = (("Content-Type", "application/x-www-form-urlencoded"),)
            return TokenRequest("POST", realm, form, urlencode(fields).encode("ascii"), key)
        fields += [("scope", part) for part in scope.split(" ") if part]
        headers: tuple[tuple[str, str], ...] = ()
        if credential.basic:
            fields.append(("account", credential.username))
            headers = (("Authorization", credential.basic),)
        path, _, query = realm.target.partition("?")
        query = "&".join(filter(None, (query, urlencode(fields, quote_via=quote, safe=":/,"))))
        target = f"{path}?{query}" if query else path
        return TokenRequest("GET", Url(realm.scheme, realm.host, realm.port, target), headers, b"", key)

    def _checked_realm(self, text: str, *, secret: bool) -> Url:
        """The token server, if the registry may name it (CR05). Its address is checked when it is connected to."""
        realm, registry = self._registry.join(text), self._registry
        listed = self.lists(realm)
        if realm.scheme != "https" and not listed and not (registry.scheme == "http" and self._local()):
            raise Unsafe(f"{registry.authority}: names the token server {realm}, expected https")
        if secret and not listed and not _same_owner(registry.host, realm.host):
            raise Unsafe(
                f"{registry.authority}: wants its credentials sent to {realm.authority}, which is not its own",
                hint=f"if that is right, allow it: realm_hosts = [{realm.authority!r}]",
            )
        return realm

    def lists(self, realm: Url) -> bool:
        """Whether the user allowed this token server by name."""
        return realm.authority in self._realm_hosts or f"{realm.host}:{realm.port}" in self._realm_hosts


def _widened(asked: str, needed: str) -> str:
    """The scope of a challenge, with what else will be needed of the same things: a registry that is asked whether it
    has a blob only wants a token to pull with, and would want another for each that is pushed (token.md, "Scope")."""
    wanted = [part.rpartition(":") for part in needed.split(" ")]
    parts = []
    for thing, colon, actions in (part.rpartition(":") for part in asked.split(" ")):
        more = [action for name, _, each in wanted if name == thing for action in each.split(",")]
        parts.append(thing + colon + ",".join(dict.fromkeys([*actions.split(","), *more])))
    return " ".join(parts)


def _same_owner(registry: str, realm: str) -> bool:
    """Whether two host names are so close that one who answers for the first may ask for the second: equal, or both
    below the registry's parent (auth.docker.io and registry-1.docker.io), if that is no public suffix like co.uk."""
    if registry == realm:
        return True
    labels = registry.split(".")
    parent = labels[1:] if len(labels) > 2 else labels
    suffix = len(parent) < 2 or (len(parent) == 2 and len(parent[1]) == 2 and len(parent[0]) <= 3)
    if suffix or ":" in registry or labels[-1].isdecimal():
        return False
    return realm == ".".join(parent) or realm.endswith("." + ".".join(parent))


def _token_of(reply: Reply, server: Url, credential: Credential) -> tuple[str, float]:
    """The token in a token server's answer, and for how many seconds it holds from when it was asked for."""
    if reply.status in (400, 401, 403):
        who = f"the credentials from {credential.source}" if credential.source else "an anonymous client"
        hint = "log in again" if credential.source else "log in"
        raise Denied(f"{server.authority}: the token server refused {who}", hint=hint)
    if reply.status != 200:
        raise Denied(f"{server.authority}: the token server answered {reply.status}, expected 200")
    fields = load_object(reply.body, what=f"{server.authority}: token")
    token = _checked_token(fields.get("token") or fields.get("access_token"), f"{server.authority}: token")
    life = fields.get("expires_in")
    if not isinstance(life, int | float) or isinstance(life, bool) or life <= 0:
        life = _DEFAULT_LIFE
    return token, min(float(life), _LONGEST_LIFE)


def _checked_token(token: object, what: str) -> str:
    if not isinstance(token, str) or _TOKEN.fullmatch(token) is None:
        raise Invalid(f"{what}: is missing or has characters that no header can carry")
    return token


def parse_challenges(values: Iterable[str]) -> list[Challenge]:
    """All challenges in the values of `WWW-Authenticate`, in order. `Invalid` if one is malformed."""
    result: list[Challenge] = []
    for value in values:
        result.extend(_parse(value))
        if len(result) > _CHALLENGES:
            raise Invalid(f"authentication: more than {_CHALLENGES} challenges")
    return result


def _parse(value: str) -> list[Challenge]:
    result: list[Challenge] = []
    parameters: dict[str, str] = {}
    position = _skip(value, 0, " \t,")
    while position < len(value):
        name = _NAME.match(value, position)
        if name is None:
            raise Invalid("authentication: a challenge is malformed")
        after = _skip(value, name.end(), " \t")
        if result and value[after : after + 1] == "=" and value[after + 1 : after + 2] not in ("", "=", ","):
            text, position = _parameter(value, _skip(value, after + 1, " \t"))
            if parameters.setdefault(name[0].lower(), text) != text:
                raise Invalid(f"authentication: two values for {name[0][:20]!r} in one challenge")
        else:
            parameters = {}
            result.append(Challenge(name[0].lower(), parameters))
            position = _after_scheme(value, name.end())
        position = _skip(value, position, " \t,")
    return result


def _after_scheme(value: str, position: int) -> int:
    """Behind a scheme's name, and behind its token68 if it has one, as in `Negotiate abc==`."""
    if value[position : position + 1] not in ("", " ", "\t", ","):
        raise Invalid("authentication: a challenge is malformed")
    start = _skip(value, position, " \t")
    blob = re.compile(r"[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))", re.ASCII).match(value, start)
    return blob.end() if blob and start > position and value[position] != "," else position


def _parameter(value: str, position: int) -> tuple[str, int]:
    quoted = _QUOTED.match(value, position)
    if quoted:
        return re.sub(r"\\(.)", r"\1", quoted[1]), quoted.end()
    bare = _BARE.match(value, position)
    if bare is None:
        raise Invalid("authentication: a challenge is malformed")
    return bare[0], bare.end()


def _skip(value: str, position: int, characters: str) -> int:
    while position < len(value) and value[position] in characters:
        position += 1
    return position
