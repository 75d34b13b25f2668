"""Whom a registry of version 1 may send us to, and who sees which credential."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest

from orlop.errors import Error, Unsafe
from orlop.http.client import Client
from orlop.job import Event, Job
from orlop.model.v1 import ImageId
from orlop.registry.v1.session import V1Session
from orlop.settings import Network
from tests.support.lying import CANARY, Answer, Lying, redirect
from tests.support.version1 import Version1, fast_client, made_chain

from .conftest import MakeSession

JOB = Job()


@pytest.fixture
def stranger() -> Iterator[Lying]:
    """A host that nobody allowed: nothing may arrive there."""
    with Lying() as made:
        yield made
        assert made.connections == 0


def test_PA18_an_endpoint_that_was_not_allowed_is_not_asked(
    registry: Version1, session: MakeSession, stranger: Lying
) -> None:
    events: list[Event] = []
    registry.index.endpoint_headers = (f"{stranger.host},{registry.endpoints[0].host}",)
    data = session(registry, login=True).repository_data("app", job=Job(progress=events.append))
    assert data.endpoints == (registry.endpoints[0].host,)
    assert any(stranger.host in event.text and "endpoint_hosts" in event.text for event in events)


def test_PA18_with_no_other_endpoint_it_is_unsafe(registry: Version1, session: MakeSession, stranger: Lying) -> None:
    registry.index.endpoint_headers = (stranger.host,)
    with pytest.raises(Unsafe, match=r"sends us to .*, which is not its own") as caught:
        session(registry, login=True).repository_data("app", job=JOB)
    assert "endpoint_hosts" in caught.value.hint


def test_PA18_a_caller_cannot_name_another_endpoint_either(
    registry: Version1, session: MakeSession, stranger: Lying
) -> None:
    image = ImageId(registry.tags["latest"])
    with pytest.raises(Unsafe):
        session(registry).image_json(image, stranger.host, ("token",), job=JOB)


def test_PA18_another_port_is_another_host(registry: Version1, session: MakeSession) -> None:
    with pytest.raises(Unsafe):
        session(registry, allowed=()).repository_data("app", job=JOB)
    assert [endpoint.server.connections for endpoint in registry.endpoints] == [0, 0]


@pytest.mark.parametrize(
    "text",
    [
        "user:pw@{host}",
        "{host}/v1",
        "http://{host}",
        "{host}?x",
        "169.254.169.254",
        "[::1",
        "0x7f000001",
        "127.1",
        "a b",
        "../x",
        "localhost:99999",
        "\u0430pp.example",
    ],
)
def test_PA18_endpoints_that_are_no_hosts_are_refused(registry: Version1, session: MakeSession, text: str) -> None:
    registry.index.endpoint_headers = (text.format(host=registry.endpoints[0].host).encode().decode("latin-1"),)
    with pytest.raises(Error):
        session(registry).repository_data("app", job=JOB)
    assert registry.endpoints[0].server.seen == []


def test_PA18_endpoints_without_number_are_refused(registry: Version1, session: MakeSession) -> None:
    registry.index.endpoint_headers = tuple(f"host{number}.example" for number in range(17))
    with pytest.raises(Unsafe, match="17 endpoints"):
        session(registry).repository_data("app", job=JOB)


def test_CR05_name_and_password_go_to_the_registry_alone_and_tokens_to_its_endpoints(
    registry: Version1, session: MakeSession
) -> None:
    got = session(registry, login=True)
    data = got.repository_data("app", job=JOB)
    image = ImageId(registry.tags["latest"])
    for endpoint in data.endpoints:
        got.ancestry(image, endpoint, data.tokens, job=JOB)
    assert registry.index.server.seen[0].header("authorization").startswith("Basic ")
    for each in registry.endpoints:
        assert [request.header("authorization")[:6] for request in each.server.seen] == ["Token "]


def test_CR05_an_endpoint_that_asks_for_the_password_does_not_get_it(registry: Version1, session: MakeSession) -> None:
    registry.index.token_headers = ()
    got = session(registry, login=True)
    data = got.repository_data("app", job=JOB)
    image = ImageId(registry.tags["latest"])
    wants = Answer(401, b"{}", (("WWW-Authenticate", 'Basic realm="all of it"'),))
    for endpoint in registry.endpoints:
        endpoint.server.on(f"/v1/images/{image}/ancestry", wants)
        with pytest.raises(Error, match="login required"):
            got.ancestry(image, endpoint.host, data.tokens, job=JOB)
        assert endpoint.server.secrets() == []


def test_CR05_nothing_goes_over_plain_http_that_was_not_listed() -> None:
    """TLS is tried, and that is all: not a byte of a request arrives (CR08)."""
    with Version1(made_chain(1)) as registry:
        network = Network(username="user", password=CANARY, timeout=5.0, retries=0)
        with fast_client(network, named=registry.index.host) as client:
            with pytest.raises(Error):
                V1Session(registry.index.host, client).repository_data("app", job=Job(retries=0))
        assert registry.index.server.seen == []
        assert CANARY.encode() not in registry.index.server.arrived


def test_CR05_an_endpoint_of_a_plain_registry_is_reached_by_tls_unless_it_was_listed_too(
    registry: Version1,
) -> None:
    hosts = frozenset({registry.index.host})
    network = Network(insecure=hosts, timeout=5.0, retries=0)
    with fast_client(network) as client:
        got = V1Session(registry.index.host, client, allowed=registry.hosts)
        data = got.repository_data("app", job=JOB)
        with pytest.raises(Error):
            got.ancestry(ImageId(registry.tags["latest"]), data.endpoints[0], data.tokens, job=Job(retries=0))
    assert registry.endpoints[0].server.seen == []


def test_R07_a_redirect_to_storage_is_followed_without_credentials(registry: Version1, session: MakeSession) -> None:
    image = registry.images[registry.tags["latest"]]
    with Lying() as storage:
        storage.on("/signed", Answer(200, image.layer))
        registry.endpoints[0].server.on(
            f"/v1/images/{image.id}/layer", redirect(f"{storage.url}/signed?key=1", status=302)
        )
        got = session(registry, login=True)
        data = got.repository_data("app", job=JOB)
        with got.layer(ImageId(image.id), data.endpoints[0], data.tokens, len(image.layer), job=JOB) as body:
            content = b"".join(iter(lambda: body.read(1 << 16), b""))
        assert content == image.layer
        assert storage.secrets() == []
        assert len(storage.seen) == 1


def test_R07_cookies_go_back_to_the_host_that_gave_them_and_no_other(session: MakeSession) -> None:
    with Version1(made_chain(1), endpoints=1) as registry:
        endpoint, image = registry.endpoints[0], ImageId(registry.tags["latest"])
        path = f"/v1/images/{image}/ancestry"
        cookie = ("Set-Cookie", "session=abc; Path=/; HttpOnly")
        right = endpoint.answer

        def baking(request: object) -> Answer:
            plain = right(endpoint.server.seen[-1])
            return Answer(200, plain.body, (*plain.headers, cookie))

        endpoint.server.on(path, baking)
        got = session(registry)
        data = got.repository_data("app", job=JOB)
        for _ in range(2):
            got.ancestry(image, endpoint.host, data.tokens, job=JOB)
        got.repository_data("app", job=JOB)
        assert [request.header("cookie") for request in endpoint.server.seen] == ["", "session=abc"]
        assert [request.header("cookie") for request in registry.index.server.seen] == ["", ""]


def test_CR05_docker_hub_is_asked_where_its_index_was() -> None:
    with Client(Network()) as client:
        assert V1Session("docker.io", client).host == "index.docker.io"
        assert client.url("index.docker.io").text == "https://index.docker.io/"


def test_CR05_tls_of_an_endpoint_is_verified(session: MakeSession) -> None:
    import trustme

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Version1(made_chain(1)) as registry, Lying(tls=context) as secure:
        registry.index.endpoint_headers = (secure.host,)
        got = session(registry, allowed=(secure.host,))
        data = got.repository_data("app", job=JOB)
        with pytest.raises(Error, match="not trusted"):
            got.ancestry(ImageId(registry.tags["latest"]), secure.host, data.tokens, job=Job(retries=0))
        assert secure.seen == []
