from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command_line import Orlop
from tests.support.images import make_index, small_image, write_layout

IMAGE = small_image()
INDEX = make_index({"linux/amd64": IMAGE, "linux/arm64/v8": small_image("zstd", word="arm")})


@pytest.fixture
def orlop(tmp_path: Path) -> Orlop:
    return Orlop(tmp_path / "store")


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """An OCI layout with the image `one` and the index `many`."""
    return write_layout(tmp_path / "shelf", {"one": IMAGE, "many": INDEX})


@pytest.fixture
def filled(orlop: Orlop, layout: Path) -> Orlop:
    """A store with `debian:12` (an image) and `tools:1` (an index, the amd64 image of it)."""
    for name, new in (("one", "debian:12"), ("many", "ghcr.io/owner/tools:1")):
        assert orlop("pull", "-q", f"oci:{layout}:{name}").status == 0
        assert orlop("tag", f"localhost/shelf:{name}", new).status == 0
        assert orlop("untag", f"localhost/shelf:{name}").status == 0
    return orlop
