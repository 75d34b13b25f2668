"""Challenges, tokens and realms, without any network: the flow is driven by hand."""

from __future__ import annotations

import contextlib
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import Denied, Error, Invalid, Unsafe
from orlop.http.auth import Attempt, Authenticator, Challenge, Flow, Reply, TokenRequest, parse_challenges
from orlop.http.credentials import ANONYMOUS, Credential
from orlop.http.url import Url
from tests.support.lying import CANARY

LOGIN = Credential("user", CANARY, source="a file")
SCOPE = "repository:a/b:pull"
BEARER = 'Bearer realm="https://auth.example.com/token",service="reg",scope="repository:a/b:pull"'


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def authenticator(
    url: str = "https://reg.example.com/", clock: Clock | None = None, *allowed: str, local: bool = False
) -> Authenticator:
    return Authenticator(Url.parse(url), realm_hosts=allowed, local=lambda: local, clock=clock or Clock())


def token(value: str = "t1", **more: Any) -> Reply:
    return Reply(200, (), json.dumps({"token": value, **more}).encode())


def refused(value: str = BEARER) -> Reply:
    return Reply(401, (value,))


def send(flow: Flow, reply: Reply | None) -> Attempt | TokenRequest | None:
    try:
        return flow.send(reply)
    except StopIteration:
        return None


def begin(flow: Flow) -> str:
    """The Authorization of the first attempt."""
    step = next(flow)
    assert isinstance(step, Attempt)
    return step.authorization


def wanted_token(auth: Authenticator, value: str = BEARER, credential: Credential = LOGIN) -> TokenRequest:
    flow = auth.flow(SCOPE, lambda: credential)
    begin(flow)
    step = send(flow, refused(value))
    assert isinstance(step, TokenRequest)
    return step


def test_nothing_is_sent_before_it_is_asked_for() -> None:
    asked: list[int] = []

    def credential() -> Credential:
        asked.append(1)
        return LOGIN

    flow = authenticator().flow(SCOPE, credential)
    assert begin(flow) == ""
    assert send(flow, Reply(200)) is None
    assert not asked


def test_a_token_is_asked_for_and_used() -> None:
    auth = authenticator()
    flow = auth.flow(SCOPE, lambda: LOGIN)
    begin(flow)
    request = send(flow, refused())
    assert isinstance(request, TokenRequest)
    fields = parse_qs(urlsplit(request.url.text).query)
    assert fields == {"service": ["reg"], "scope": [SCOPE], "account": ["user"]}
    assert dict(request.headers) == {"Authorization": LOGIN.basic}
    step = send(flow, token())
    assert step == Attempt("Bearer t1")
    assert send(flow, Reply(200)) is None
    assert begin(auth.flow(SCOPE, lambda: LOGIN)) == "Bearer t1"


def test_an_identity_token_is_exchanged_by_post() -> None:
    request = wanted_token(authenticator(), credential=Credential(identity_token=CANARY, source="a file"))
    assert request.method == "POST"
    fields = parse_qs(request.body.decode())
    assert fields["grant_type"] == ["refresh_token"]
    assert fields["refresh_token"] == [CANARY]
    assert fields["scope"] == [SCOPE]
    assert CANARY not in request.url.text


def test_a_registry_token_is_sent_as_it_is() -> None:
    flow = authenticator().flow(SCOPE, lambda: Credential(registry_token="abc"))
    begin(flow)
    assert send(flow, refused()) == Attempt("Bearer abc")


def test_basic_is_used_when_it_is_all_there_is_and_remembered() -> None:
    auth = authenticator()
    flow = auth.flow(SCOPE, lambda: LOGIN)
    begin(flow)
    assert send(flow, refused('Basic realm="x"')) == Attempt(LOGIN.basic)
    assert send(flow, Reply(200)) is None
    assert begin(auth.flow(SCOPE, lambda: LOGIN)) == LOGIN.basic


def test_without_credentials_a_basic_challenge_is_the_end() -> None:
    flow = authenticator().flow(SCOPE, lambda: ANONYMOUS)
    begin(flow)
    assert send(flow, refused("Basic")) is None


def test_bearer_is_preferred_to_basic_whatever_their_order() -> None:
    flow = authenticator().flow(SCOPE, lambda: LOGIN)
    begin(flow)
    assert isinstance(send(flow, refused(f'Basic realm="x", {BEARER}')), TokenRequest)


def test_CR14_a_refused_token_is_renewed_once_and_never_twice() -> None:
    auth = authenticator()
    flow = auth.flow(SCOPE, lambda: LOGIN)
    begin(flow)
    send(flow, refused())
    send(flow, token("old"))
    again = auth.flow(SCOPE, lambda: LOGIN)
    assert begin(again) == "Bearer old"
    assert isinstance(send(again, refused()), TokenRequest)
    assert send(again, token("new")) == Attempt("Bearer new")
    assert send(again, refused()) is None


