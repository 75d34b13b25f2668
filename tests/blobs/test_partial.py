"""Half-done downloads."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.blobs.local import LocalBlobs
from orlop.blobs.partial import Partials
from orlop.disk.disk import Disk
from orlop.errors import Cancelled, Damaged, NoSpace, Unavailable
from orlop.job import Job
from orlop.model.digest import Digest
from tests.support.stores import parts
from tests.support.unprivileged import permissions_count

CONTENT = os.urandom(300_000)
DIGEST = Digest.of(CONTENT)


def test_what_was_kept_is_there_for_the_next_process(tmp_path: Path) -> None:
    with parts(tmp_path / "store") as (disk, _, session):
        partials = Partials(disk)
        with partials.open(DIGEST, len(CONTENT)) as partial:
            partial.write(0, CONTENT[:1000])
            partial.write(200_000, CONTENT[200_000:])
            partial.remember("docker://host/repo", '"etag"')
        assert partials.kept(DIGEST) == 101_000
        state = json.loads((tmp_path / f"store/partial/sha256-{DIGEST.encoded}/state").read_bytes())
        assert state == {"size": len(CONTENT), "origin": "docker://host/repo", "validator": '"etag"'}
        with partials.open(DIGEST, len(CONTENT)) as partial:
            assert partial.missing() == [(1000, 200_000)]
            partial.write(1000, CONTENT[1000:200_000])
            reader = partial.follow(Job())
            assert b"".join(iter(lambda: reader.read(7777), b"")) == CONTENT
            partial.publish()
        assert LocalBlobs(disk, session).read(DIGEST, 1 << 20) == CONTENT
        assert partials.names() == []


def test_a_record_cut_in_the_middle_is_not_believed(tmp_path: Path) -> None:
    with parts(tmp_path / "store") as (disk, _, _session):
        partials = Partials(disk)
        with partials.open(DIGEST, len(CONTENT)) as partial:
            partial.write(0, CONTENT[:1000])
            partial.write(2000, CONTENT[2000:3000])
        log = tmp_path / "store/partial" / f"sha256-{DIGEST.encoded}" / "extents"
        log.write_bytes(log.read_bytes()[:-5])
        with partials.open(DIGEST, len(CONTENT)) as partial:
            assert partial.missing() == [(1000, len(CONTENT))]
            partial.write(1000, CONTENT[1000:2000])
        with partials.open(DIGEST, len(CONTENT)) as partial:
            assert partial.missing() == [(2000, len(CONTENT))]


@pytest.mark.parametrize("linked", [False, True])
def test_ST07_what_a_process_killed_while_it_published_left_is_taken_up(tmp_path: Path, linked: bool) -> None:
    with parts(tmp_path / "store") as (disk, _, _session), permissions_count():
        partials = Partials(disk)
        with partials.open(DIGEST, len(CONTENT)) as partial:
            partial.write(0, CONTENT)
        name = f"partial/sha256-{DIGEST.encoded}/data"
        descriptor = disk.open(name)
        disk.seal(descriptor)
        disk.close(descriptor)
        blob = tmp_path / "store/blobs/sha256" / DIGEST.encoded
        if linked:
            os.link(disk.path(name), blob)
        with partials.open(DIGEST, len(CONTENT)) as partial:
            # with the second name it is a blob, and must not be written to
            assert partial.missing() == ([(0, len(CONTENT))] if linked else [])
            partial.write(0, bytes(len(CONTENT)))
        assert not linked or blob.read_bytes() == CONTENT


def test_ST01_extents_beyond_the_data_are_not_believed(tmp_path: Path) -> None:
    with parts(tmp_path / "store") as (disk, _, _session):
        partials = Partials(disk)
        with partials.open(DIGEST, len(CONTENT)) as partial:
            partial.write(0, CONTENT[:5000])
        os.truncate(tmp_path / "store/partial" / f"sha256-{DIGEST.encoded}" / "data", 100)
        with partials.open(DIGEST, len(CONTENT)) as partial:
            assert partial.missing() == [(0, len(CONTENT))]


def test_a_follower_reads_while_others_write_out_of_order(tmp_path: Path) -> None:
    pieces = [(at, CONTENT[at : at + 10_000]) for at in range(0, len(CONTENT), 10_000)]
    with parts(tmp_path / "store") as (disk, _, _session), Partials(disk).open(DIGEST, len(CONTENT)) as partial:

        def write(mine: list[tuple[int, bytes]]) -> None:
            for at, data in mine:
                partial.write(at, data)

        writers = [threading.Thread(target=write, args=(half,)) for half in (pieces[15:], pieces[:15])]
        for writer in writers:
            writer.start()
        reader = partial.follow(Job())
        read = b"".join(iter(lambda: reader.read(1 << 20), b""))
        for writer in writers:
            writer.join()
    assert read == CONTENT


def test_a_follower_hears_of_failure_and_of_a_stop(tmp_path: Path) -> None:
    with parts(tmp_path / "store") as (disk, _, _session), Partials(disk).open(DIGEST, len(CONTENT)) as partial:
        partial.write(0, CONTENT[:10])
        job = Job()
        reader = partial.follow(job)
        assert reader.read(100) == CONTENT[:10]
        threading.Timer(0.1, job.stop).start()
        with pytest.raises(Cancelled):
            reader.read(100)
        partial.fail(Unavailable("gone"))
        with pytest.raises(Unavailable, match="gone"):
            partial.next_chunk(10, 100, Job())


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=12))
def test_extents_say_just_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[int, int]]
) -> None:
    content = bytes(range(80))
    path = tmp_path_factory.mktemp("partial")
    covered: set[int] = set()
    with parts(path / "store") as (disk, _, _session):
        digest = Digest.of(content)
        with Partials(disk).open(digest, len(content)) as partial:
            for start, length in writes:
                partial.write(start, content[start : start + length])
                covered |= set(range(start, min(start + length, 80)))
        with Partials(disk).open(digest, len(content)) as again:
            missing = {at for start, end in again.missing() for at in range(start, end)}
    assert missing == set(range(80)) - covered


class _Failing(Disk):
    """A disk whose fsync fails, as after a write error that the kernel noticed late."""

    def sync(self, descriptor: int) -> None:
        raise Damaged("the disk failed")


@pytest.mark.parametrize("step", ["sync", "publish"])
def test_ST04_what_could_not_be_synced_is_thrown_away(tmp_path: Path, step: str) -> None:
    with parts(tmp_path / "store") as (disk, _, session):
        with pytest.raises(Damaged), Partials(_Failing(disk.root)).open(DIGEST, len(CONTENT)) as partial:
            partial.write(0, CONTENT)
            getattr(partial, step)()
        assert Partials(disk).names() == []
        assert LocalBlobs(disk, session).size(DIGEST) is None


class _Full(Disk):
    """A disk with no room for another name."""

    def publish(self, source: str, target: str) -> bool:
        raise NoSpace("no room for the name")


def test_ST03_what_cannot_get_its_name_is_kept(tmp_path: Path) -> None:
    with parts(tmp_path / "store") as (disk, _, session):
        with pytest.raises(NoSpace), Partials(_Full(disk.root)).open(DIGEST, len(CONTENT)) as partial:
            partial.write(0, CONTENT)
            partial.publish()
        assert Partials(disk).kept(DIGEST) == len(CONTENT)
        with Partials(disk).open(DIGEST, len(CONTENT)) as partial:
            assert partial.missing() == []
            partial.publish()
        assert LocalBlobs(disk, session).read(DIGEST, 1 << 20) == CONTENT


def test_pieces_far_ahead_do_not_stand_in_the_way_of_the_follower(tmp_path: Path) -> None:
    with parts(tmp_path / "store") as (disk, _, _session), Partials(disk).open(DIGEST, len(CONTENT)) as partial:
        for start in range(200_000, 300_000, 1000):
            partial.write(start, CONTENT[start : start + 1000])
        partial.write(0, CONTENT[:1000])
        os.truncate(tmp_path / f"store/partial/sha256-{DIGEST.encoded}/data", 0)
        # what it gets cannot have been read back
        assert partial.follow(Job()).read(7777) == CONTENT[:1000]
