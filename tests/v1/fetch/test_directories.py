"""Directories of this machine as images."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import stat
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orlop.errors import Conflict, Error, Invalid, NotFound
from orlop.job import Event, Job
from orlop.store import Store
from orlop.tar.directory import DirectoryTar


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with one of each kind of thing that needs no privilege."""
    place = tmp_path / "tree"
    (place / "etc" / "deep").mkdir(parents=True)
    (place / "etc" / "name").write_bytes(b"content")
    (place / "etc" / "name").chmod(0o4755)
    os.link(place / "etc" / "name", place / "zz-hard")
    (place / "link").symlink_to("/outside/../etc")
    (place / "empty").touch()
    os.mkfifo(place / "pipe")
    (place / ("long" * 50)).write_bytes(b"x" * 1000)
    (place / "etc" / "deep").chmod(0o1777)
    os.utime(place, ns=(1, 1_700_000_000_123_456_789))
    return place


def members(content: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return {member.name.removeprefix("./") or ".": member for member in tar}


def layer_of(store: Store, identity: str) -> bytes:
    with store.graph.plain_layer(store.graph.get(identity), Job()) as stream:
        return stream.read()


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    opened: list[socket.socket] = []
    yield opened
    for each in opened:
        each.close()


def test_F18_the_id_is_made_of_the_path_and_its_time(store: Store, tree: Path) -> None:
    fetched = store.fetch(str(tree))
    expected = hashlib.sha256(f"{tree.resolve()}-1700000000123456789".encode()).hexdigest()
    assert fetched.id == expected
    assert store.graph.get(expected).origin == str(tree.resolve())


def test_F18_a_link_is_resolved_first(store: Store, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(tree)
    assert store.fetch(str(tmp_path / "alias")).id == store.fetch(f"{tree}/../tree/").id == store.fetch(str(tree)).id


def test_F18_it_changes_with_the_time_and_the_path_only(store: Store, tree: Path, tmp_path: Path) -> None:
    first = store.fetch(str(tree))
    (tree / "etc" / "name").write_bytes(b"changed below, which its own time does not tell")
    assert store.fetch(str(tree)).id == first.id
    os.utime(tree, ns=(1, 1_700_000_000_123_456_790))
    second = store.fetch(str(tree))
    tree.rename(tmp_path / "moved")
    assert len({first.id, second.id, store.fetch(str(tmp_path / "moved")).id}) == 3


def test_F18_it_is_read_once_for_each_time_that_it_has(store: Store, tree: Path) -> None:
    events: list[Event] = []
    job = Job(progress=events.append)
    with ThreadPoolExecutor(4) as pool:
        found = {fetched.id for fetched in pool.map(lambda _: store.fetch(str(tree), job=job), range(4))}
    texts = [event.text.partition(":")[0] for event in events if event.kind == "note"]
    assert (len(found), sorted(texts)) == (1, ["already exists"] * 3 + ["downloading layer"])


def test_F18_the_tree_comes_as_it_lies(store: Store, tree: Path, sockets: list[socket.socket]) -> None:
    sockets.append(socket.socket(socket.AF_UNIX))
    place = os.open(tree, os.O_RDONLY)
    sockets[0].bind(f"/proc/self/fd/{place}/s")  # a path of any length
    os.close(place)
    os.utime(tree, ns=(1, 1_700_000_000_123_456_789))
    found = members(layer_of(store, store.fetch(str(tree)).id))
    assert set(found) == {".", "etc", "etc/name", "etc/deep", "zz-hard", "link", "empty", "pipe", "long" * 50}
    assert (found["zz-hard"].mode, found["zz-hard"].size) == (0o4755, 7)
    assert (found["etc/name"].type, found["etc/name"].linkname) == (tarfile.LNKTYPE, "zz-hard")
    assert (found["link"].type, found["link"].linkname) == (tarfile.SYMTYPE, "/outside/../etc")
    assert found["pipe"].type == tarfile.FIFOTYPE
    assert found["etc/deep"].mode == 0o1777
    state = (tree / "etc" / "name").stat()
    assert (found["zz-hard"].uid, found["zz-hard"].gid) == (state.st_uid, state.st_gid)
    assert found["zz-hard"].mtime == pytest.approx(state.st_mtime, abs=1e-6)


@pytest.mark.root
def test_F18_capabilities_and_devices_are_kept(store: Store, tree: Path) -> None:
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    os.setxattr(tree / "empty", "security.capability", capability)
    os.mknod(tree / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    found = members(layer_of(store, store.fetch(str(tree)).id))
    assert (found["null"].type, found["null"].devmajor, found["null"].devminor) == (tarfile.CHRTYPE, 1, 3)
    assert found["empty"].pax_headers["SCHILY.xattr.security.capability"].encode("utf-8", "surrogateescape")


@pytest.mark.parametrize(("name", "error"), [("none", NotFound), ("tree/etc/name", Invalid), ("tree/pipe", Invalid)])
def test_F18_what_is_no_directory_is_an_error(store: Store, tree: Path, name: str, error: type[Error]) -> None:
    with pytest.raises(error, match="directory"):
        store.fetch(str(tree.parent / name))
    assert store.graph.nodes() == {}


def test_F18_a_file_that_changes_while_it_is_read_is_an_error(store: Store, tree: Path) -> None:
    (tree / "big").write_bytes(b"x" * (4 << 20))
    root = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with DirectoryTar(root, Job()) as tar, pytest.raises(Conflict, match="changed its size"):
            while data := tar.read(1 << 16):
                if data.startswith(b"xxx"):
                    os.truncate(tree / "big", 10)
    finally:
        os.close(root)