def test_CR14_refused_basic_is_not_repeated() -> None:
    auth = authenticator()
    flow = auth.flow(SCOPE, lambda: LOGIN)
    begin(flow)
    send(flow, refused("Basic"))
    assert send(flow, refused("Basic")) is None
    again = auth.flow(SCOPE, lambda: LOGIN)
    assert begin(again) == LOGIN.basic
    assert send(again, refused("Basic")) is None


@pytest.mark.parametrize(
    ("life", "holds"),
    [
        ({}, 60),
        ({"expires_in": 300}, 300),
        ({"expires_in": 5}, 5),
        ({"expires_in": 0}, 60),
        ({"expires_in": -100}, 60),
        ({"expires_in": "300"}, 60),
        ({"expires_in": True}, 60),
        ({"expires_in": 10**12}, 86_400),
        ({"expires_in": 300, "issued_at": "1999-01-01T00:00:00Z"}, 300),
        ({"expires_in": 300, "issued_at": "2999-01-01T00:00:00Z"}, 300),
    ],
)
def test_CR14_a_token_holds_by_our_monotonic_clock(life: dict[str, Any], holds: int) -> None:
    clock = Clock()
    auth = authenticator("https://reg.example.com/", clock)
    flow = auth.flow(SCOPE, lambda: LOGIN)
    begin(flow)
    send(flow, refused())
    send(flow, token(**life))
    clock.now += holds - min(10, holds / 10) - 0.1
    assert begin(auth.flow(SCOPE, lambda: LOGIN)) == "Bearer t1"
    clock.now += 0.2  # early: before it really ends
    assert isinstance(next(auth.flow(SCOPE, lambda: LOGIN)), TokenRequest)


def test_CR14_tokens_are_kept_apart_by_scope_service_realm_and_user() -> None:
    auth = authenticator()
    base = wanted_token(auth)
    other_scope = wanted_token(auth, BEARER.replace("a/b", "c/d"))
    other_service = wanted_token(auth, BEARER.replace('"reg"', '"other"'))
    other_realm = wanted_token(auth, BEARER.replace("/token", "/other"))
    other_user = wanted_token(auth, credential=Credential("else", "x", source="a file"))
    other_registry = wanted_token(authenticator("https://reg2.example.com/"))
    keys = {request.key for request in (base, other_scope, other_service, other_realm, other_user, other_registry)}
    assert len(keys) == 6


def test_CR14_a_token_that_another_thread_got_is_used() -> None:
    auth = authenticator()
    first, second = auth.flow(SCOPE, lambda: LOGIN), auth.flow(SCOPE, lambda: LOGIN)
    for flow in (first, second):
        begin(flow)
        step = send(flow, refused())
    assert isinstance(step, TokenRequest)
    send(first, token())
    assert auth.has(step.key)
    assert send(second, None) == Attempt("Bearer t1")


@pytest.mark.parametrize(
    ("registry", "realm"),
    [
        ("https://reg.example.com/", "http://reg.example.com/token"),
        ("https://reg.example.com/", "https://evil.example/token"),
        ("https://reg.example.com/", "https://example.com.evil.example/token"),
        ("https://reg.example.com/", "https://evilexample.com/token"),
        ("https://ghcr.io/", "https://evil.io/token"),
        ("https://reg.co.uk/", "https://evil.co.uk/token"),
        ("https://10.0.0.1/", "https://11.0.0.1/token"),
        ("https://localhost/", "https://evil.localhost/token"),
        ("http://reg.example.com/", "http://reg.example.com/token"),
    ],
)
def test_CR05_credentials_do_not_go_to_a_realm_that_is_not_the_registrys_own(registry: str, realm: str) -> None:
    with pytest.raises(Unsafe) as failure:
        wanted_token(authenticator(registry), f'Bearer realm="{realm}"')
    assert CANARY not in str(failure.value)


@pytest.mark.parametrize(
    ("registry", "realm"),
    [
        ("https://registry-1.docker.io/", "https://auth.docker.io/token"),
        ("https://registry.gitlab.com/", "https://gitlab.com/jwt/auth"),
        ("https://ghcr.io/", "https://ghcr.io/token"),
        ("https://reg.example.co.uk/", "https://auth.example.co.uk/token"),
        ("https://reg.example.com:5000/", "https://reg.example.com:5001/token"),
    ],
)
def test_CR05_the_realms_of_real_registries_are_taken(registry: str, realm: str) -> None:
    assert wanted_token(authenticator(registry), f'Bearer realm="{realm}"').url.text.startswith(realm)


def test_CR05_plain_realms_are_taken_from_plain_local_registries_only() -> None:
    auth = authenticator("http://127.0.0.1:5000/", local=True)
    assert wanted_token(auth, 'Bearer realm="http://127.0.0.1:5001/token"').url.scheme == "http"


