"""`orlop serve --v1` on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command_line import Orlop
from tests.support.images import small_image, write_layout
from tests.support.serving import serve_store
from tests.support.version_one import ask


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--writable"], "serve: --writable without --v1; only version 1 takes pushes"),
        (["--v1", "--layout", "LAYOUT"], "serve: --v1 with --layout; version 1 shows the store only"),
        (["--v1", "--writable", "--listen", "0.0.0.0:0"], "serve: 0.0.0.0:0: not a loopback address"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, options: list[str], text: str) -> None:
    layout = write_layout(tmp_path / "layout", {"1": small_image()})
    found = Orlop(tmp_path / "store")("serve", *[str(layout) if word == "LAYOUT" else word for word in options])
    assert found.status == 2
    assert text in found.err


def test_without_the_flag_there_is_no_version_1(tmp_path: Path) -> None:
    with serve_store(tmp_path / "store") as server:
        for path in ("/_ping", f"/images/{'0' * 64}/json", "/repositories/a/b/images"):
            assert ask(server, "GET", path).status == 404


def test_an_empty_store_has_nothing_to_show(tmp_path: Path) -> None:
    with serve_store(tmp_path / "store", "--v1") as server:
        assert ask(server, "GET", "/_ping").status == 200
        assert ask(server, "GET", "/search").json()["results"] == []
        assert ask(server, "GET", f"/images/{'0' * 64}/json").error == (404, "Image not found")
