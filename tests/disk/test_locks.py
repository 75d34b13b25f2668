"""Locks between processes."""

from __future__ import annotations

import select
import threading
import time
from pathlib import Path

import pytest

from orlop.disk.disk import Disk
from orlop.disk.locks import Locks
from orlop.errors import Cancelled, Damaged
from orlop.job import Event, Job
from orlop.model.digest import Digest
from tests.support.stores import kill, parts, start_python

DIGEST = Digest.of(b"content")
_HOLD = """
import sys, pathlib
from orlop.disk.disk import Disk; from orlop.disk.locks import Locks; from orlop.job import Job
from orlop.model.digest import Digest
with Locks(Disk(pathlib.Path(sys.argv[1]))).digest(Digest(sys.argv[2]), Job()):
    print("held", flush=True); sys.stdin.readline()
"""


def test_a_digest_is_held_by_one_process_at_a_time(tmp_path: Path) -> None:
    with parts(tmp_path / "store") as (disk, locks, _):
        other = start_python(_HOLD, disk.root, DIGEST)
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        events: list[Event] = []
        job = Job(progress=events.append)
        threading.Timer(0.3, job.stop).start()
        with pytest.raises(Cancelled), locks.digest(DIGEST, job):
            pytest.fail("two hold one digest")
        assert [event.kind for event in events] == ["wait"]
        other.communicate("\n")
        with locks.digest(DIGEST, Job()):
            pass


def test_ST07_a_killed_holder_frees_its_lock(tmp_path: Path) -> None:
    with parts(tmp_path / "store") as (disk, locks, _):
        other = start_python(_HOLD, disk.root, DIGEST)
        assert other.stdout is not None
        other.stdout.readline()
        kill(other)
        started = time.monotonic()
        with locks.digest(DIGEST, Job()):
            assert time.monotonic() - started < 5
        assert DIGEST.encoded not in "".join(disk.names("locks"))


def test_ST07_a_collection_clears_the_locks_of_killed_holders_and_no_others(tmp_path: Path) -> None:
    with parts(tmp_path / "store") as (disk, locks, _):
        dead = Digest.of(b"dead")
        killed = start_python(_HOLD, disk.root, dead)
        assert killed.stdout is not None
        killed.stdout.readline()
        kill(killed)
        with locks.digest(DIGEST, Job()), locks.names():
            locks.clear()
            assert disk.names("locks") == ["names", f"sha256-{DIGEST.encoded}"]


def test_ST19_many_threads_never_hold_one_digest_together(tmp_path: Path) -> None:
    inside, worst = 0, 0

    def run() -> None:
        nonlocal inside, worst
        for _ in range(20):
            with locks.digest(DIGEST, Job()):
                inside += 1
                worst = max(worst, inside)
                time.sleep(0.0002)
                inside -= 1

    with parts(tmp_path / "store") as (_, locks, _session):
        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert worst == 1


def test_ST16_a_lock_outlives_another_descriptor_of_its_file(tmp_path: Path) -> None:
    """As POSIX record locks do not: those go when any descriptor of the file is closed."""
    with parts(tmp_path / "store") as (disk, locks, _), locks.digest(DIGEST, Job()):
        name = f"locks/{DIGEST.algorithm}-{DIGEST.encoded}"
        disk.close(disk.create(name, keep=True))
        disk.close(disk.open(name))
        other = start_python(_HOLD, disk.root, DIGEST)
        assert other.stdout is not None
        assert select.select([other.stdout], [], [], 1.0)[0] == []
        kill(other)


class _Stuck(Disk):
    """A disk from which nothing can be removed."""

    def remove(self, name: str) -> bool:
        raise Damaged(f"{name}: the disk failed")


def test_a_lock_that_cannot_be_cleared_is_not_kept(tmp_path: Path) -> None:
    with parts(tmp_path / "store") as (disk, locks, _):
        disk.close(disk.create(f"locks/{DIGEST.algorithm}-{DIGEST.encoded}"))
        with pytest.raises(Damaged):
            Locks(_Stuck(disk.root)).clear()
        job = Job()
        threading.Timer(5, job.stop).start()
        with locks.digest(DIGEST, job):
            assert not job.stopped
