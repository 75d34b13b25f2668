"""Bad input at the command line: one clear line, the right exit code, and the store as it was."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.images import MadeImage, blob_name, make_image, make_layer, small_image, write_layout
from tests.support.lying import Answer, Lying, blob
from tests.support.stores import opened
from tests.support.stranger import Stranger
from tests.support.throttled import throttled


def _fails(store: Path, *arguments: str, status: int, says: str) -> None:
    """One line on stderr that has `says` in it, nothing on stdout, this exit code."""
    command = [sys.executable, "-m", "orlop", "--store", str(store), "--progress", "none", *arguments]
    environment = {"PATH": os.environ["PATH"], "HOME": str(store.parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("orlop: ")
    assert says in lines[0]


def _manifest(image: MadeImage) -> Answer:
    return Answer(200, image.document.raw, (("Content-Type", image.document.media_type),))


def test_an_unknown_host(tmp_path: Path) -> None:
    arguments = ("pull", "--retry", "0", "docker://registry.invalid/app:1")
    _fails(tmp_path / "store", *arguments, status=1, says="registry.invalid")


def test_nobody_listens(tmp_path: Path) -> None:
    with throttled({}) as registry:
        host = registry.host
    arguments = ("pull", "--retry", "0", "--insecure", host, f"docker://{host}/app:1")
    _fails(tmp_path / "store", *arguments, status=1, says="refused")


def test_an_unknown_tag_and_platform(tmp_path: Path) -> None:
    with throttled({"1": small_image()}) as registry:
        prefix = ("pull", "--insecure", registry.host)
        name = f"docker://{registry.host}/app"
        _fails(tmp_path / "store", *prefix, f"{name}:nope", status=3, says="app:nope")
        _fails(tmp_path / "store", *prefix, "--platform", "plan9/mips", f"{name}:1", status=3, says="linux/amd64")


@pytest.mark.parametrize("reference", ["Debian:12", "debian:", "debian@sha256:12", "oci:", "v1:x", "a//b", ""])
def test_a_name_that_cannot_be_one(tmp_path: Path, reference: str) -> None:
    _fails(tmp_path / "store", "pull", reference, status=2, says="reference")


def test_what_is_not_there(tmp_path: Path) -> None:
    _fails(tmp_path / "store", "mount", "--pull", "never", "debian:12", status=3, says="not in the store")
    _fails(tmp_path / "store", "pull", f"oci:{tmp_path}/none", status=3, says="none")
    _fails(tmp_path / "store", "pull", f"docker-archive:{tmp_path}/none.tar", status=3, says="none.tar")
    _fails(tmp_path / "store", "umount", str(tmp_path), status=3, says="not mounted")


def test_what_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "file.tar").write_bytes(b"hello" * 1000)
    (tmp_path / "dir").mkdir()
    for transport in ("docker-archive", "oci-archive"):
        _fails(tmp_path / "store", "pull", f"{transport}:{tmp_path}/file.tar", status=1, says="file.tar")
    _fails(tmp_path / "store", "pull", f"oci:{tmp_path}/dir", status=1, says="not an OCI layout")


@pytest.mark.parametrize("raw", [b"{", b"[]", b'{"schemaVersion": 2}', b"<html>", b"\xff\xfe", b'{"a":1,"a":2}'])
def test_PA10_broken_json(tmp_path: Path, raw: bytes) -> None:
    with Lying() as server:
        server.on("/v2/app/manifests/1", Answer(200, raw, (("Content-Type", "application/json"),)))
        arguments = ("pull", "--insecure", server.host, f"docker://{server.host}/app:1")
        _fails(tmp_path / "store", *arguments, status=1, says=f"orlop: docker://{server.host}/app:1: manifest: ")


def test_ST15_a_store_of_a_newer_version(tmp_path: Path) -> None:
    with opened(tmp_path / "store"):
        pass
    (tmp_path / "store/version").write_text('{"format": 9, "needs": []}')
    for command in (["images"], ["gc"], ["pull", "debian"]):
        _fails(tmp_path / "store", *command, status=1, says="format 9")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB in a file."""
    image, place = tmp_path / "disk", tmp_path / "small"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
    subprocess.run(["/usr/bin/mount", "-o", "loop", str(image), str(place)], check=True)
    yield place
    subprocess.run(["/usr/bin/umount", str(place)], check=True)


