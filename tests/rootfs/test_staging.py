"""A directory beside a target, where others may write too."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from orlop.model.tree import Kind
from orlop.rootfs.staging import staged
from tests.support.images import make_image, write_layout
from tests.support.stranger import Stranger
from tests.support.tars import entry, tar
from tests.support.trees import difference, snapshot
from tests.support.unprivileged import permissions_count


class FailedError(Exception):
    """What goes wrong while a tree is written."""


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A directory of the same user, in a directory where somebody else may rename things."""
    directory = tmp_path / "shared/precious"
    directory.mkdir(parents=True)
    (directory / "file").write_text("kept")
    (directory / "sub").mkdir()
    return directory


def _temporary(shared: Path) -> Path:
    (found,) = (path for path in shared.iterdir() if path.name.startswith(".out.orlop-"))
    return found


def test_EX10_what_was_moved_to_where_a_dead_process_wrote_is_not_removed(tmp_path: Path, precious: Path) -> None:
    before = snapshot(precious)
    moved = precious.rename(tmp_path / "shared/.out.orlop-77")
    with staged(tmp_path / "shared/out", sync=False):
        pass
    assert difference(before, snapshot(moved)) == []
    assert sorted(os.listdir(tmp_path / "shared")) == [".out.orlop-77", "out"]


@pytest.mark.parametrize("fails", [True, False])
def test_EX10_what_was_moved_to_where_we_write_is_neither_removed_nor_published(
    tmp_path: Path, precious: Path, fails: bool
) -> None:
    before = snapshot(precious)
    shared = tmp_path / "shared"
    try:
        with staged(shared / "out", sync=False) as root:
            os.close(os.open("written", os.O_CREAT | os.O_WRONLY, dir_fd=root))
            name = _temporary(shared)
            name.rename(shared / "elsewhere")
            precious.rename(name)
            if fails:
                raise FailedError
    except FailedError:
        assert fails
        assert not (shared / "out").exists()
    else:
        # by descriptor: the tree that was written gets the name, whatever became of the one around it
        assert os.listdir(shared / "out") == ["written"]
    assert difference(before, snapshot(name)) == []
    assert os.listdir(shared / "elsewhere") == []


@pytest.mark.parametrize("fails", [True, False])
def test_EX10_a_link_in_the_place_of_what_we_write_is_not_followed(tmp_path: Path, precious: Path, fails: bool) -> None:
    before = snapshot(precious)
    shared = tmp_path / "shared"
    try:
        with staged(shared / "out", sync=False) as root:
            os.mkdir("made", dir_fd=root)
            name = _temporary(shared)
            name.rename(shared / "elsewhere")
            name.symlink_to(precious)
            if fails:
                raise FailedError
    except FailedError:
        assert not (shared / "out").exists()
    else:
        assert os.listdir(shared / "out") == ["made"]
    assert difference(before, snapshot(precious)) == []
    assert name.is_symlink()


def test_EX25_whatever_a_killed_process_had_done_is_removed(tmp_path: Path) -> None:
    """From nothing but the directory to the whole tree."""
    for number, names in enumerate(([], ["orlop"], ["orlop", "tree"])):
        left = tmp_path / f".out.orlop-{number}"
        left.mkdir()
        for name in names:
            (left / name).mkdir() if name == "tree" else (left / name).touch()
        if "tree" in names:
            (left / "tree/sub").mkdir()
    (tmp_path / ".out.orlop-9").mkdir()
    (tmp_path / ".out.orlop-9/notes").touch()
    with staged(tmp_path / "out", sync=False):
        pass
    assert sorted(os.listdir(tmp_path)) == [".out.orlop-9", "out"]


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_EX24_nobody_else_sees_what_is_not_whole(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with staged(tmp_path / "out", sync=False) as root:
            assert os.fstat(root).st_mode & 0o7777 == 0o700
            assert _temporary(tmp_path).stat().st_mode & 0o7777 == 0o700
            os.fchmod(root, 0o755)
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o7777 == 0o755
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.root
@pytest.mark.parametrize("sync", [True, False])
@pytest.mark.parametrize("mode", [0o555, 0o000, 0o1511, 0o755])
def test_a_tree_that_its_owner_may_not_write_gets_its_name_and_keeps_its_mode(
    tmp_path: Path, mode: int, sync: bool
) -> None:
    with permissions_count(), staged(tmp_path / "out", sync=sync) as root:
        os.close(os.open("written", os.O_CREAT | os.O_WRONLY, dir_fd=root))
        os.fchmod(root, mode)
    assert (tmp_path / "out").stat().st_mode & 0o7777 == mode
    assert os.listdir(tmp_path) == ["out"]
    assert os.listdir(tmp_path / "out") == ["written"]


@pytest.mark.root
@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_who_is_not_root_unpacks_an_image_whose_root_nobody_may_write(stranger: Stranger, mode: int) -> None:
    layer = tar(entry("./", Kind.DIRECTORY, mode=mode), entry("bin/", Kind.DIRECTORY), entry("bin/tool", data=b"x"))
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="orlop-") as name:
        home = Path(name)
        write_layout(home / "layout", {"one": make_image([layer])})
        for path in (home, *home.rglob("*")):
            os.chown(path, stranger.uid, stranger.uid)
        image = f"oci:{home}/layout:one"
        words = ["-m", "orlop", "--store", f"{home}/store"]
        done = stranger(*words, "unpack", image, f"{home}/tree", environment={"HOME": name})
        assert done.returncode == 0, done.stderr
        assert (home / "tree").stat().st_mode & 0o7777 == mode
        assert (home / "tree/bin/tool").read_bytes() == b"x"
        assert sorted(os.listdir(home)) == ["layout", "store", "tree", "tree.ownership.jsonl"]
        if mode:  # the accounts cannot be looked up in a root that nobody may enter
            done = stranger(*words, "bundle", image, f"{home}/bundle", environment={"HOME": name})
            assert done.returncode == 0, done.stderr
            assert (home / "bundle/rootfs").stat().st_mode & 0o7777 == mode
