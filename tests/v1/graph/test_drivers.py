"""The rows G15, G16 and G18: a layer set aside, what stands in a new root, and differences of images."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from orlop.errors import NotFound
from orlop.job import Event, Job
from orlop.rootfs.init_layer import make_init_layer
from orlop.store import Store
from tests.support.images import Content, Hardlink, Symlink, make_layer
from tests.support.stores import files_below
from tests.support.trees import snapshot
from tests.support.v1images import JOB, A, B, C, add, v1


def test_G15_a_layer_set_aside_goes_when_it_is_read(store: Store) -> None:
    node = add(store, A, files={"x": b"content"})
    before, told = files_below(store.settings.store), list[Event]()
    archive = store.graph.temporary_archive(node, Job(progress=told.append))
    assert len(files_below(store.settings.store)) > len(before)
    assert archive.size == len(make_layer({"x": b"content"}))
    parts = []
    while data := archive.read(1000):
        parts.append(data)
    assert b"".join(parts) == make_layer({"x": b"content"})
    assert "Buffering to disk" in [event.text for event in told]
    left = {name for name in files_below(store.settings.store) if not name.endswith(".lock")}
    assert left <= set(before)
    assert archive.read(5) == b""


def test_G15_a_layer_that_is_not_read_goes_too(store: Store) -> None:
    with store.graph.temporary_archive(add(store, A), JOB) as archive:
        assert (archive.size, archive.read(2)) == (1024, b"\0\0")
    stopped = Job()
    stopped.stop()
    with pytest.raises(Exception, match="stopped"):
        store.graph.temporary_archive(add(store, B, files={"x": b""}), stopped)
    assert not [name for name in files_below(store.settings.store / "sessions") if not name.endswith(".lock")]


MADE = {
    "dev/pts": stat.S_IFDIR,
    "dev/shm": stat.S_IFDIR,
    "proc": stat.S_IFDIR,
    "sys": stat.S_IFDIR,
    ".dockerinit": stat.S_IFREG,
    ".dockerenv": stat.S_IFREG,
    "etc/resolv.conf": stat.S_IFREG,
    "etc/hosts": stat.S_IFREG,
    "etc/hostname": stat.S_IFREG,
    "dev/console": stat.S_IFREG,
    "etc/mtab": stat.S_IFLNK,
}


def check_init_layer(root: Path) -> None:
    for name, kind in MADE.items():
        found = os.lstat(root / name)
        assert stat.S_IFMT(found.st_mode) == kind, name
        assert kind == stat.S_IFLNK or stat.S_IMODE(found.st_mode) == 0o755, name
        assert kind != stat.S_IFREG or found.st_size == 0, name
    assert (root / "etc/mtab").readlink() == Path("/proc/mounts")


def test_G16_the_init_layer_is_made_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        make_init_layer(tmp_path)
    finally:
        os.umask(old)
    check_init_layer(tmp_path)
    (tmp_path / "etc/kept").write_text("kept")
    (tmp_path / "sys").chmod(0o500)
    make_init_layer(tmp_path)
    assert (tmp_path / "etc/kept").read_text() == "kept"
    assert stat.S_IMODE((tmp_path / "sys").stat().st_mode) == 0o500


@pytest.mark.parametrize("planted", ["etc", "dev", "dev/pts", "etc/hosts", "etc/mtab", ".dockerenv", "proc"])
@pytest.mark.parametrize("target", ["outside", "/absolute", "../outside", "nowhere", "file"])
def test_G16_hostile_links_lead_nowhere(tmp_path: Path, planted: str, target: str) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    outside.mkdir()
    (outside / "hosts").write_text("mine")
    place = root / planted
    place.parent.mkdir(parents=True)
    if target == "file":
        place.write_text("in the way")
    else:
        place.symlink_to(str(outside) if target == "/absolute" else f"../{target}" if target == "outside" else target)
    before = snapshot(outside)
    make_init_layer(root)
    check_init_layer(root)
    assert snapshot(outside) == before
    assert {path.name for path in tmp_path.iterdir()} == {"root", "outside"}


def stacked(store: Store, *layers: dict[str, Content]) -> Sequence[str]:
    """Images on top of each other."""
    ids = [A, B, C][: len(layers)]
    for number, (id, files) in enumerate(zip(ids, layers, strict=True)):
        add(store, id, parent=ids[number - 1] if number else "", files=files)
    return ids


def changes(store: Store, name: str, below: str = "") -> list[str]:
    return [str(change) for change in store.graph.differences.changes(name, below, JOB)]


def test_G18_changes_are_added_changed_and_deleted(store: Store) -> None:
    base, top = stacked(
        store,
        {"dir": None, "dir/a": b"1", "dir/gone": b"2", "same": b"3", "was": b"4", "old": None, "old/in": b"5"},
        {"dir/a": b"12", "dir/.wh.gone": b"", "new": None, "new/file": b"6", "was": None, ".wh.old": b"", "same": b"3"},
    )
    assert changes(store, top, base) == [
        "C /dir",
        "C /dir/a",
        "D /dir/gone",
        "A /new",
        "A /new/file",
        "D /old",
        "C /was",
    ]
    assert changes(store, base, base) == []
    assert changes(store, base) == [
        "A /dir",
        "A /dir/a",
        "A /dir/gone",
        "A /old",
        "A /old/in",
        "A /same",
        "A /was",
    ]
    assert changes(store, A, top) != []
    assert store.graph.differences.size(top, base, JOB) == 3
    assert store.graph.differences.size(base, "", JOB) == 5
    with pytest.raises(NotFound):
        store.graph.differences.changes("none", base, JOB)


@pytest.mark.parametrize(
    ("fields", "differs"),
    [
        ({}, False),
        ({"mode": 0o600}, True),
        ({"uid": 5}, True),
        ({"gid": 5}, True),
        ({"size": 4}, True),
        ({"mtime": 1}, True),
        ({"pax_headers": {"mtime": "1600000000.5"}}, False),
        ({"pax_headers": {"SCHILY.xattr.security.capability": "x"}}, True),
        ({"type": tarfile.CHRTYPE, "size": 0, "devmajor": 1, "devminor": 3}, True),
    ],
)
def test_G18_what_counts_as_a_change(store: Store, fields: dict[str, object], differs: bool) -> None:
    for id, parent, extra in ((A, "", {}), (B, A, fields)):
        member = tarfile.TarInfo("f")
        member.size, member.mtime = 3, 1_600_000_000
        for key, value in extra.items():
            setattr(member, key, value)
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            tar.addfile(member, io.BytesIO(bytes(member.size)))
        store.graph.register(v1(id, parent), io.BytesIO(out.getvalue()), job=JOB)
    assert changes(store, B, A) == (["C /f"] if differs else [])


def test_G18_a_difference_applied_gives_the_same_tree(store: Store, tmp_path: Path) -> None:
    base, _, top = stacked(
        store,
        {
            "keep": b"k",
            "dir": None,
            "dir/sub": None,
            "dir/sub/x": b"x",
            "file": b"f",
            "hard": b"h",
            "gone": None,
            "gone/a": b"",
        },
        {"dir/sub/x": b"changed", "file": None, "file/now": b"a directory", "link": Symlink("../out"), ".wh.gone": b""},
        {"other": Hardlink("hard"), "dir/.wh.sub": b"", "dir/new": b"n", "gone": b"a file now"},
    )
    out = io.BytesIO()
    size = store.graph.differences.export(top, base, out, JOB)
    assert size == len(out.getvalue())
    out.seek(0)
    with tarfile.open(fileobj=out) as written:
        names = written.getnames()
    assert "keep" not in names
    assert "dir/.wh.sub" in names
    out.seek(0)
    applied = store.graph.register(v1("d" * 64, base), out, job=JOB).image.id
    assert changes(store, applied, top) == changes(store, top, applied) == []
    for id in (top, applied):
        store.unpack(id, tmp_path / id[:2])
    assert snapshot(tmp_path / "cc") == snapshot(tmp_path / "dd")
