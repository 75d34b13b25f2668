"""What the client asks a registry of version 1, and what it makes of the answers."""

from __future__ import annotations

import json

import pytest

from orlop.errors import Denied, Error, Invalid, NotFound, Unavailable, Unsafe
from orlop.job import Job
from orlop.model.v1 import ImageId, ImageRecord
from orlop.registry.v1.names import remote_name
from orlop.registry.v1.transport import Ping
from tests.support.lying import Answer, cut_after
from tests.support.version1 import DEAD, TOKEN, Version1, made_chain, made_id

from .conftest import MakeSession

JOB = Job()
PING = "/v1/_ping"


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({}, b"true", Ping("", True)),
        ({}, b"{}", Ping("", True)),
        ({"Version": "0.9", "Standalone": "True"}, b"{}", Ping("0.9", True)),
        ({"Standalone": "true"}, b"", Ping("", True)),
        ({"Standalone": "1"}, b"", Ping("", True)),
        ({"Standalone": "false"}, b"", Ping("", False)),
        ({"Standalone": "0"}, b"", Ping("", False)),
        ({"Standalone": "any"}, b"", Ping("", False)),
        ({}, b'{"version": "1.0", "standalone": false}', Ping("1.0", False)),
        ({"Standalone": "true"}, b'{"version": "1.0", "standalone": false}', Ping("1.0", True)),
        ({}, b"x" * 100_000, Ping("", True)),
    ],
)
@pytest.mark.parametrize("status", [200, 404])
def test_R01_a_ping_is_read_whatever_its_status(
    registry: Version1, session: MakeSession, headers: dict[str, str], body: bytes, expected: Ping, status: int
) -> None:
    fields = tuple((f"X-Docker-Registry-{name}", value) for name, value in headers.items())
    registry.index.server.on(PING, Answer(status, body, fields))
    got = session(registry)
    assert got.ping(job=JOB) == got.ping(job=JOB) == expected
    assert len(registry.index.server.asked(PING)) == 1


@pytest.mark.parametrize("shape", ["{0},{1}", "{0} \t,  {1}", " , {0},, {1},", "{0}|{1}", "{0},{1}|{0}", "|{0}|,|{1}"])
def test_R02_endpoints_come_in_repeated_headers_and_comma_lists_with_blanks(
    registry: Version1, session: MakeSession, shape: str
) -> None:
    hosts = [endpoint.host for endpoint in registry.endpoints]
    registry.index.endpoint_headers = tuple(shape.format(*hosts).split("|"))
    assert session(registry).repository_data("app", job=JOB).endpoints == tuple(hosts)


@pytest.mark.parametrize("headers", [(), ("",), (" , ",)])
def test_R02_without_endpoints_the_index_serves_itself(
    registry: Version1, session: MakeSession, headers: tuple[str, ...]
) -> None:
    registry.index.endpoint_headers = headers
    assert session(registry).repository_data("app", job=JOB).endpoints == (registry.index.host,)


def test_R02_the_images_of_the_list_have_their_checksums(registry: Version1, session: MakeSession) -> None:
    first, second = registry.images
    registry.index.checksums = {first: "tarsum+sha256:ab"}
    data = session(registry).repository_data("app", job=JOB)
    assert data.images == (ImageRecord(ImageId(first), "tarsum+sha256:ab"), ImageRecord(ImageId(second)))
    assert registry.index.server.seen[0].header("x-docker-token") == "true"


@pytest.mark.parametrize("body", [b"", b"{}", b"[7]", b'[{"id": "short"}]', b'[{"id": null}]', b'[{"checksum": "x"}]'])
def test_R02_lists_that_are_none_are_refused(registry: Version1, session: MakeSession, body: bytes) -> None:
    registry.index.server.on("/v1/repositories/library/app/images", Answer(200, body))
    with pytest.raises(Invalid):
        session(registry).repository_data("app", job=JOB)


def test_R03_tokens_are_joined_with_commas_for_every_request_to_an_endpoint(
    registry: Version1, session: MakeSession
) -> None:
    registry.index.token_headers = ("signature=a", "signature=b")
    got = session(registry)
    data = got.repository_data("app", job=JOB)
    assert data.tokens == ("signature=a", "signature=b")
    endpoint, image = data.endpoints[0], ImageId(registry.tags["latest"])
    got.tags(data.endpoints, "app", data.tokens, job=JOB)
    got.ancestry(image, endpoint, data.tokens, job=JOB)
    got.image_json(image, endpoint, data.tokens, job=JOB)
    with got.layer(image, endpoint, data.tokens, -1, job=JOB) as body:
        while body.read(1 << 16):
            pass
    seen = registry.endpoints[0].server.seen
    assert [request.header("authorization") for request in seen] == ["Token signature=a,signature=b"] * 4
    assert registry.index.server.secrets() == []


