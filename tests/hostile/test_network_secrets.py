"""Registries that fish for credentials, met by the whole program: each way that once worked somewhere, with the
password found nowhere but at the registry it is for."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.images import MadeImage, small_image
from tests.support.lying import CANARY, Answer, Handler, Lying, Seen, blob, challenge, redirect, serve_image
from tests.support.registries import docker_config

IMAGE = small_image()
OTHER_IMAGE = small_image(word="other")
BLOBS = {f"/v2/app/blobs/{digest}": content for digest, content in IMAGE.blobs.items()}
LAYER = f"/v2/app/blobs/{IMAGE.document.layers[0].digest}"
MANIFEST = "/v2/app/manifests/1"
TAGS = "/v2/app/tags/list"
TOKEN = Answer(200, b'{"token":"t0ken-of-the-registry"}')


def forms(secret: str) -> set[bytes]:
    """How a secret may look in bytes: as it is, in hexadecimal, and inside base64, at each of the three offsets."""
    raw = secret.encode()
    inside = {base64.b64encode(b"x" * offset + raw)[4 if offset else 0 : -4] for offset in range(3)}
    return {raw, raw.upper(), raw.hex().encode(), *inside}


def found(place: bytes, *secrets: str) -> list[bytes]:
    return [form for secret in secrets for form in forms(secret) if form in place]


@dataclass
class Desk:
    """A registry, another host, and a user who has a password for the first."""

    folder: Path
    registry: Lying
    other: Lying
    secrets: tuple[str, ...] = (CANARY, "t0ken-of-the-registry")
    environment: dict[str, str] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)

    @property
    def image(self) -> str:
        return f"docker://{self.registry.host}/app:1"

    def log_in(self, kind: str = "basic", host: str = "") -> None:
        token = f"refresh-{CANARY}" if kind == "identity" else ""
        self.flags += ["--authfile", str(docker_config(self.folder, host or self.registry.host, identity_token=token))]

    def run(self, *arguments: str, status: int | None = None, stdin: str = "") -> str:
        """What `orlop` said, on both streams and with all that -vv shows, without a secret in it or left behind."""
        store = self.folder / "store"
        command = [sys.executable, "-m", "orlop", "--store", str(store), "-vv", "--progress", "json", *arguments]
        command += ["--retry", "1", "--timeout", "5", "--insecure", self.registry.host, *self.flags]
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), **self.environment}
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, env=environment)
        said = done.stdout + done.stderr
        assert "Traceback" not in said, said
        assert found(said.encode(), *self.secrets) == [], said
        assert status is None or done.returncode == status, said
        for file in store.rglob("*"):
            if file.is_file():
                assert found(file.read_bytes(), *self.secrets) == [], file
        return said


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Lying() as registry, Lying(address="127.0.0.2") as other:
        serve_image(registry, IMAGE)
        made = Desk(tmp_path, registry, other)
        yield made
        assert found(bytes(other.arrived), *made.secrets) == []
        assert other.secrets() == []


def behind(answer: Answer | Handler, challenged: str) -> Handler:
    """The answer to those who show a credential, the challenge to others."""

    def handler(request: Seen) -> Answer:
        if not request.header("authorization"):
            return challenge(challenged)
        return answer if isinstance(answer, Answer) else answer(request)

    return handler


def guard(desk: Desk, scheme: str) -> str:
    """Let the registry's own paths want a login; returns its challenge."""
    challenged = 'Basic realm="here"' if scheme == "basic" else f'Bearer realm="{desk.registry.url}/token",service="s"'
    desk.registry.on("/token", TOKEN)
    manifest = Answer(200, IMAGE.document.raw, (("Content-Type", IMAGE.document.media_type),))
    desk.registry.on(MANIFEST, behind(manifest, challenged))
    for path, content in BLOBS.items():
        desk.registry.on(path, behind(blob(content), challenged))
    return challenged


LOGINS = [("basic", "basic"), ("basic", "bearer"), ("identity", "bearer")]


@pytest.mark.parametrize(("kind", "scheme"), LOGINS)
def test_CR02_every_blob_elsewhere_comes_without_credentials(desk: Desk, kind: str, scheme: str) -> None:
    desk.log_in(kind)
    challenged = guard(desk, scheme)
    for number, (path, content) in enumerate(BLOBS.items()):
        # elsewhere and straight back and elsewhere again, as signed URLs may be
        desk.registry.on(path, behind(redirect(f"{desk.other.url}/hop{number}"), challenged))
        desk.other.on(f"/hop{number}", redirect(f"{desk.registry.url}/back{number}"))
        desk.registry.on(f"/back{number}", redirect(f"{desk.other.url}/blob{number}"))
        desk.other.on(f"/blob{number}", blob(content))
    desk.run("pull", "--json", desk.image, status=0)
    backs = [request for request in desk.registry.seen if request.path.startswith("/back")]
    assert len(backs) == len(BLOBS)
    assert not any(request.header("authorization") for request in backs)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("kind", ["basic", "identity"])
