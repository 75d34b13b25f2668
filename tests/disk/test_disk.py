"""The one class of file access: what it turns errors into, and that it removes only what it should."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from orlop.disk.disk import Disk
from orlop.errors import Damaged, NoSpace, NotFound
from tests.support.stores import start_python


def test_ST09_files_and_directories_are_private_whatever_the_umask(tmp_path: Path) -> None:
    disk, before = Disk(tmp_path), os.umask(0)
    try:
        disk.make_directory("inner")
        os.close(disk.create("inner/file"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "inner").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "inner/file").stat().st_mode) == 0o600


def test_removing_a_tree_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim/file").write_text("keep")
    (tmp_path / "tree/deep").mkdir(parents=True)
    (tmp_path / "tree/link").symlink_to(tmp_path / "victim")
    (tmp_path / "tree/deep/file").write_bytes(b"12345")
    (tmp_path / "tree/deep").chmod(0o500)
    assert Disk(tmp_path).remove_tree("tree") >= 5
    assert not (tmp_path / "tree").exists()
    assert (tmp_path / "victim/file").read_text() == "keep"


def test_publishing_never_replaces(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    (tmp_path / "there").write_text("first")
    (tmp_path / "draft").write_text("second")
    assert disk.publish("draft", "there") is False
    assert (tmp_path / "there").read_text() == "first"
    assert not (tmp_path / "draft").exists()


def test_ST03_a_full_device_is_no_space(tmp_path: Path) -> None:
    with pytest.raises(NoSpace, match="no space"), open("/dev/full", "wb", buffering=0) as full:
        Disk(tmp_path).write(full.fileno(), b"x", 0)


def test_a_file_over_its_limit_is_not_read_whole(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 1000)
    with pytest.raises(Damaged, match="larger than 10"):
        Disk(tmp_path).read("big", 10)
    assert Disk(tmp_path).read("none", 10) is None


def test_a_high_limit_takes_no_more_memory_than_the_file(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"content")
    (tmp_path / "empty").write_bytes(b"")
    code = """
import resource, sys
from pathlib import Path
from orlop.disk.disk import Disk
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
disk = Disk(Path(sys.argv[1]))
print(disk.read("small", 4 << 30), disk.read("empty", 4 << 30))
"""
    assert start_python(code, tmp_path).communicate() == ("b'content' b''\n", "")


def test_a_file_that_grows_is_read_to_its_end(tmp_path: Path) -> None:
    # what is in /proc has no size, and content all the same
    version = Disk(Path("/proc")).read("version", 4096)
    assert version == Path("/proc/version").read_bytes()


def test_a_symlink_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(Damaged):
        Disk(tmp_path).open("link")
    with pytest.raises(NotFound):
        Disk(tmp_path).open("absent")