def test_CR05_the_users_list_allows_more() -> None:
    auth = authenticator("https://reg.example.com/", None, "sso.corp.example")
    assert wanted_token(auth, 'Bearer realm="https://sso.corp.example/token"').url.host == "sso.corp.example"


def test_CR05_anonymous_clients_have_nothing_to_lose_at_a_foreign_realm() -> None:
    request = wanted_token(authenticator(), 'Bearer realm="https://other.example/token"', ANONYMOUS)
    assert request.headers == ()


def test_CR05_service_and_scope_are_quoted() -> None:
    value = 'Bearer realm="https://auth.example.com/token",service="a&account=root#x",scope="repository:a/b:pull&x=y"'
    fields = parse_qs(urlsplit(wanted_token(authenticator(), value).url.text).query)
    assert fields["service"] == ["a&account=root#x"]
    assert fields["account"] == ["user"]
    assert "x" not in fields


@pytest.mark.parametrize(
    "body", [b"{}", b"<html>", b'{"token":""}', b'{"token":1}', b'{"token":"a\\r\\nX: y"}', b"[]", b'{"token":"a b"}']
)
def test_RX03_token_answers_that_are_none_are_refused(body: bytes) -> None:
    flow = authenticator().flow(SCOPE, lambda: LOGIN)
    begin(flow)
    send(flow, refused())
    with pytest.raises(Invalid):
        flow.send(Reply(200, (), body))


def test_a_token_server_that_refuses_says_whose_credentials_they_were() -> None:
    flow = authenticator().flow(SCOPE, lambda: LOGIN)
    begin(flow)
    send(flow, refused())
    with pytest.raises(Denied, match="the credentials from a file") as failure:
        flow.send(Reply(401))
    assert CANARY not in str(failure.value)


def test_CR10_secrets_do_not_show_in_what_debuggers_print() -> None:
    request = wanted_token(authenticator())
    text = f"{request!r} {LOGIN!r} {Attempt(LOGIN.basic)!r} {token(CANARY)!r}"
    assert CANARY not in text
    assert LOGIN.basic not in text


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["Basic"], [("basic", {})]),
        (['Basic realm="a, b"'], [("basic", {"realm": "a, b"})]),
        (['BEARER Realm="x",SERVICE="y"'], [("bearer", {"realm": "x", "service": "y"})]),
        (
            ['Bearer realm="x" , scope="a b" , Basic realm="z"'],
            [("bearer", {"realm": "x", "scope": "a b"}), ("basic", {"realm": "z"})],
        ),
        (['Basic realm="z"', 'Bearer realm="x"'], [("basic", {"realm": "z"}), ("bearer", {"realm": "x"})]),
        (["Negotiate, Basic realm=z"], [("negotiate", {}), ("basic", {"realm": "z"})]),
        (["Negotiate abc==, Basic realm=z"], [("negotiate", {}), ("basic", {"realm": "z"})]),
        (["Bearer realm=https://a/b,service=c"], [("bearer", {"realm": "https://a/b", "service": "c"})]),
        (['Bearer realm="a\\"b\\\\c"'], [("bearer", {"realm": 'a"b\\c'})]),
        (['Bearer realm = "x"'], [("bearer", {"realm": "x"})]),
        (["", ", ,"], []),
    ],
)
def test_challenges_are_read(values: list[str], expected: list[tuple[str, dict[str, str]]]) -> None:
    assert parse_challenges(values) == [Challenge(scheme, parameters) for scheme, parameters in expected]


@pytest.mark.parametrize(
    "value", ['Bearer realm="x', '="x"', 'Bearer realm="a",realm="b"', "Bearer=x", ", ".join(["Basic"] * 17)]
)
def test_malformed_challenges_are_refused(value: str) -> None:
    with pytest.raises(Invalid):
        parse_challenges([value])


@given(st.lists(st.text(alphabet=st.sampled_from('Bearer Basic=",\\ \tab/:é\x01'), max_size=60), max_size=4))
def test_challenge_parsing_raises_only_our_errors(values: list[str]) -> None:
    with contextlib.suppress(Error):
        for found in parse_challenges(values):
            assert found.scheme


_WORD = st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=8)
_VALUE = st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)


@given(st.lists(st.tuples(_WORD, st.dictionaries(_WORD, _VALUE, min_size=1, max_size=4)), max_size=4))
def test_well_formed_challenges_come_back_as_they_were_written(challenges: list[tuple[str, dict[str, str]]]) -> None:
    def quote(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    value = ", ".join(
        f"{scheme} " + ", ".join(f"{k}={quote(v)}" for k, v in words.items()) for scheme, words in challenges
    )
    assert parse_challenges([value]) == [Challenge(scheme, words) for scheme, words in challenges]


@given(st.binary(max_size=100))
def test_token_answers_raise_only_our_errors(body: bytes) -> None:
    flow = authenticator().flow(SCOPE, lambda: LOGIN)
    begin(flow)
    send(flow, refused())
    with contextlib.suppress(Error):
        send(flow, Reply(200, (), body))