def test_CR02_CR03_a_token_server_that_leads_elsewhere_takes_nothing_along(desk: Desk, kind: str, status: int) -> None:
    desk.log_in(kind)
    guard(desk, "bearer")
    desk.registry.on("/token", redirect(f"{desk.other.url}/token", status))
    desk.other.on("/token", Answer(401))
    desk.run("pull", desk.image, status=4)
    # a GET follows, bare; a POST with the refresh token in it never does
    assert len(desk.other.seen) in ((1, 2) if kind == "basic" else (0,))


@pytest.mark.parametrize("header", ["Location", "Content-Location", "Refresh", "Link", "Docker-Upload-UUID"])
def test_CR03_headers_that_mean_nothing_here_lead_nowhere(desk: Desk, header: str) -> None:
    desk.log_in()
    guard(desk, "basic")
    fishing = (("Content-Type", IMAGE.document.media_type), (header, f"{desk.other.url}/x"))
    desk.registry.on(MANIFEST, behind(Answer(200, IMAGE.document.raw, fishing), "Basic"))
    desk.run("pull", desk.image, status=0)
    assert desk.other.connections == 0


def test_CR01_the_urls_of_a_foreign_layer_are_not_followed(desk: Desk) -> None:
    desk.log_in()
    fields = json.loads(IMAGE.document.raw)
    fields["layers"][0] |= {
        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "urls": [f"{desk.other.url}/layer", "http://169.254.169.254/latest"],
    }
    raw = json.dumps(fields).encode()
    guard(desk, "basic")
    desk.registry.on(MANIFEST, behind(Answer(200, raw, (("Content-Type", IMAGE.document.media_type),)), "Basic"))
    desk.registry.on(LAYER, behind(Answer(404), "Basic"))
    desk.run("pull", desk.image, status=3)
    assert desk.other.connections == 0


@pytest.mark.parametrize("form", ["<http://{}/next>", "<//{}/next>", "<http://{}\\@x/next>", "<http://user:pw@{}/>"])
@pytest.mark.parametrize("kind", ["basic", "identity"])
def test_CR04_the_next_page_elsewhere_is_not_asked_for(desk: Desk, kind: str, form: str) -> None:
    desk.log_in(kind)
    guard(desk, "bearer")
    page = Answer(200, b'{"tags":["1"]}', (("Link", f'{form.format(desk.other.host)}; rel="next"'),))
    desk.registry.on(TAGS, behind(page, f'Bearer realm="{desk.registry.url}/token"'))
    said = desk.run("tags", desk.image)
    assert "another origin" in said or "malformed" in said
    assert desk.other.connections == 0


@pytest.mark.parametrize(
    "form", ["http://{}/token", "//{}/token", "http://{}", "http://127.0.0.1@{}/", "http://{}\\@x/"]
)
@pytest.mark.parametrize("kind", ["basic", "identity"])
def test_CR05_a_realm_elsewhere_is_not_asked(desk: Desk, kind: str, form: str) -> None:
    desk.log_in(kind)
    realm = form.format(desk.other.host).replace("\\", "\\\\")
    desk.registry.on(MANIFEST, challenge(f'Bearer realm="{realm}",service="s",scope="repository:app:pull"'))
    assert desk.run("pull", desk.image) != ""
    assert desk.other.connections == 0


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
@pytest.mark.parametrize("place", ["127.0.0.1", "{0}0", "127.0.0.2:{1}", "docker.io", "https://index.docker.io/v1/"])
def test_CR06_a_password_for_another_host_stays_here(desk: Desk, place: str, scheme: str) -> None:
    desk.log_in(host=place.format(desk.registry.host, desk.registry.port))
    guard(desk, scheme)
    desk.registry.on("/token", Answer(401))
    desk.run("pull", desk.image, status=4)
    assert found(bytes(desk.registry.arrived), CANARY) == []
    assert desk.registry.secrets() == []


def test_CR08_without_a_word_of_the_user_only_tls_is_spoken(desk: Desk) -> None:
    desk.log_in(host=desk.other.host)
    desk.run("pull", f"docker://{desk.other.host}/app:1", status=1)
    assert desk.other.seen == []
    assert bytes(desk.other.arrived[:1]) == b"\x16"