@pytest.mark.root
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_ST03_no_space(tmp_path: Path, small_disk: Path, compression: str) -> None:
    # gzip: the blob fits, its plain tar does not
    layer = make_layer({"zeros": b"\0" * (20 << 20)} if compression == "gzip" else {"noise": os.urandom(20 << 20)})
    small, big = small_image(), make_image([layer], compression=compression)  # type: ignore[arg-type]
    write_layout(tmp_path / "layout", {"small": small, "big": big})
    store = small_disk / "store"
    with opened(store) as mine:
        mine.pull(f"oci:{tmp_path}/layout:small")
    _fails(store, "pull", f"oci:{tmp_path}/layout:big", status=7, says="space")
    with opened(store) as mine:
        assert mine.names() == ["localhost/layout:small"]
        assert mine.fsck().findings == ()
        assert mine.pull(f"oci:{tmp_path}/layout:small").digest == small.digest
    assert list((store / "sessions").iterdir()) == []


@pytest.mark.root
def test_ST03_a_plain_layer_that_will_not_fit_is_refused_before_it_is_fetched(tmp_path: Path, small_disk: Path) -> None:
    image = make_image([make_layer({"noise": os.urandom(5 << 20)})], compression="none")
    write_layout(tmp_path / "layout", {"one": image})
    _fails(small_disk / "store", "pull", f"oci:{tmp_path}/layout:one", status=7, says="at least 10")
    with opened(small_disk / "store") as store:
        assert store.df().partial_bytes == 0
        assert store.pull(f"oci:{tmp_path}/layout:one", download_only=True).digest == image.digest


@pytest.mark.root
def test_ST03_no_space_for_the_output_names_it(tmp_path: Path, small_disk: Path) -> None:
    image = make_image([make_layer({"zeros": b"\0" * (20 << 20)})], compression="gzip")
    write_layout(tmp_path / "layout", {"big": image})
    with opened(tmp_path / "store") as mine:
        mine.pull(f"oci:{tmp_path}/layout:big")
    target = f"{small_disk}/x.tar"
    told = f"{target}: no space left on device; free some space"
    _fails(tmp_path / "store", "export", "localhost/layout:big", "-o", target, status=7, says=told)
    assert not Path(target).exists()
    assert [path.name for path in small_disk.iterdir()] == ["lost+found"]


@contextmanager
def _asking_for_a_password() -> Iterator[Lying]:
    with Lying() as server:
        server.on("/v2/app/manifests/1", Answer(401, b"", (("WWW-Authenticate", 'Basic realm="r"'),)))
        yield server


@pytest.mark.root
def test_no_permission(stranger: Stranger, tmp_path: Path) -> None:
    with (
        tempfile.TemporaryDirectory(dir="/tmp", prefix="orlop-") as place,
        _asking_for_a_password() as server,
    ):
        os.chmod(place, 0o755)
        write_layout(Path(place) / "app", {"1": small_image()})
        home = Path(place, "home")
        home.mkdir()
        os.chown(home, stranger.uid, stranger.uid)
        fetch = ["pull", f"docker://{server.host}/app:1", "--retry", "0"]
        wanted = {
            "/var/lib/orlop-of-root": ["--store", "/var/lib/orlop-of-root/store", "images"],
            "/etc/x.tar": ["export", "localhost/app:1", "-o", "/etc/x.tar"],
            "/etc/unpacked": ["unpack", "localhost/app:1", "/etc/unpacked"],
            "config /etc/shadow": ["images", "--config", "/etc/shadow"],
            "credentials /etc/shadow": [*fetch, "--insecure", server.host, "--authfile", "/etc/shadow"],
            "certificate /etc/shadow": [*fetch, "--ca-file", "/etc/shadow"],
            "mount: needs root": ["mount", "localhost/app:1"],
        }
        pulled = stranger("-m", "orlop", "pull", f"oci:{place}/app:1", environment={"HOME": str(home)})
        assert pulled.returncode == 0, pulled.stderr
        for subject, arguments in wanted.items():
            done = stranger("-m", "orlop", *arguments, environment={"HOME": str(home)})
            assert done.returncode == 4, done.stderr
            assert done.stderr.startswith("orlop: ")
            assert done.stderr.count(subject) == done.stderr.count("\n") == 1, done.stderr


