"""What is laid out behind a plain tar, the data of sparse members: where it stands, and that damage to it is mended."""

from __future__ import annotations

import io
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from orlop.blobs.derived import DerivedFiles
from orlop.job import Job
from orlop.model.digest import Digest
from orlop.plain import PlainTar
from orlop.store import Store
from tests.support.images import make_image, write_layout
from tests.support.stores import opened, parts
from tests.support.tars import entry, tar
from tests.support.trees import difference, snapshot
from tests.tar.test_sparse import PAGE, WRITERS, old, write_files

NAME = "localhost/layout:one"
LARGE = 8 << 20


def _flip(file: Path, place: int) -> None:
    with file.open("r+b") as out:
        byte = os.pread(out.fileno(), 1, place)[0]
        os.pwrite(out.fileno(), bytes([byte ^ 1]), place)


def _flip_data(file: Path, _size: int) -> None:
    # "far", the data of the large file; once in the tar, once more behind it
    _flip(file, file.read_bytes().rindex(b"far"))


def _flip_hole(file: Path, _size: int) -> None:
    _flip(file, file.read_bytes().rindex(b"far") - PAGE * 9)


def _cut(file: Path, _size: int) -> None:
    os.truncate(file, file.stat().st_size - 1)


def _cut_off(file: Path, size: int) -> None:
    os.truncate(file, size)


def _mark(file: Path) -> Path:
    return file.with_name(file.name + ".mark")


def _packed(place: Path) -> str:
    write_files(place / "top", large=LARGE)
    command = [*WRITERS["oldgnu"], "-C", str(place / "top"), "."]
    layer = subprocess.run(command, check=True, capture_output=True, env={"LC_ALL": "C.UTF-8"}).stdout
    write_layout(place / "layout", {"one": make_image([layer])})
    return f"oci:{place}/layout:one"


def _tar_file(place: Path) -> Path:
    (found,) = (place / "store/derived/tar").glob("sha256-*[0-9a-f]")
    return found


def _sound(store: Store, place: Path) -> None:
    mounted = store.mount(NAME, place / "root", driver="erofs")
    try:
        assert difference(snapshot(place / "top"), snapshot(mounted.target), ignore=frozenset({"mtime_ns"})) == []
    finally:
        store.umount(str(mounted.target))
    assert store.fsck().findings == ()


@pytest.mark.root
@pytest.mark.parametrize("damage", [_flip_data, _flip_hole, _cut, _cut_off])
def test_ST02_damage_behind_a_tar_is_found_and_mended(tmp_path: Path, damage: Callable[[Path, int], None]) -> None:
    with opened(tmp_path / "store") as store:
        store.pull(_packed(tmp_path))
        _sound(store, tmp_path)
        file = _tar_file(tmp_path)
        damage(file, json.loads(_mark(file).read_bytes())["size"])
        (found,) = store.fsck().findings
        assert (found.kind, found.mended) == ("derived", False)
        assert "behind" in found.text or "expected" in found.text
        (found,) = store.fsck(repair=True).findings
        assert found.mended
        _sound(store, tmp_path)


@pytest.mark.root
@pytest.mark.parametrize("damage", [_cut, _cut_off])
def test_ST02_a_tar_that_is_cut_behind_its_plain_part_is_made_again_by_a_mount(
    tmp_path: Path, damage: Callable[[Path, int], None]
) -> None:
    with opened(tmp_path / "store") as store:
        store.pull(_packed(tmp_path))
        _sound(store, tmp_path)
        file = _tar_file(tmp_path)
        damage(file, json.loads(_mark(file).read_bytes())["size"])
        _sound(store, tmp_path)


def test_a_mark_of_an_older_version_is_read(tmp_path: Path) -> None:
    with opened(tmp_path / "store") as store:
        store.pull(_packed(tmp_path))
        file = _tar_file(tmp_path)
        fields = json.loads(_mark(file).read_bytes())
        assert fields.pop("full") > fields["size"]
        assert fields.pop("behind")
        _mark(file).write_text(json.dumps(fields))
        before = file.stat().st_ino
        _flip_data(file, 0)
        assert store.fsck().findings == ()  # nothing is known of what it was
        store.export(NAME, io.BytesIO())
        assert file.stat().st_ino == before


def test_each_sparse_member_begins_a_page_and_takes_no_more_than_its_data(tmp_path: Path) -> None:
    # of 513 blocks: laid out block after block, nearly every page of data would take two
    count, size = 1000, 513 * 512
    archive = tar(*[old([(0, PAGE), (PAGE * 8, PAGE)], size, b"d" * (2 * PAGE))] * count, entry("last"))
    with parts(tmp_path / "store") as (disk, _, session):
        plain = PlainTar(disk, session.scratch(), "sha256")
        try:
            plain.fill(io.BytesIO(archive), Job())
            derived, digest = DerivedFiles(disk, session, "boot"), Digest(plain.digest)
            plain.adopt(derived, digest)
        finally:
            plain.close()
        path = derived.path("tar", digest)
        assert path is not None
        assert path.stat().st_blocks * 512 - len(archive) < count * 3 * PAGE
        assert derived.damage("tar", digest) == ""