def test_CR09_a_helper_is_told_the_host_and_nothing_else(desk: Desk) -> None:
    bin_folder = desk.folder / "bin"
    bin_folder.mkdir()
    helper = bin_folder / "docker-credential-test"
    (desk.folder / "answer").write_text(json.dumps({"Username": "user", "Secret": CANARY}))
    helper.write_text(
        f'#!/bin/sh\ncat > "{desk.folder}/asked"; echo "$@" > "{desk.folder}/told"; env >> "{desk.folder}/told"\n'
        f'cat "{desk.folder}/answer"; cat "{desk.folder}/answer" >&2; exit $(cat "{desk.folder}/status")\n'
    )
    helper.chmod(0o755)
    (desk.folder / ".docker").mkdir()
    (desk.folder / ".docker/config.json").write_text(json.dumps({"credsStore": "test"}))
    desk.environment["PATH"] = f"{bin_folder}:{os.environ['PATH']}"
    guard(desk, "basic")
    for status, expected in ((0, 0), (1, 4)):
        (desk.folder / "status").write_text(str(status))
        desk.run("pull", desk.image, status=expected)
    assert (desk.folder / "asked").read_text() == desk.registry.host
    assert (desk.folder / "told").read_text().startswith("get\n")
    assert found((desk.folder / "told").read_bytes(), CANARY) == []


ECHOES = [("authfile", echo) for echo in ("error", "warning", "location", "limit", "link", "type", "body")]


@pytest.mark.parametrize(
    ("login", "echo"),
    [*ECHOES, ("creds", "error"), ("creds", "limit"), ("identity", "error"), ("identity", "location")],
)
def test_CR10_a_registry_that_repeats_what_it_was_sent_is_not_quoted(desk: Desk, login: str, echo: str) -> None:
    stdin = ""
    if login == "creds":
        desk.flags, stdin = ["--creds", "-"], f"user:{CANARY}\n"
    else:
        desk.log_in("basic" if login == "authfile" else login)
    challenged = guard(desk, "basic" if login == "creds" else "bearer")
    secret = f"refresh-{CANARY}" if login == "identity" else CANARY
    secrets: list[str] = []

    def token(request: Seen) -> Answer:
        secrets.append(request.header("authorization") + request.body.decode())
        return TOKEN

    def parrot(request: Seen) -> Answer:
        words = f"{request.header('authorization')} {secret} {' '.join(secrets)}"
        return {
            "error": Answer(403, json.dumps({"errors": [{"code": words, "message": words}]}).encode()),
            "warning": Answer(404, b"", (("Warning", f'299 - "{words}"'),)),
            "location": redirect("ftp://x/" + words.replace(" ", "/")),
            "limit": Answer(429, b"", (("RateLimit-Limit", secret), ("Retry-After", "900"))),
            "link": Answer(200, b'{"tags":[]}', (("Link", f"<http://x/{secret}>; rel=next"),)),
            "type": Answer(200, IMAGE.document.raw, (("Content-Type", words),)),
            "body": Answer(500, words.encode(), (("Content-Type", "text/plain"),)),
        }[echo]

    desk.registry.on("/token", token)
    for path in (MANIFEST, TAGS):
        desk.registry.on(path, behind(parrot, challenged))
    for command in (["pull", "--json", desk.image, desk.image], ["tags", "--json", desk.image]):
        desk.run(*command, stdin=stdin)
    assert found(bytes(desk.registry.arrived), CANARY)  # it had something to repeat


def test_CR11_a_signed_url_is_in_no_message_and_no_file(desk: Desk) -> None:
    desk.log_in()
    guard(desk, "basic")
    desk.secrets = (CANARY, "s1gnature-of-storage")
    answers = [Answer(403), Answer(503), Answer(200, b"", cut=9), Answer(403)]
    with Lying(address="127.0.0.3") as storage:
        storage.on("/blob", *answers)
        for path in BLOBS:
            target = f"{storage.url}/blob?X-Amz-Signature=s1gnature-of-storage"
            desk.registry.on(path, behind(redirect(target), "Basic"))
        said = desk.run("pull", "--json", desk.image, desk.image)
        assert storage.host in said
        assert found(bytes(storage.arrived), CANARY) == []


