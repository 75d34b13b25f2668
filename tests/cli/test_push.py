"""`orlop push` and `orlop copy` from the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import IMAGE, INDEX
from tests.support.command_line import Orlop
from tests.support.images import small_image
from tests.support.lying import CANARY, Answer, Lying, challenge
from tests.support.processes import wait_until_idle
from tests.support.receiving import Receiving


@pytest.fixture
def server() -> Iterator[Lying]:
    with Lying() as made:
        yield made


@pytest.fixture
def registry(server: Lying) -> Receiving:
    return Receiving(server)


def test_push_prints_the_digest_and_says_what_went(filled: Orlop, registry: Receiving, server: Lying) -> None:
    result = filled("push", "debian:12", f"{server.host}/mine:1", "--insecure", server.host)
    assert (result.status, result.lines) == (0, [IMAGE.digest])
    assert registry.tags["mine:1"].raw == IMAGE.document.raw
    assert f"orlop: docker://{server.host}/mine:1: " not in result.err
    assert f"docker://{server.host}/mine:1: " in result.err
    assert " sent" in result.err
    again = filled("push", "debian:12", f"{server.host}/mine:1", "--insecure", server.host)
    assert "0 B sent" in again.err
    assert " were there" in again.err


def test_push_as_json(filled: Orlop, registry: Receiving, server: Lying) -> None:
    assert filled("tag", "debian:12", f"{server.host}/own:1").status == 0
    result = filled("push", f"store:{server.host}/own:1", "--insecure", server.host, "--json", "--progress", "json")
    shown = result.json()
    assert shown.pop("seconds") >= 0
    size = sum(map(len, IMAGE.blobs.values()))
    assert shown == {
        "reference": f"store:{server.host}/own:1",
        "name": f"docker://{server.host}/own:1",
        "digest": IMAGE.digest,
        "manifests": [IMAGE.digest],
        "sent": size,
        "present": 0,
    }
    events = [json.loads(line) for line in result.err.splitlines()]
    assert [event["total"] for event in events if event["event"] == "plan"] == [size]
    assert len([event for event in events if event["event"] == "done"]) == len(IMAGE.blobs)


def test_copy_of_everything_and_of_one(filled: Orlop, registry: Receiving, server: Lying) -> None:
    insecure = ("--insecure", server.host)
    # the store has one platform of it only
    result = filled("copy", "--all", "store:ghcr.io/owner/tools:1", f"{server.host}/tools:1", *insecure)
    assert result.status == 3
    assert "linux/arm64" in result.err
    assert "--platform" in result.err
    result = filled("copy", "store:ghcr.io/owner/tools:1", f"docker://{server.host}/tools:1", *insecure)
    assert (result.status, result.lines) == (0, [IMAGE.digest])
    result = filled("copy", f"{server.host}/tools:1", "store:back:1", *insecure, "-q")
    assert (result.status, result.lines, result.err) == (0, [IMAGE.digest], "")
    assert filled("digest", "back:1").lines == [IMAGE.digest]


def test_copy_all_of_a_layout(filled: Orlop, layout: Path, registry: Receiving, server: Lying) -> None:
    place = f"docker://{server.host}/many:1"
    assert filled("copy", "--all", f"oci:{layout}:many", place, "--insecure", server.host).lines == [INDEX.digest]
    arm = small_image("zstd", word="arm").digest
    one = filled("copy", "--platform", "linux/arm64", f"oci:{layout}:many", place, "--insecure", server.host)
    assert one.lines == [arm]
    assert registry.tags["many:1"].digest == arm


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("push", "docker://debian:12"), 2, "is not in the store; orlop copy docker://debian:12 DEST"),
        (("push", "nosuch:1"), 3, "nosuch:1: not in the store; try docker://nosuch:1"),
        (("push", "debian:12", "store:x"), 2, "orlop tag"),
        (("push", "debian:12", "oci:/x"), 1, "nothing can be copied there yet"),
        (("push", "debian:12", "h.example/UPPER"), 2, "names are lower case"),
        (("push", "{digest}"), 2, "has no name"),
        (("copy", "--all", "--platform", "linux/arm64", "store:debian:12", "h.example/x"), 2, "exclude each other"),
        (("copy", "store:debian:12", "store:x@{digest}"), 2, "expected a name with a tag"),
        (("copy", "--creds", "a:b", "h.example/x", "g.example/x"), 2, "are for one registry"),
    ],
)
def test_what_cannot_be_meant_is_said(filled: Orlop, arguments: tuple[str, ...], status: int, told: str) -> None:
    result = filled(*(each.format(digest=IMAGE.digest) for each in arguments))
    assert (result.status, result.out) == (status, "")
    assert told in result.err


def test_a_refusal_is_one_line_without_a_secret(filled: Orlop, server: Lying) -> None:
    server.otherwise = Answer(403, b'{"errors":[{"code":"DENIED","message":"not %s"}]}' % CANARY.encode())
    refused = challenge('Basic realm="x"')
    server.on(f"/v2/mine/blobs/{IMAGE.document.layers[0].digest}", refused)
    options = ("--insecure", server.host, "--creds", f"user:{CANARY}", "--jobs", "1", "-q")
    result = filled("push", "debian:12", f"{server.host}/mine:1", *options)
    assert result.status == 4
    assert result.err.startswith(f"orlop: {server.host}/mine@sha256:")
    assert len(result.err.splitlines()) == 1
    assert CANARY not in result.err


def test_an_interrupt_ends_a_push_and_says_what_stays(filled: Orlop, registry: Receiving, server: Lying) -> None:
    server.on("/v2/mine/blobs/uploads/", Answer(202, delay=60))
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PATH": os.defpath}
    command = [sys.executable, "-m", "orlop", "--store", str(filled.store), "push", "debian:12"]
    command += [f"{server.host}/mine:1", "--insecure", server.host]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        while not server.asked("/v2/mine/blobs/uploads/"):
            assert process.poll() is None
        wait_until_idle(process.pid)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "what has arrived stays there; run it again to go on" in err
    assert registry.tags == {}
