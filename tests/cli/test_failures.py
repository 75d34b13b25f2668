"""What is said when something fails: of what, and what to do about it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orlop.model import media
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.document import Document
from tests.support.command_line import Orlop
from tests.support.images import MadeImage, write_layout


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
