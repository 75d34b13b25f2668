"""Mounts by system calls, and what the kernel says about them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from orlop.blobs.derived import DerivedFiles
from orlop.disk import syscalls
from orlop.errors import Busy, Error, NotFound, Unsupported
from orlop.job import Job
from orlop.ports import Stack
from orlop.rootfs import mounting
from orlop.rootfs.choose import choose
from orlop.rootfs.mountinfo import holders, mounts

pytestmark = pytest.mark.root
ODD = ["a,b:c\\d", "with space\tand\nnewline", "é\\", "l" * 250]


@pytest.fixture
def odd(tmp_path: Path) -> list[Path]:
    directories = [tmp_path / name for name in ODD]
    for number, directory in enumerate(directories):
        directory.mkdir()
        (directory / f"file{number}").touch()
    return directories


def test_overlay_takes_any_path(odd: list[Path], target: Path) -> None:
    mounting.mount_overlay(odd, target)
    assert sorted(os.listdir(target)) == ["file0", "file1", "file2", "file3"]
    with pytest.raises(OSError, match="Read-only"):
        (target / "new").touch()
    mounting.unmount(target)


def test_overlay_by_the_old_call_takes_any_path(odd: list[Path], target: Path) -> None:
    mounting._mount_overlay_old(odd[:3], target, None, None)
    assert sorted(os.listdir(target)) == ["file0", "file1", "file2"]


def test_overlay_with_an_upper_directory_is_writable(odd: list[Path], tmp_path: Path, target: Path) -> None:
    upper, work = tmp_path / "up\\per,:", tmp_path / "work\\,:"
    upper.mkdir()
    work.mkdir()
    mounting.mount_overlay(odd[:1], target, upper=upper, work=work)
    (target / "new").write_text("new")
    (target / "file0").unlink()
    assert sorted(os.listdir(upper)) == ["file0", "new"]
    assert (odd[0] / "file0").exists()


def test_one_directory_is_shown_read_only(odd: list[Path], target: Path) -> None:
    mounting.mount_overlay(odd[:1], target)
    assert os.listdir(target) == ["file0"]
    with pytest.raises(OSError, match="Read-only"):
        (target / "new").touch()


def test_a_read_only_bind_leaves_its_source_writable(odd: list[Path], target: Path) -> None:
    mounting.bind(odd[0], target, read_only=True)
    with pytest.raises(OSError, match="Read-only"):
        (target / "new").touch()
    (odd[0] / "new").touch()
    assert sorted(os.listdir(target)) == ["file0", "new"]


def _flags(target: Path) -> int:
    return os.statvfs(target).f_flag & (os.ST_RDONLY | os.ST_NOSUID | os.ST_NODEV)


STRANGER = os.ST_RDONLY | os.ST_NOSUID | os.ST_NODEV


def test_EX15_EX16_devices_and_setuid_bits_of_a_read_only_mount_are_dead(odd: list[Path], target: Path) -> None:
    # a place where they live, which a mount must not inherit
    assert _flags(odd[0]) == 0
    for directory in odd[:3]:
        os.mknod(directory / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    ways: list[Callable[[], None]] = [
        lambda: mounting.mount_overlay(odd[:3], target),
        lambda: mounting.mount_overlay(odd[:1], target),
        lambda: mounting._mount_overlay_old(odd[:3], target, None, None),
        lambda: mounting.bind(odd[0], target, read_only=True),
    ]
    for mount in ways:
        mount()
        assert _flags(target) == STRANGER
        with pytest.raises(PermissionError):
            (target / "null").read_bytes()
        mounting.unmount(target)


@pytest.mark.parametrize("name", ["erofs", "overlay", "directory"])
def test_EX15_EX16_every_driver_mounts_as_a_strangers(
    name: str, stack: Stack, derived: DerivedFiles, target: Path
) -> None:
    choose(name, derived)[0].mount(stack, target, job=Job())
    assert _flags(target) == STRANGER


def test_a_bind_stays_nosuid_where_its_source_is(tmp_path: Path, target: Path) -> None:
    source = tmp_path / "nosuid"
    source.mkdir()
    mounting.bind(tmp_path, source, read_only=False)
    syscalls.mount(b"", source, b"", syscalls.MS_BIND | syscalls.MS_REMOUNT | os.ST_NOSUID)
    try:
        mounting.bind(source, target, read_only=True)
        assert os.statvfs(target).f_flag & os.ST_NOSUID
        assert os.statvfs(target).f_flag & os.ST_RDONLY
    finally:
        mounting.unmount(target)
        mounting.unmount(source)


def test_mounts_are_listed_with_their_real_names(odd: list[Path], tmp_path: Path) -> None:
    for place in odd:
        mounting.mount_memory(place)
    try:
        found = [mount for mount in mounts() if tmp_path in mount.target.parents]
        assert [mount.target for mount in found] == odd
        assert {(mount.kind, mount.source, mount.root, mount.read_only) for mount in found} == {
            ("tmpfs", "orlop", "/", False)
        }
    finally:
        for place in odd:
            mounting.unmount(place)


def test_a_mount_in_use_is_busy_and_says_by_whom(target: Path) -> None:
    mounting.mount_memory(target)
    with (target / "file").open("w"):
        assert os.getpid() in [process for process, _ in holders(target)]
        with pytest.raises(Busy, match=rf"in use by .*\({os.getpid()}\)"):
            mounting.unmount(target)
        mounting.unmount(target, lazy=True)
    assert not target.is_mount()


def test_unmounting_what_is_no_mount_says_so(target: Path) -> None:
    with pytest.raises(NotFound, match="is not a mount"):
        mounting.unmount(target)
    with pytest.raises(NotFound):
        mounting.unmount(target / "missing")


def test_a_link_to_a_mount_is_not_followed_when_unmounting(tmp_path: Path, target: Path) -> None:
    mounting.mount_memory(target)
    link = tmp_path / "link"
    link.symlink_to(target)
    with pytest.raises(Error):
        mounting.unmount(link)
    assert target.is_mount()


def test_refusals_of_the_kernel_leave_nothing_mounted(tmp_path: Path, target: Path) -> None:
    junk = tmp_path / "junk"
    junk.write_bytes(bytes(8192))
    with pytest.raises(Unsupported):
        mounting.mount_erofs(junk, [], target)
    with pytest.raises(NotFound):
        mounting.mount_erofs(tmp_path / "missing", [], target)
    with pytest.raises(NotFound):
        mounting.mount_overlay([tmp_path / "missing", tmp_path], target)
    with pytest.raises(NotFound):
        mounting.bind(tmp_path / "missing", target, read_only=True)
    assert not target.is_mount()


def test_the_kernels_own_words_are_passed_on(tmp_path: Path, target: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(Error, match=r"the kernel says: .*not a directory"):
        mounting.mount_overlay([file, tmp_path], target)


def test_a_failed_mount_leaves_no_descriptor_open(tmp_path: Path, target: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(Error):
        mounting.mount_erofs(tmp_path / ("x" * 250), [], target)
    with pytest.raises(Error):
        mounting.mount_overlay([tmp_path / "a\\b", tmp_path], target)
    assert len(os.listdir("/proc/self/fd")) == before
