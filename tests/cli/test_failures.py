"""What is said when something fails: of what, and what to do about it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from orlop.model import media
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.document import Document
from tests.support.command_line import Orlop
from tests.support.images import MadeImage, make_image, make_layer, write_layout


@pytest.mark.parametrize("command", ["rm", "untag"])
def test_what_shall_go_is_not_advised_to_be_fetched(filled: Orlop, command: str) -> None:
    told = "orlop: nosuch: not in the store; `orlop images` lists what is\n"
    assert (filled(command, "nosuch").status, filled(command, "nosuch").err) == (3, told)
    assert filled(command, "debian:13").err == "orlop: debian:13: not in the store; did you mean debian:12?\n"


@pytest.mark.parametrize("command", ["digest", "rm", "untag"])
def test_a_malformed_digest_is_no_name(filled: Orlop, command: str) -> None:
    result = filled(command, "sha256:zz")
    told = "orlop: sha256:zz: is no digest: expected 6 to 64 hexadecimal digits\n"
    assert (result.status, result.err) == (2, told)
    missing = filled(command, "sha256:123456")
    assert (missing.status, missing.err) == (
        3,
        "orlop: sha256:123456: not in the store; `orlop images` lists what is\n",
    )


def test_what_is_no_image_is_told_by_the_name_that_was_typed(orlop: Orlop, tmp_path: Path) -> None:
    chart = b"a chart"
    config = Descriptor("application/vnd.cncf.helm.config.v1+json", Digest.of(b"{}"), 2)
    layer = Descriptor("application/vnd.cncf.helm.chart.content.v1.tar+gzip", Digest.of(chart), len(chart))
    fields = {"schemaVersion": 2, "config": config.fields, "layers": [layer.fields], "mediaType": media.OCI_MANIFEST}
    document = Document(json.dumps(fields).encode(), media.OCI_MANIFEST)
    helm = MadeImage(document, {config.digest: b"{}", layer.digest: chart})
    shelf = write_layout(tmp_path / "shelf", {"chart": helm})
    kind = "not an image with a root file system but application/vnd.cncf.helm.config.v1+json"
    for reference in (f"oci:{shelf}:chart", "localhost/shelf:chart"):
        for command in (["unpack"], ["export", "-o"]):
            result = orlop(command[0], reference, *command[1:], str(tmp_path / "out"))
            assert result.status == 1
            assert result.err.splitlines()[-1] == f"orlop: {reference}: {document.digest}: {kind}"


def test_a_layer_that_is_no_tar_is_named(orlop: Orlop, tmp_path: Path) -> None:
    image = make_image([b"sixteen bytes..."], compression="none")
    layer = image.document.layers[0]
    shelf = write_layout(tmp_path / "shelf", {"1": image})
    result = orlop("pull", "-q", f"oci:{shelf}:1")
    told = f"orlop: layer {layer.digest} from oci:{shelf}: tar: ends inside a header, at byte 16\n"
    assert (result.status, result.err) == (1, told)


def test_a_broken_index_of_the_store_is_named_once(filled: Orlop) -> None:
    (filled.store / "index.json").write_text("{")
    result = filled("rm", "debian:12")
    assert result.status == 5
    assert f"orlop: debian:12: {filled.store}/index.json: not JSON at character 1: " in result.err


def test_what_is_no_store_is_not_advised_to_be_made_one(orlop: Orlop, tmp_path: Path) -> None:
    place = tmp_path / "else"
    place.mkdir(mode=0o755)
    (place / "version").write_text("Linux version 6")  # as /proc has one
    result = orlop("images", "--store", str(place))
    told = f"orlop: {place}: holds 'version', so it is no orlop store; name an empty directory\n"
    assert (result.status, result.err) == (1, told)
    assert place.stat().st_mode & 0o777 == 0o755


@pytest.mark.root
def test_what_is_mounted_inside_a_mount_is_named(filled: Orlop, tmp_path: Path) -> None:
    target = tmp_path / "mnt"
    assert filled("mount", "debian:12", str(target)).status == 0
    inner = target / "etc"
    subprocess.run(["/usr/bin/mount", "-t", "tmpfs", "none", str(inner)], check=True)
    try:
        held = filled("umount", str(target))
        assert (held.status, held.err) == (
            1,
            f"orlop: {target}: mount is in use: {inner} is mounted inside; "
            "unmount what is inside first, or all of it with --lazy\n",
        )
    finally:
        subprocess.run(["/usr/bin/umount", str(inner)], check=True)
        assert filled("umount", str(target)).status == 0


def test_a_time_that_is_not_known_is_null(orlop: Orlop, tmp_path: Path) -> None:
    image = make_image([make_layer({"a": b"a"})], config={"created": None, "history": [{"created_by": "x"}]})
    shelf = write_layout(tmp_path / "shelf", {"1": image})
    assert orlop("pull", "-q", f"oci:{shelf}:1").status == 0
    assert orlop("images", "--json").json()[0]["created"] is None
    assert orlop("inspect", "--json", "localhost/shelf:1").json()["created"] is None
    assert orlop("history", "--json", "localhost/shelf:1").json()[0]["created"] is None
    for command in ("images", "inspect", "history"):
        assert orlop(command, *([] if command == "images" else ["localhost/shelf:1"])).status == 0


def test_a_bundle_says_where_it_is_whatever_was_typed(
    filled: Orlop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = filled("bundle", "--json", "debian:12", "b", "true")
    assert made.json()["directory"] == str(tmp_path / "b")
    if os.geteuid() == 0:
        assert filled("umount", "b").status == 0