@pytest.mark.parametrize("standalone", [True, False])
def test_R03_a_registry_that_stands_alone_gets_name_and_password_and_no_token(
    session: MakeSession, standalone: bool
) -> None:
    with Version1(made_chain(1)) as registry:
        registry.index.server.on(PING, Answer(200, b"", (("X-Docker-Registry-Standalone", str(standalone)),)))
        got = session(registry, login=True)
        data = got.repository_data("app", job=JOB)
        got.tags(data.endpoints, "app", data.tokens, job=JOB)
        kinds = [request.header("authorization").partition(" ")[0] for request in registry.index.server.seen]
    assert kinds == ["Basic", "", "Basic" if standalone else "Token"]


@pytest.mark.parametrize("token", ["with\x01control", "\xe9", "\t"])
def test_R03_tokens_that_no_header_may_hold_are_refused(registry: Version1, session: MakeSession, token: str) -> None:
    registry.index.token_headers = (f"a{token}b",)
    with pytest.raises(Invalid, match="malformed tokens"):
        session(registry).repository_data("app", job=JOB)


@pytest.mark.parametrize("wrong", [Answer(500), Answer(400), Answer(401), Answer(200, b"x"), DEAD])
def test_R04_tags_are_asked_for_at_one_endpoint_after_the_other(
    registry: Version1, session: MakeSession, wrong: Answer
) -> None:
    registry.endpoints[0].server.on("/v1/repositories/library/app/tags", wrong)
    got = session(registry, retries=0)
    hosts = [endpoint.host for endpoint in registry.endpoints]
    assert got.tags(hosts, "app", (), job=Job(retries=0)) == registry.tags
    assert len(registry.endpoints[1].server.seen) == 1


def test_R04_not_found_at_one_endpoint_ends_it(registry: Version1, session: MakeSession) -> None:
    registry.endpoints[0].server.on("/v1/repositories/library/app/tags", Answer(404))
    with pytest.raises(NotFound, match="Repository not found"):
        session(registry).tags([endpoint.host for endpoint in registry.endpoints], "app", (), job=JOB)
    assert registry.endpoints[1].server.seen == []


def test_R04_without_an_endpoint_that_answers_it_is_unavailable(registry: Version1, session: MakeSession) -> None:
    for endpoint in registry.endpoints:
        endpoint.dead_after = 0
    hosts = [endpoint.host for endpoint in registry.endpoints]
    with pytest.raises(Unavailable, match="Could not reach any registry endpoint") as caught:
        session(registry, retries=0).tags(hosts, "app", (), job=Job(retries=0))
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    assert len(caught.value.__cause__.exceptions) == 2
    with pytest.raises(Unavailable, match="Could not reach any registry endpoint"):
        session(registry).tags([], "app", (), job=JOB)


@pytest.mark.parametrize("body", [b"[]", b'{"-bad": "%s"}', b'{"x/y": "%s"}', b'{"latest": "abc"}', b'{"latest": 7}'])
def test_R04_tags_that_cannot_be_are_refused(registry: Version1, session: MakeSession, body: bytes) -> None:
    body = body.replace(b"%s", made_id("x").encode())
    registry.index.server.on("/v1/repositories/library/app/tags", Answer(200, body))
    with pytest.raises(Error):
        session(registry).tags([registry.index.host], "app", (), job=JOB)


@pytest.mark.parametrize(
    ("told", "size"), [(None, -1), ("0", 0), ("10240", 10240), ("", -1), ("-1", None), ("1e3", None), ("9" * 30, None)]
)
def test_R05_the_size_of_a_layer_is_minus_one_where_it_is_not_told_and_an_error_where_it_is_no_number(
    registry: Version1, session: MakeSession, told: str | None, size: int | None
) -> None:
    image = registry.images[registry.tags["latest"]]
    headers = () if told is None else (("X-Docker-Size", told),)
    registry.index.server.on(f"/v1/images/{image.id}/json", Answer(200, image.raw, headers))
    got = session(registry)
    if size is None:
        with pytest.raises(Invalid, match="X-Docker-Size"):
            got.image_json(ImageId(image.id), registry.index.host, (), job=JOB)
    else:
        assert got.image_json(ImageId(image.id), registry.index.host, (), job=JOB) == (image.raw, size, "")


@pytest.mark.parametrize(
    "name", ["X-Docker-Checksum-Payload", "X-Docker-Payload-Checksum", "x-docker-checksum-payload"]
)
def test_R11_the_checksum_of_the_payload_has_two_spellings(registry: Version1, session: MakeSession, name: str) -> None:
    image = registry.images[registry.tags["latest"]]
    registry.index.checksum_header = name
    raw, size, checksum = session(registry).image_json(ImageId(image.id), registry.index.host, (), job=JOB)
    assert (raw, size, checksum) == (image.raw, len(image.layer), image.payload)


@pytest.mark.parametrize(
    ("repository", "path"),
    [
        ("app", "library/app"),
        ("library/app", "library/app"),
        ("fooo/bar", "fooo/bar"),
        ("ubuntu-12.04-base", "library/ubuntu-12.04-base"),
        ("docker-rules/docker", "docker-rules/docker"),
        ("____/____", "____/____"),
        ("a2/..x", "a2/..x"),
        ("thisisthelongname", "library/thisisthelongname"),
    ],
)
def test_R08_names_are_a_namespace_and_a_name(repository: str, path: str) -> None:
    assert remote_name(repository) == path


