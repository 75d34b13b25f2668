"""The record of ownership beside an unpacked tree: there whenever the tree is, and written over nothing else."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest

from orlop.errors import Busy, Conflict, Error, Invalid, NoSpace
from orlop.job import Job
from orlop.model.tree import Kind
from orlop.rootfs.directory import write_tree
from orlop.rootfs.mounting import mount_memory, unmount
from orlop.rootfs.ownership import beside
from tests.support.images import small_image, write_layout
from tests.support.stores import files_below, kill, start_python
from tests.support.stranger import Stranger
from tests.support.tars import entry, tar
from tests.support.trees import make_stack

LAYER = tar(entry("bin/", Kind.DIRECTORY), entry("bin/su", data=b"x", mode=0o4755, uid=7))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


def _unpack(place: Path, name: str = "tree", layer: bytes = LAYER) -> None:
    stack = make_stack(place.parent, layer)
    write_tree(stack.tree, stack.layers, place / name, job=Job(), own=False, beside=beside(stack.tree))


def _refused(place: Path, error: type[Error], match: str) -> None:
    """An error, and all as it was, the second time too."""
    before = {path: path.lstat() for path in sorted(place.rglob("*"))}
    for _ in range(2):
        with pytest.raises(error, match=match):
            _unpack(place)
        after = {path: path.lstat() for path in sorted(place.rglob("*"))}
        assert {path: (found.st_ino, found.st_mtime_ns) for path, found in after.items()} == {
            path: (found.st_ino, found.st_mtime_ns) for path, found in before.items()
        }


def test_it_is_there_with_the_tree_and_nothing_else_is(place: Path) -> None:
    old = os.umask(0o027)
    try:
        _unpack(place)
    finally:
        os.umask(old)
    record = place / "tree.ownership.jsonl"
    assert sorted(os.listdir(place)) == ["tree", "tree.ownership.jsonl"]
    assert record.stat().st_mode & 0o777 == 0o640
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    assert [line["path"] for line in lines] == [".", "bin", "bin/su"]
    assert lines[-1] == {"path": "bin/su", "type": "file", "uid": 7, "gid": 0, "mode": "4755"}


def test_one_of_an_earlier_tree_is_replaced(place: Path) -> None:
    _unpack(place)
    (place / "tree").rename(place / "elsewhere")
    _unpack(place, layer=tar(entry("other")))
    assert '"other"' in (place / "tree.ownership.jsonl").read_text()
    assert "su" not in (place / "tree.ownership.jsonl").read_text()


@pytest.mark.parametrize("there", ["nothing", "file", "record"])
def test_EX05_it_is_never_written_through_a_link(place: Path, there: str) -> None:
    victim = place / "victim"
    if there == "record":
        _unpack(place, "other")
        (place / "other.ownership.jsonl").rename(victim)
    elif there == "file":
        victim.write_text("precious")
    (place / "tree.ownership.jsonl").symlink_to(victim)
    _refused(place, Conflict, "tree.ownership.jsonl: is there, and was not written by an earlier unpack")


@pytest.mark.parametrize("content", ["", "precious", '{"path": "x"}'])
def test_another_file_of_that_name_is_left_alone(place: Path, content: str) -> None:
    (place / "tree.ownership.jsonl").write_text(content)
    _refused(place, Conflict, "was not written by an earlier unpack")


@pytest.mark.timeout(60)
def test_a_directory_or_a_pipe_of_that_name_is_left_alone(place: Path) -> None:
    (place / "tree.ownership.jsonl").mkdir()
    _refused(place, Conflict, "was not written by an earlier unpack")
    (place / "tree.ownership.jsonl").rmdir()
    os.mkfifo(place / "tree.ownership.jsonl")
    _refused(place, Conflict, "was not written by an earlier unpack")


def test_a_name_that_is_too_long_for_it_leaves_nothing(place: Path) -> None:
    with pytest.raises(Invalid, match="name too long"):
        _unpack(place, "x" * 250)
    assert os.listdir(place) == []


@pytest.mark.root
def test_where_the_tree_cannot_get_its_name_there_is_no_record(place: Path) -> None:
    (place / "tree").mkdir()
    mount_memory(place / "tree")
    try:
        with pytest.raises(Busy):
            _unpack(place)
        assert files_below(place) == {}
        assert os.listdir(place) == ["tree"]
    finally:
        unmount(place / "tree")


@pytest.mark.root
def test_where_it_cannot_be_written_there_is_no_tree(tmp_path: Path) -> None:
    small = tmp_path / "place"
    small.mkdir()
    mount_memory(small, "size=64k")
    try:
        # each name is a line of the record, and no page of the disk
        names = tar(*(entry(f"{number:05}", Kind.SYMLINK, link="x") for number in range(5000)))
        with pytest.raises(NoSpace, match=r"tree\.ownership\.jsonl: cannot write"):
            _unpack(small, layer=names)
        assert os.listdir(small) == []
    finally:
        unmount(small)


_KILLED = """
import sys
from pathlib import Path
from orlop.job import Job
from orlop.rootfs.staging import staged
from orlop.rootfs.ownership import beside
from orlop.model.tree import Tree
with staged(Path(sys.argv[1]), sync=False, beside=beside(Tree())):
    print("staged", flush=True)
    sys.stdin.read()
"""


def test_EX25_what_a_killed_process_left_of_it_is_swept_away(place: Path) -> None:
    process = start_python(_KILLED, place / "tree")
    assert process.stdout is not None
    assert process.stdout.readline() == "staged\n"
    kill(process)
    (left,) = place.iterdir()
    assert sorted(os.listdir(left)) == ["beside", "orlop", "tree"]
    _unpack(place)
    assert sorted(os.listdir(place)) == ["tree", "tree.ownership.jsonl"]


@pytest.mark.root
def test_EX05_who_is_not_root_unpacks_through_no_link(stranger: Stranger) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="orlop-") as name:
        home = Path(name)
        write_layout(home / "layout", {"one": small_image()})
        (home / "victim").write_text("precious")
        (home / "tree.ownership.jsonl").symlink_to("victim")
        for path in (home, *home.iterdir()):
            os.chown(path, stranger.uid, stranger.uid, follow_symlinks=False)
        words = ["-m", "orlop", "--store", f"{home}/store", "unpack", f"oci:{home}/layout:one", f"{home}/tree"]
        done = stranger(*words, environment={"HOME": name})
        assert done.returncode == 1, done.stderr
        assert "was not written by an earlier unpack" in done.stderr
        assert (home / "victim").read_text() == "precious"
        assert not (home / "tree").exists()
        (home / "tree.ownership.jsonl").unlink()
        done = stranger(*words, environment={"HOME": name})
        assert done.returncode == 0, done.stderr
        assert f"recorded in {home}/tree.ownership.jsonl" in done.stderr
        assert (home / "tree.ownership.jsonl").read_text().count("\n") == 8


@pytest.mark.root
def test_another_users_record_is_left_alone(place: Path) -> None:
    _unpack(place)
    (place / "tree").rename(place / "elsewhere")
    os.chown(place / "tree.ownership.jsonl", 1234, 1234)
    _refused(place, Conflict, "was not written by an earlier unpack")
