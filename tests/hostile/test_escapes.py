"""No archive leaves the root, whichever way an image is given back: unpacked, mounted, exported, as a bundle."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orlop.errors import Error, Unsafe
from orlop.model.tree import Kind
from orlop.store import Store
from orlop.tar.reader import read_entries
from tests.support.escapes import escapes
from tests.support.hostile import plain, served, takes_the_good_one
from tests.support.images import write_layout
from tests.support.stores import settings
from tests.support.trees import Snapshot, difference, snapshot

NAMES = sorted(escapes(Path("/victim")))
Traces = tuple[Snapshot, dict[str, tuple[int, ...]]]


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A tree outside, with everything in it that could be changed unseen."""
    top = tmp_path / "victim"
    (top / "sub").mkdir(parents=True)
    (top / "file").write_text("precious")
    os.link(top / "file", top / "sub/again")
    (top / "link").symlink_to("file")
    (top / "program").write_text("#!/bin/sh\n")
    os.chown(top / "program", 12, 34)
    (top / "program").chmod(0o4755)
    os.mkfifo(top / "pipe")
    os.setxattr(top / "file", "user.seen", b"1")
    os.setxattr(top / "sub", "trusted.seen", b"2")
    for number, path in enumerate((top / "sub/again", top / "program", top / "sub", top)):
        os.utime(path, ns=(1, 1_000_000_000 + number))
    return top


def traces(top: Path) -> Traces:
    """What is there, and when each inode was last changed in any way: a mode set to what it was shows too."""
    found = {str(path): path.lstat() for path in (top, *top.rglob("*"))}
    return snapshot(top), {path: (each.st_ctime_ns, each.st_nlink, each.st_ino) for path, each in found.items()}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(settings=replace(settings(tmp_path / "store"), durability="none")) as opened:
        yield opened


def _unpack(store: Store, name: str, place: Path) -> Snapshot:
    try:
        store.unpack(name, place / "out")
    except Error:
        assert os.listdir(place) == []
        raise
    return snapshot(place / "out")


def _mount(driver: str) -> Callable[[Store, str, Path], Snapshot]:
    def mount(store: Store, name: str, place: Path) -> Snapshot:
        try:
            store.mount(name, place / "root", driver=driver)  # type: ignore[arg-type]
        except Error:
            assert not (place / "root").is_mount()
            raise
        try:
            return snapshot(place / "root")
        finally:
            store.umount(str(place / "root"))

    return mount


def _export(store: Store, name: str, place: Path) -> Snapshot:
    """The tar is harmless to whoever unpacks it, however carelessly."""
    out = io.BytesIO()
    store.export(name, out)
    out.seek(0)
    directories: set[bytes] = {b""}
    others: set[bytes] = set()
    for member in read_entries(out):
        path = member.name.rstrip(b"/")
        if path in (b"", b"."):
            continue
        assert not {b"", b".", b".."} & set(path.split(b"/")), path
        assert path.rpartition(b"/")[0] in directories, path
        assert path not in directories | others, path
        assert member.kind is not Kind.HARDLINK or member.link in others
        (directories if member.kind is Kind.DIRECTORY else others).add(path)
    return {}


def _bundle(store: Store, name: str, place: Path) -> Snapshot:
    try:
        store.bundle(name, place / "bundle")
    except Error:
        assert not (place / "bundle/rootfs").is_mount()
        raise
    try:
        return snapshot(place / "bundle/rootfs")
    finally:
        store.umount(str(place / "bundle"))


WAYS: dict[str, Callable[[Store, str, Path], Snapshot]] = {
    "unpack": _unpack,
    "erofs": _mount("erofs"),
    "overlay": _mount("overlay"),
    "directory": _mount("directory"),
    "export": _export,
    "bundle": _bundle,
}


@pytest.mark.root
@pytest.mark.parametrize("name", NAMES)
def test_an_archive_that_would_leave_the_root_stays_inside_or_is_refused(
    name: str, tmp_path: Path, victim: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    bait = tmp_path / "bait"
    bait.mkdir()
    (bait / "bait").write_text("bait")
    monkeypatch.chdir(bait)
    write_layout(tmp_path / "layout", {"x": served([plain(layer) for layer in escapes(victim)[name]])})
    outside = [victim, bait, tmp_path / "layout"]
    before = [traces(place) for place in outside]
    around = set(os.listdir(tmp_path))
    trees: dict[str, Snapshot] = {}
    refused: dict[str, Error] = {}
    for way, give in WAYS.items():
        try:
            store.pull(f"oci:{tmp_path / 'layout'}:x")
            (tmp_path / way).mkdir()
            trees[way] = give(store, store.names()[0], tmp_path / way)
        except Error as error:
            refused[way] = error
    assert [traces(place) for place in outside] == before
    assert set(os.listdir(tmp_path)) <= around | WAYS.keys()
    _agree(trees, refused)
    takes_the_good_one(store, tmp_path / "good")


def _agree(trees: dict[str, Snapshot], refused: dict[str, Error]) -> None:
    """All ways mean the same, or refuse alike; only a runtime's own mount points are no matter of the others."""
    if isinstance(refused.get("bundle"), Unsafe) and "a runtime" in str(refused["bundle"]):
        del refused["bundle"]
    assert not trees or not refused, refused
    assert len({type(error) for error in refused.values()}) <= 1
    full = {way: tree for way, tree in trees.items() if way not in ("export", "bundle")}
    for way, tree in full.items():
        # overlayfs counts the links of directories, and hard links of several layers, in its own way
        assert difference(full["unpack"], tree, ignore=frozenset(["links", "group"])) == [], way
    for tree in trees.values():
        assert not any(stat.S_ISCHR(node.mode) and node.device == 0 for node in tree.values())


def test_there_are_as_many_as_were_compared_and_more() -> None:
    contents = set(escapes(Path("/victim")).values())
    assert len(contents) == len(NAMES) >= 80