def test_files_of_the_command_line_that_are_not_there(tmp_path: Path) -> None:
    store, none = tmp_path / "store", f"{tmp_path}/none"
    _fails(store, "images", "--config", none, status=3, says=f"config {none}: no such file")
    with _asking_for_a_password() as server:
        fetch = ("pull", f"docker://{server.host}/app:1", "--retry", "0")
        plain = (*fetch, "--insecure", server.host, "--authfile", none)
        _fails(store, *plain, status=3, says=f"credentials {none}: no such file")
        _fails(store, *fetch, "--client-cert", none, status=3, says=f"certificate {none}")
    _fails(store, "images", "--config", str(tmp_path), status=1, says=f"config {tmp_path}: cannot be read: is a dir")


def test_a_result_that_cannot_be_written() -> None:
    for arguments in (["--version"], ["--help"], ["completion", "fish"]):
        with open("/dev/full", "wb") as full:
            command = [sys.executable, "-m", "orlop", *arguments]
            bare = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
            done = subprocess.run(
                command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60, env=bare
            )
        told = "orlop: standard output: no space left on device; free some space\n"
        assert (done.returncode, done.stderr) == (7, told)


def test_CR12_a_registry_that_serves_something_else(tmp_path: Path) -> None:
    image, other = small_image(), small_image(word="other")
    layer = image.document.layers[0]
    content = image.blobs[layer.digest]
    flipped = bytes([content[0] ^ 1]) + content[1:]
    lies = {
        "flipped": Answer(200, flipped),
        "short": Answer(200, content[:-5]),
        "long": Answer(200, content + b"x"),
        "too little": Answer(200, content, length=len(content) + 7),
    }
    with Lying() as server:
        server.on(
            "/v2/app/manifests/1", Answer(200, image.document.raw, (("Content-Type", image.document.media_type),))
        )
        for digest, body in image.blobs.items():
            server.on(f"/v2/app/blobs/{digest}", blob(body))
        base = ("pull", "--retry", "0", "--insecure", server.host)
        for lie in lies.values():
            server.on(f"/v2/app/blobs/{layer.digest}", lie)
            _fails(tmp_path / "store", *base, f"docker://{server.host}/app:1", status=5, says=layer.digest[:15])
            with opened(tmp_path / "store") as store:
                assert store.images() == []
                assert store.fsck().findings == ()
                assert not (tmp_path / "store" / blob_name(layer.digest)).exists()
        asked = f"/v2/app/manifests/{image.digest}"
        server.on(asked, Answer(200, other.document.raw, (("Docker-Content-Digest", image.digest),)))
        by_digest = f"docker://{server.host}/app@{image.digest}"
        _fails(tmp_path / "store", *base, by_digest, status=5, says=image.digest)


def test_NF03_a_server_that_ignores_ranges_is_started_over(tmp_path: Path) -> None:
    image = make_image([make_layer({"file": os.urandom(3 << 20)})])
    layer = image.document.layers[0]
    content = image.blobs[layer.digest]
    config = image.document.config
    assert config is not None
    with Lying() as server:
        server.on(
            "/v2/app/manifests/1", Answer(200, image.document.raw, (("Content-Type", image.document.media_type),))
        )
        server.on(f"/v2/app/blobs/{config.digest}", blob(image.config))
        path = f"/v2/app/blobs/{layer.digest}"
        base = ("pull", "--retry", "0", "--insecure", server.host, f"docker://{server.host}/app:1")
        server.on(path, Answer(200, content, cut=2 << 20))
        _fails(tmp_path / "store", *base, status=1, says="closed the connection")
        server.on(path, Answer(200, content))  # whatever range was asked for
        with opened(tmp_path / "store", insecure=[server.host]) as store:
            assert store.df().partial_bytes > 0
            store.pull(f"docker://{server.host}/app:1")
            assert store.fsck().findings == ()
        assert server.asked(path)[-1].header("range").startswith("bytes=")


def test_the_same_name_may_move(tmp_path: Path) -> None:
    one, two = small_image(), small_image(word="two")
    with throttled({"1": one}) as registry, opened(tmp_path / "store", insecure=[registry.host]) as store:
        assert store.pull(f"docker://{registry.host}/app:1").digest == one.digest
    moved = dataclasses.replace(two)
    with throttled({"1": moved}) as registry, opened(tmp_path / "store", insecure=[registry.host]) as store:
        assert store.pull(f"docker://{registry.host}/app:1").digest == two.digest
