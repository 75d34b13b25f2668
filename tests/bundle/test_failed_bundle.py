"""A bundle that could not be made leaves what was there before."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from orlop.errors import NotFound
from tests.support.images import make_image, make_layer, write_layout
from tests.support.stores import opened
from tests.support.stranger import Stranger

pytestmark = pytest.mark.root
IMAGE = make_image([make_layer({"bin/true": b"x"})], config={"config": {"User": "nobody-here", "Cmd": ["/bin/true"]}})
NAME = "localhost/layout:one"

_ROOTLESS = """
import sys
from orlop.errors import NotFound
from orlop.store import Store
with Store.open(sys.argv[1]) as store:
    store.pull(sys.argv[2])
    try:
        store.bundle("localhost/layout:one", sys.argv[3])
    except NotFound as error:
        print(error)
"""


def _prepare(place: Path) -> None:
    (place / "rootfs").mkdir(parents=True)
    (place / "notes").write_text("mine")


@pytest.mark.parametrize("there", [False, True])
def test_root_finds_what_was_there(tmp_path: Path, there: bool) -> None:
    write_layout(tmp_path / "layout", {"one": IMAGE})
    place = tmp_path / "new/b"
    if there:
        _prepare(place)
    with opened(tmp_path / "store") as store:
        store.pull(f"oci:{tmp_path}/layout:one")
        with pytest.raises(NotFound, match="user 'nobody-here'"):
            store.bundle(NAME, place)
        assert store.mounts() == []
    if there:
        assert sorted(os.listdir(place)) == ["notes", "rootfs"]
    else:
        assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("there", [False, True])
def test_others_find_what_was_there(stranger: Stranger, there: bool) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="orlop-bundle-") as folder:
        place = Path(folder)
        write_layout(place / "layout", {"one": IMAGE})
        if there:
            _prepare(place / "new/b")
        for path in (place, *place.rglob("*")):
            os.chown(path, stranger.uid, stranger.uid)
        done = stranger("-c", _ROOTLESS, f"{place}/store", f"oci:{place}/layout:one", f"{place}/new/b")
        assert "user 'nobody-here'" in done.stdout, done.stderr
        assert done.stderr == ""
        if there:
            assert sorted(os.listdir(place / "new/b")) == ["notes", "rootfs"]
        else:
            assert not (place / "new").exists()
