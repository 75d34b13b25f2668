"""The three drivers show the same tree, and leave nothing when they cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from orlop.blobs.derived import DerivedFiles
from orlop.errors import Cancelled, NotFound, Unsupported, Usage
from orlop.job import Job
from orlop.model.tree import Entry, Kind, Tree
from orlop.ports import Layer, Stack
from orlop.rootfs.choose import choose
from orlop.rootfs.mounting import mount_memory, unmount
from tests.support.stores import parts
from tests.support.tars import entry, opaque, tar, whiteout
from tests.support.trees import difference, expected, make_stack, snapshot

pytestmark = pytest.mark.root
DRIVERS = ["erofs", "overlay", "directory"]


def differences(stack: Stack, root: Path, driver: str) -> list[str]:
    # overlayfs counts no subdirectories, and names that an upper layer removed still count; sharing is compared
    ignored = frozenset({"links"}) if driver == "overlay" else frozenset[str]()
    return difference(expected(stack.tree, [layer.tar for layer in stack.layers]), snapshot(root), ignore=ignored)


@pytest.mark.parametrize("name", DRIVERS)
def test_EX14_EX16_EX17_the_mount_is_the_merged_tree(
    name: str, stack: Stack, derived: DerivedFiles, target: Path
) -> None:
    driver, why = choose(name, derived)
    assert (driver.name, why) == (name, "")
    driver.mount(stack, target, job=Job())
    assert differences(stack, target, name) == []
    with pytest.raises(OSError, match="Read-only"):
        (target / "new").touch()


def test_the_best_driver_is_chosen(derived: DerivedFiles) -> None:
    driver, why = choose("auto", derived)
    assert (driver.name, why) == ("erofs", "")


def test_trying_drivers_leaves_nothing_in_the_store(derived: DerivedFiles, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    for name in DRIVERS:
        assert choose(name, derived)[0].unable() == ""
    left = [path for path in tmp_path.rglob("*") if path not in before and not path.is_dir()]
    assert [path for path in left if path.parent.name != "sessions"] == []
    assert [derived.digests(kind) for kind in DRIVERS] == [[], [], []]


def test_where_erofs_cannot_work_the_next_is_chosen_and_it_is_said_why(stack: Stack, tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    memory.mkdir()
    # the kernel mounts EROFS from files only where it reads them through the page cache: not from tmpfs
    mount_memory(memory)
    try:
        with parts(memory / "store") as (disk, _, session):
            driver, why = choose("auto", DerivedFiles(disk, session, "boot"))
            assert driver.name == "overlay"
            assert why.startswith("erofs: ")
            with pytest.raises(Unsupported, match=r"driver erofs: .*Linux 6\.12"):
                choose("erofs", DerivedFiles(disk, session, "boot"))
            shown = memory / "shown"
            shown.mkdir()
            driver.mount(stack, shown, job=Job())
            assert differences(stack, shown, "overlay") == []
            unmount(shown)
    finally:
        unmount(memory, lazy=True)


def test_an_unknown_driver_is_refused_with_the_names_of_all(derived: DerivedFiles) -> None:
    with pytest.raises(Usage, match="auto, erofs, overlay, directory"):
        choose("devicemapper", derived)


def test_without_root_no_driver_works_and_it_says_so_once() -> None:
    code = """
import os
from orlop.rootfs.choose import choose
from orlop.errors import Denied
os.setresuid(65534, 65534, 65534)
try:
    choose("auto", None)
except Denied as error:
    print(error)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("mount: needs root (CAP_SYS_ADMIN); ")
    assert "orlop unpack" in done.stdout


@pytest.mark.parametrize("name", DRIVERS)
def test_what_was_made_is_used_again_without_reading_the_layers(
    name: str, stack: Stack, derived: DerivedFiles, target: Path
) -> None:
    driver, _ = choose(name, derived)
    driver.mount(stack, target, job=Job())
    unmount(target)
    blind = Stack(stack.chain, tuple(Layer(layer.diff_id, layer.tar, _no_entries) for layer in stack.layers), _no_tree)
    driver.mount(blind, target, job=Job())
    assert differences(stack, target, name) == []


def _no_entries() -> Sequence[Entry]:
    raise AssertionError("entries were read again")


def _no_tree(layers: Sequence[Sequence[Entry]]) -> Tree:
    raise AssertionError("the tree was built again")


