"""Unpacking that is stopped, killed, short of space, or done twice at once: nothing half-done is left."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from orlop.errors import Busy, Cancelled, Conflict, Damaged, NoSpace
from orlop.job import Job
from orlop.ports import Stack
from orlop.rootfs.directory import write_tree
from orlop.rootfs.mounting import mount_memory, unmount
from tests.support.tars import entry, tar
from tests.support.trees import make_stack


def unpack(stack: Stack, target: Path, *, own: bool = True, job: Job | None = None) -> tuple[str, ...]:
    return write_tree(stack.tree, stack.layers, target, job=job or Job(), own=own, sync=False).notes


@pytest.mark.root
@pytest.mark.parametrize("full", ["bytes", "inodes"])
def test_EX25_a_full_disk_leaves_nothing(tmp_path: Path, full: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount_memory(disk, "size=8m" if full == "bytes" else "nr_inodes=200")
    try:
        size = 1 << 20 if full == "bytes" else 1
        stack = make_stack(
            tmp_path, tar(*(entry(f"d{n % 7}/f{n}", data=b"x" * size) for n in range(400 if size == 1 else 20)))
        )
        with pytest.raises(NoSpace):
            unpack(stack, disk / "out")
        assert os.listdir(disk) == []
        unpack(make_stack(tmp_path, tar(entry("small", data=b"s"))), disk / "out")
        assert os.listdir(disk / "out") == ["small"]
    finally:
        unmount(disk, lazy=True)


def test_EX25_a_stopped_job_leaves_nothing(stack: Stack, tmp_path: Path) -> None:
    job = Job()
    job.stop()
    (tmp_path / "empty").mkdir()
    for name in ("out", "empty"):
        with pytest.raises(Cancelled):
            unpack(stack, tmp_path / name, own=False, job=job)
    assert sorted(os.listdir(tmp_path)) == ["empty", "layers"]


def test_EX25_a_tar_that_is_too_short_leaves_nothing(tmp_path: Path) -> None:
    stack = make_stack(tmp_path, tar(entry("file", data=b"x" * 5000)))
    assert stack.tree.root.children
    os.truncate(stack.layers[0].tar, 2048)
    with pytest.raises(Damaged, match="ends at 2048"):
        unpack(stack, tmp_path / "out", own=False)
    assert len(os.listdir(tmp_path)) == 1


def test_EX25_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from orlop.rootfs.staging import staged
with staged(Path(sys.argv[1]), sync=False) as root:
    import os
    os.mkdir("sub", dir_fd=root)
    print("ready", flush=True)
    time.sleep(60)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    stack = make_stack(tmp_path, tar(entry("file", data=b"x")))
    place = tmp_path / "place"
    place.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", code, place / "out"], stdout=subprocess.PIPE, env=environment
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        unpack(stack, place / "out", own=False)
        assert len(os.listdir(place)) == 2
        other.kill()
    (place / "out/file").unlink()
    (place / ".out.orlop-notes").mkdir()
    unpack(stack, place / "out", own=False)
    assert sorted(os.listdir(place)) == [".out.orlop-notes", "out"]


@pytest.mark.root
def test_a_mount_is_no_target_and_stays_empty(tmp_path: Path) -> None:
    place = tmp_path / "mount"
    place.mkdir()
    mount_memory(place)
    try:
        with pytest.raises(Busy, match="is a mount"):
            unpack(make_stack(tmp_path, tar(entry("file", data=b"x"))), place)
        assert os.listdir(place) == []
        assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["mount"]
    finally:
        unmount(place)


def test_several_at_once_into_one_place_give_one_tree_and_errors(tmp_path: Path) -> None:
    stack = make_stack(tmp_path, tar(*(entry(f"d/{number}", data=b"x") for number in range(50))))
    assert stack.tree.root.children
    (tmp_path / "place").mkdir()
    outcomes: list[str] = []

    def work() -> None:
        try:
            unpack(stack, tmp_path / "place/out", own=False)
            outcomes.append("written")
        except Conflict:
            outcomes.append("conflict")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["conflict"] * 7 + ["written"]
    assert os.listdir(tmp_path / "place") == ["out"]
    assert len(os.listdir(tmp_path / "place/out/d")) == 50