@pytest.mark.parametrize(
    ("repository", "text"),
    [
        ("", "Repository name can't be empty"),
        ("https://github.com/docker/docker", 'Invalid repository name (ex: "registry.domain.tld/myrepos")'),
        ("docker/Docker", "Invalid repository name (Docker)"),
        ("docker///docker", "Invalid repository name (//docker)"),
        ("Docker/docker", "Invalid namespace name (Docker)"),
        ("a/docker", "Invalid namespace name (a)"),
        ("-docker/docker", "Invalid namespace name (-docker)"),
        ("docker-/docker", "Invalid namespace name (docker-)"),
        ("doc--ker/docker", "Invalid namespace name (doc--ker)"),
        ("../etc", "Invalid namespace name (..)"),
        ("docker/..", "Invalid repository name (..)"),
        ("docker/.", "Invalid repository name (.)"),
        ("docker/a/b", "Invalid repository name (a/b)"),
        ("docker/a%2fb", "Invalid repository name (a%2fb)"),
        ("docker/", "Invalid repository name ()"),
        ("a" * 64, "cannot specify 64-byte hexadecimal strings"),
        ("d" * 256 + "/x", "Invalid namespace name"),
        ("d" * 254 + "!/x", "Invalid namespace name"),  # at once
    ],
)
def test_R08_PA17_other_names_are_refused_before_anything_is_asked(
    registry: Version1, session: MakeSession, repository: str, text: str
) -> None:
    with pytest.raises(Invalid) as caught:
        session(registry).repository_data(repository, job=JOB)
    assert text in caught.value.message
    assert registry.index.server.seen == []


def test_R12_a_connection_that_breaks_is_tried_again_with_waits(registry: Version1, session: MakeSession) -> None:
    image = ImageId(registry.tags["latest"])
    path = f"/v1/images/{image}/ancestry"
    registry.index.instead(path, DEAD, Answer(503), cut_after(registry.index.answer, 20), DEAD)
    events: list[str] = []
    job = Job(progress=lambda event: events.append(event.kind), retries=5)
    found = session(registry, retries=5).ancestry(image, registry.index.host, (), job=job)
    assert found == list(registry.images[image].ancestry)
    assert events.count("retry") >= 3


def test_R12_after_the_last_try_the_reason_is_told(registry: Version1, session: MakeSession) -> None:
    image = ImageId(registry.tags["latest"])
    registry.index.server.on(f"/v1/images/{image}/ancestry", DEAD)
    with pytest.raises(Unavailable, match="connection"):
        session(registry).ancestry(image, registry.index.host, (), job=Job(retries=2))


def test_PA18_lists_without_end_are_cut(registry: Version1, session: MakeSession) -> None:
    image = ImageId(registry.tags["latest"])
    endless = Answer(200, json.dumps([made_id(str(number)) for number in range(1000)]).encode())
    registry.index.server.on(f"/v1/images/{image}/ancestry", endless)
    registry.index.server.on(f"/v1/images/{image}/json", Answer(200, b" " * (2 << 20)))
    got, host = session(registry), registry.index.host
    with pytest.raises(Unsafe, match="more than"):
        got.ancestry(image, host, (), job=JOB)
    with pytest.raises(Unsafe, match="more than"):
        got.image_json(image, host, (), job=JOB)


def test_R03_what_a_registry_says_is_shown_without_the_token(registry: Version1, session: MakeSession) -> None:
    """CR10: some servers repeat what they were sent."""
    got = session(registry)
    data = got.repository_data("app", job=JOB)
    image = ImageId(registry.tags["latest"])
    echo = json.dumps({"error": f"Token {TOKEN} is bad"}).encode()
    for endpoint in registry.endpoints:
        endpoint.server.on(f"/v1/images/{image}/json", Answer(400, echo))
    with pytest.raises(Invalid) as caught:
        got.image_json(image, data.endpoints[0], data.tokens, job=JOB)
    assert "is bad" in caught.value.message
    assert "c4fe" not in str(caught.value)


def test_R03_a_token_is_in_no_error_of_the_client_s_either(registry: Version1, session: MakeSession) -> None:
    """CR10: here in the place that it redirects to."""
    got = session(registry)
    data = got.repository_data("app", job=JOB)
    image = ImageId(registry.tags["latest"])
    registry.endpoints[0].server.on(f"/v1/images/{image}/json", Answer(302, b"", (("Location", f"http://{TOKEN}/"),)))
    with pytest.raises(Invalid) as caught:
        got.image_json(image, data.endpoints[0], data.tokens, job=JOB)
    assert "malformed URL" in caught.value.message
    assert "c4fe" not in str(caught.value)


@pytest.mark.parametrize("status", [401, 403])
def test_R03_a_refusal_asks_for_a_login(registry: Version1, session: MakeSession, status: int) -> None:
    registry.index.server.on("/v1/repositories/library/app/images", Answer(status, b'{"error": "no"}'))
    with pytest.raises(Denied, match="login required"):
        session(registry).repository_data("app", job=JOB)
