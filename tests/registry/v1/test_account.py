"""Logging in to an index of version 1, searching it, and whose credentials are found for it."""

from __future__ import annotations

import base64
import json

import pytest

from orlop.errors import Conflict, Denied, Error, Invalid, Unavailable
from orlop.job import Job
from orlop.registry.v1.account import Found, login, search
from orlop.settings import Network
from tests.support.lying import CANARY, Answer, Lying, redirect
from tests.support.version1 import Version1, fast_client, made_chain

from .conftest import MakeSession

JOB = Job()
USERS = "/v1/users/"
TAKEN = Answer(400, b'"Username or email already exists"')


def test_R09_a_new_name_makes_an_account(registry: Version1, session: MakeSession) -> None:
    registry.index.server.on(USERS, Answer(201, b'"User Created"'))
    assert login(session(registry), "user", CANARY, "a@b.example", job=JOB).startswith("Account created.")
    request = registry.index.server.seen[-1]
    assert request.method == "POST"
    assert json.loads(request.body) == {"username": "user", "password": CANARY, "email": "a@b.example"}


@pytest.mark.parametrize("first", [TAKEN, Answer(401, b'{"error": "no"}')])
def test_R09_a_name_that_is_taken_has_its_password_checked(
    registry: Version1, session: MakeSession, first: Answer
) -> None:
    registry.index.server.on(USERS, first, Answer(200, b'"OK"'))
    assert login(session(registry), "user", CANARY, job=JOB) == "Login Succeeded"
    words = base64.b64encode(f"user:{CANARY}".encode()).decode()
    assert registry.index.server.seen[-1].header("authorization") == f"Basic {words}"
    assert registry.index.server.seen[-1].method == "GET"


@pytest.mark.parametrize(
    ("answers", "error", "text"),
    [
        ((TAKEN, Answer(401)), Denied, "Wrong login/password, please try again"),
        ((TAKEN, Answer(403)), Denied, "Login: Account is not Active."),
        ((TAKEN, Answer(418, b'"tea"')), Invalid, "Unexpected status code [418] : tea"),
        ((TAKEN, Answer(500)), Unavailable, "answered 500"),
        ((Answer(400, b'"Too short"'),), Invalid, "Registration: Too short"),
        ((Answer(409, b'"x"'),), Conflict, "Unexpected status code [409] : x"),
        ((Answer(500),), Unavailable, "Unexpected status code [500]"),
        ((Answer(400, b'"%s"' % CANARY.encode()),), Invalid, "Registration: ***"),
    ],
)
def test_R09_what_a_login_says_when_it_fails(
    registry: Version1, session: MakeSession, answers: tuple[Answer, ...], error: type[Error], text: str
) -> None:
    registry.index.server.on(USERS, *answers)
    with pytest.raises(error) as caught:
        login(session(registry, retries=0), "user", CANARY, job=Job(retries=0))
    assert text in caught.value.message
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_R09_CR02_a_password_is_not_redirected(registry: Version1, session: MakeSession, status: int) -> None:
    with Lying() as other:
        registry.index.server.on(USERS, redirect(f"{other.url}{USERS}", status))
        with pytest.raises(Invalid):
            login(session(registry), "user", CANARY, job=JOB)
        assert other.seen == []


def test_R09_a_search_gives_what_the_index_found(registry: Version1, session: MakeSession) -> None:
    results = [
        {"name": "a/b", "description": "words", "star_count": 3, "is_official": True, "is_trusted": True},
        {"name": "c", "description": None},
    ]
    body = json.dumps({"query": "x y", "num_results": 2, "results": results}).encode()
    registry.index.server.on("/v1/search", Answer(200, body))
    assert search(session(registry), "x y&z=1", job=JOB) == (Found("a/b", "words", 3, True, True), Found("c"))
    assert registry.index.server.seen[-1].target == "/v1/search?q=x%20y%26z%3D1"


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"results": [{}]}', b'{"results": [7]}', b'{"results": {}}', b"x"])
def test_R09_results_that_are_none_are_refused(registry: Version1, session: MakeSession, body: bytes) -> None:
    registry.index.server.on("/v1/search", Answer(200, body))
    with pytest.raises(Invalid):
        search(session(registry), "x", job=JOB)


@pytest.mark.parametrize(
    "key", ["{host}", "http://{host}", "https://{host}", "https://{host}/v1/", "{host}/v1", "{host}/v1/", "{host}/v2/"]
)
def test_R09_a_dockercfg_is_looked_up_by_url_and_by_host(key: str) -> None:
    words = base64.b64encode(f"user:{CANARY}".encode()).decode()
    with Version1(made_chain(1)) as registry:
        entries = {key.format(host=registry.index.host): {"auth": words, "email": "a@b.example"}}
        other = {"other.example": {"auth": base64.b64encode(b"other:secret").decode()}}
        network = Network(
            insecure=registry.hosts, docker_auth_config=json.dumps({"auths": {**other, **entries}}), timeout=5.0
        )
        with fast_client(network) as client:
            registry.session(client).repository_data("app", job=JOB)
        assert registry.index.server.seen[0].header("authorization") == f"Basic {words}"


def test_R09_CR06_without_an_entry_of_its_own_a_registry_gets_no_other_s(registry: Version1) -> None:
    words = base64.b64encode(f"user:{CANARY}".encode()).decode()
    entries = {"https://index.docker.io/v1/": {"auth": words}, "127.0.0.1": {"auth": words}}
    network = Network(insecure=registry.hosts, docker_auth_config=json.dumps({"auths": entries}), timeout=5.0)
    with fast_client(network) as client:
        registry.session(client).repository_data("app", job=JOB)
    assert registry.index.server.secrets() == []
