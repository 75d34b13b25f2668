"""A store is an OCI layout: other tools read it as it is."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.conftest import skopeo
from tests.support.images import make_image, make_index, make_layer, small_image, write_docker_archive, write_layout
from tests.support.stores import opened


@pytest.mark.peer
def test_skopeo_reads_a_store(tmp_path: Path) -> None:
    image = small_image()
    index = make_index(
        {"linux/amd64": image, "linux/arm64": make_image([make_layer({"x": b""})], platform="linux/arm64")}
    )
    write_layout(tmp_path / "layout", {"one": image, "many": index})
    with opened(tmp_path / "store") as store:
        for tag in ("one", "many"):
            store.pull(f"oci:{tmp_path}/layout:{tag}")
    place = f"oci:{tmp_path}/store"
    command = ["/usr/bin/skopeo", "inspect", "--raw", f"{place}:localhost/layout:one"]
    assert subprocess.run(command, check=True, capture_output=True).stdout == image.document.raw
    skopeo("copy", f"{place}:localhost/layout:one", f"dir:{tmp_path}/out")
    manifest = json.loads((tmp_path / "out/manifest.json").read_bytes())
    assert [layer["digest"] for layer in manifest["layers"]] == [layer.digest for layer in image.document.layers]
    with opened(tmp_path / "other") as store:
        assert store.pull(f"{place}:localhost/layout:many").digest == index.digest


def test_a_file_with_one_image_names_it(tmp_path: Path) -> None:
    write_docker_archive(tmp_path / "saved.tar", {"host.example/team/app:1.2": small_image("none", docker=True)})
    write_layout(tmp_path / "layout", {"edge": small_image()})
    write_layout(tmp_path / "nameless", {"": small_image()})
    with opened(tmp_path / "store") as store:
        assert store.pull(f"docker-archive:{tmp_path}/saved.tar").name == "host.example/team/app:1.2"
        assert store.pull(f"oci:{tmp_path}/layout").name == "localhost/layout:edge"
        assert store.pull(f"oci:{tmp_path}/nameless").name == "localhost/nameless:latest"