LIES: dict[str, tuple[str, Answer]] = {
    "another manifest": (MANIFEST.replace("1", str(IMAGE.digest)), Answer(200, OTHER_IMAGE.document.raw)),
    "another config": (f"/v2/app/blobs/{IMAGE.document.config.digest}", Answer(200, OTHER_IMAGE.config)),  # type: ignore[union-attr]
    "another layer": (LAYER, Answer(200, next(iter(OTHER_IMAGE.blobs.values())))),
}


@pytest.mark.parametrize("lie", LIES)
def test_CR12_a_pinned_pull_takes_nothing_else_whatever_the_header_says(desk: Desk, lie: str) -> None:
    path, answer = LIES[lie]
    digest = path.rpartition("/")[2]
    headers = (("Docker-Content-Digest", digest), ("ETag", f'"{digest}"'), ("Content-Type", IMAGE.document.media_type))
    desk.registry.on(path, Answer(200, answer.body, headers))
    desk.run("pull", f"docker://{desk.registry.host}/app@{IMAGE.digest}", status=5)
    desk.registry.on(path, Answer(200, content_of(IMAGE, digest), headers))
    desk.run("pull", f"docker://{desk.registry.host}/app@{IMAGE.digest}", status=0)


def content_of(image: MadeImage, digest: str) -> bytes:
    known: dict[Any, bytes] = {image.digest: image.document.raw, **image.blobs}
    return known[digest]


def test_CR13_a_tag_is_resolved_once_and_beside_a_digest_never(desk: Desk) -> None:
    moved = Answer(200, OTHER_IMAGE.document.raw, (("Content-Type", OTHER_IMAGE.document.media_type),))
    first = Answer(200, IMAGE.document.raw, (("Content-Type", IMAGE.document.media_type),))
    desk.registry.on(MANIFEST, first, moved)
    assert str(IMAGE.digest) in desk.run("pull", desk.image, status=0)
    assert len(desk.registry.asked(MANIFEST)) == 1
    assert str(IMAGE.digest) in desk.run("pull", f"{desk.image}@{IMAGE.digest}", status=0)
    assert len(desk.registry.asked(MANIFEST)) == 1


def test_CR14_a_registry_that_is_never_content_is_asked_twice(desk: Desk) -> None:
    desk.log_in()
    for scheme in ('Basic realm="x"', f'Bearer realm="{desk.registry.url}/token"'):
        desk.registry.seen.clear()
        desk.registry.on("/token", TOKEN)
        desk.registry.on(MANIFEST, challenge(scheme))
        desk.run("pull", desk.image, status=4)
        assert len(desk.registry.asked(MANIFEST)) == 2
        assert len(desk.registry.asked("/token")) == (0 if scheme.startswith("Basic") else 1)


@pytest.mark.parametrize("form", ["http://{0}@{1}/x", "http://{1}\\@{0}/x", "http://{1}%2f@{0}/x", "http://{1}%00.x/"])
def test_CR16_redirects_that_parsers_read_differently_are_refused(desk: Desk, form: str) -> None:
    desk.log_in()
    guard(desk, "basic")
    location = form.format(desk.registry.host, desk.other.host)
    desk.registry.on(MANIFEST, behind(redirect(location), "Basic"))
    assert "malformed" in desk.run("pull", desk.image, status=1)
    assert desk.other.connections == 0


@pytest.mark.parametrize("name", ["app", "team/app:1", "library/app", "localhost-app/x", f"app@{IMAGE.digest}"])
def test_CR17_a_short_name_is_asked_for_at_docker_hub_and_nowhere_else(desk: Desk, name: str) -> None:
    desk.log_in()
    desk.environment["https_proxy"] = desk.environment["http_proxy"] = desk.other.url
    desk.run("pull", name)
    assert {request.target for request in desk.other.seen} == {"registry-1.docker.io:443"}
    assert desk.registry.connections == 0


@pytest.mark.parametrize("way", ["location", "realm", "link"])
@pytest.mark.parametrize("host", ["169.254.169.254", "[fd00:ec2::254]", "100.100.100.200", "[::ffff:169.254.169.254]"])
def test_CR18_no_way_leads_to_a_metadata_service(desk: Desk, way: str, host: str) -> None:
    desk.log_in()
    target = f"http://{host}/latest/meta-data/"
    guard(desk, "basic")
    answer = {
        "location": redirect(target),
        "realm": challenge(f'Bearer realm="{target}"'),
        "link": Answer(200, b'{"tags":[]}', (("Link", f"<{target}>; rel=next"),)),
    }[way]
    desk.registry.on(MANIFEST, answer)
    desk.registry.on(TAGS, answer)
    desk.run(*(("tags",) if way == "link" else ("pull",)), desk.image, status=5)