@pytest.mark.parametrize("name", DRIVERS)
def test_images_without_layers_and_of_one_are_mounted(
    name: str, derived: DerivedFiles, target: Path, tmp_path: Path
) -> None:
    driver, _ = choose(name, derived)
    for stack in (make_stack(tmp_path), make_stack(tmp_path, tar(entry("a", data=b"a"))), make_stack(tmp_path, tar())):
        driver.mount(stack, target, job=Job())
        assert differences(stack, target, name) == []
        unmount(target)


@pytest.mark.parametrize("name", DRIVERS)
def test_a_failed_mount_leaves_nothing(name: str, stack: Stack, derived: DerivedFiles, target: Path) -> None:
    driver, _ = choose(name, derived)
    # read before the tar is gone
    assert stack.tree.root.children
    assert all(layer.entries for layer in stack.layers)
    stack.layers[1].tar.unlink()
    with pytest.raises(NotFound):
        driver.mount(stack, target, job=Job())
    assert not target.is_mount()


@pytest.mark.parametrize("name", DRIVERS)
def test_a_stopped_job_mounts_nothing(name: str, stack: Stack, derived: DerivedFiles, target: Path) -> None:
    job = Job()
    job.stop()
    with pytest.raises(Cancelled):
        choose(name, derived)[0].mount(stack, target, job=job)
    assert not target.is_mount()
    assert derived.path(name, stack.chain) is None


def test_layers_that_two_images_share_are_unpacked_once(derived: DerivedFiles, target: Path, tmp_path: Path) -> None:
    lower = tar(entry("lower", data=b"1"))
    one = make_stack(tmp_path, lower, tar(entry("one", data=b"1")))
    two = make_stack(tmp_path, lower, tar(whiteout("lower")))
    for stack in (one, two):
        choose("overlay", derived)[0].mount(stack, target, job=Job())
        assert differences(stack, target, "overlay") == []
        unmount(target)
    assert len(derived.digests("overlay")) == 3


@pytest.mark.parametrize("name", DRIVERS)
def test_EX13_layers_cannot_speak_to_overlayfs(name: str, derived: DerivedFiles, target: Path, tmp_path: Path) -> None:
    base = tar(entry("kept/", Kind.DIRECTORY), entry("kept/file", data=b"1"), entry("also", data=b"2"))
    fakes = {"trusted.overlay.opaque": b"y", "user.overlay.opaque": b"y", "trusted.overlay.redirect": b"/etc"}
    hostile = tar(
        entry("kept/", Kind.DIRECTORY, xattrs=fakes),
        entry("also", Kind.CHARACTER, major=0, minor=0),
        entry("real", Kind.CHARACTER, major=0, minor=1),
    )
    stack = make_stack(tmp_path, base, hostile)
    choose(name, derived)[0].mount(stack, target, job=Job())
    assert (target / "kept/file").read_bytes() == b"1"
    assert (target / "also").read_bytes() == b"2"
    assert os.listxattr(target / "kept") == []
    assert differences(stack, target, name) == []


@pytest.mark.parametrize("name", DRIVERS)
def test_EX11_EX12_many_layers_that_hide_and_bring_back(
    name: str, derived: DerivedFiles, target: Path, tmp_path: Path
) -> None:
    layers = []
    for number in range(60):
        layers.append(
            tar(
                opaque("d") if number % 5 == 0 else entry("d/", Kind.DIRECTORY, mode=0o700 + number % 8),
                entry(f"d/{number}", data=b"%d" % number),
                entry(f"d/sub{number % 3}/{number}", data=b"x"),
                whiteout(f"d/sub{(number + 1) % 3}"),
                entry(f"d/link{number % 4}", Kind.HARDLINK, link=f"d/{number}"),
            )
        )
    stack = make_stack(tmp_path, *layers)
    choose(name, derived)[0].mount(stack, target, job=Job())
    assert differences(stack, target, name) == []


def test_a_mounted_image_outlives_the_names_of_its_files(stack: Stack, derived: DerivedFiles, target: Path) -> None:
    choose("erofs", derived)[0].mount(stack, target, job=Job())
    wanted = expected(stack.tree, [layer.tar for layer in stack.layers])
    for layer in stack.layers:
        layer.tar.unlink()
    derived.discard([("erofs", stack.chain)])
    assert difference(wanted, snapshot(target)) == []
