from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.images import make_image, make_index, make_layer, small_image, write_layout
from tests.support.serving import Served, serve_layout

SMALL = small_image()
DOCKER = small_image(docker=True)
INDEX = make_index({"linux/amd64": SMALL, "linux/arm64/v8": small_image("zstd", word="arm")})


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    images = {"1": SMALL, "multi": INDEX, "docker": DOCKER, "docker.io/library/debian:12": SMALL}
    with serve_layout(write_layout(tmp_path_factory.mktemp("served"), images), repository="mine") as server:
        yield server


@pytest.mark.peer
@pytest.mark.parametrize("name", ["mine:1", "mine:docker", "library/debian:12", f"mine@{SMALL.digest}"])
def test_skopeo_copies_from_us(served: Served, tmp_path: Path, name: str) -> None:
    source = f"docker://{served.address}/{name}"
    subprocess.run(
        ["/usr/bin/skopeo", "copy", "-q", "--src-tls-verify=false", source, f"dir:{tmp_path}/out"], check=True
    )
    raw = (tmp_path / "out" / "manifest.json").read_bytes()
    expected = DOCKER if name == "mine:docker" else SMALL
    assert raw == expected.document.raw


@pytest.mark.peer
def test_skopeo_copies_all_of_an_index_and_lists_tags(served: Served, tmp_path: Path) -> None:
    run = ["/usr/bin/skopeo", "copy", "-q", "--all", "--src-tls-verify=false"]
    subprocess.run([*run, f"docker://{served.address}/mine:multi", f"oci:{tmp_path}/out:x"], check=True)
    listed = subprocess.run(
        ["/usr/bin/skopeo", "list-tags", "--tls-verify=false", f"docker://{served.address}/mine"],
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
    assert json.loads(listed)["Tags"] == ["1", "docker", "multi"]


@pytest.mark.peer
@pytest.mark.root
def test_podman_pulls_from_us(tmp_path: Path) -> None:
    layer = make_layer({"hello": b"from podman\n"})
    image = make_image([layer])
    layout = write_layout(tmp_path / "layout", {"1": image})
    # podman takes no run root of more than 50 characters
    with tempfile.TemporaryDirectory(prefix="run", dir="/tmp") as run, serve_layout(layout) as server:
        podman = ["/usr/bin/podman", "--root", str(tmp_path / "root"), "--runroot", run, "--storage-driver", "vfs"]
        name = f"{server.address}/images:1"
        subprocess.run([*podman, "pull", "-q", "--tls-verify=false", name], check=True)
        where = subprocess.run([*podman, "image", "mount", name], check=True, stdout=subprocess.PIPE).stdout.decode()
        assert (Path(where.strip()) / "hello").read_bytes() == b"from podman\n"
        subprocess.run([*podman, "image", "umount", name], check=True)
