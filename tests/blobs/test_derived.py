"""Derived files: trusted under the boot that made them, or once synced."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from orlop.blobs.derived import DerivedFiles
from orlop.disk.disk import Disk
from orlop.errors import Damaged
from orlop.model.digest import Digest
from tests.support.stores import parts

DIGEST = Digest.of(b"chain")


def _make(derived: DerivedFiles, kind: str = "erofs", content: bytes = b"x" * 1000) -> None:
    with derived.draft(kind, DIGEST) as path:
        path.write_bytes(content)


def test_ST01_after_another_boot_only_what_was_synced_is_trusted(tmp_path: Path) -> None:
    with parts(tmp_path / "store") as (disk, _, session):
        first, second = (DerivedFiles(disk, session, boot) for boot in ("boot-1", "boot-2"))
        _make(first)
        assert first.path("erofs", DIGEST) is not None
        assert second.path("erofs", DIGEST) is None
        assert first.settle(older_than=60) == 0  # too fresh
        assert first.settle(older_than=0) == 1
        assert second.path("erofs", DIGEST) is not None
        assert first.settle(older_than=0) == 0


def test_settling_never_vouches_for_what_another_boot_wrote(tmp_path: Path) -> None:
    with parts(tmp_path / "store") as (disk, _, session):
        _make(DerivedFiles(disk, session, "boot-1"))
        later = DerivedFiles(disk, session, "boot-2")
        assert later.settle(older_than=0) == 0
        assert later.path("erofs", DIGEST) is None


class _Busy(Disk):
    """While it syncs a file, somebody else does something."""

    def __init__(self, root: Path, meanwhile: Callable[[], None]) -> None:
        super().__init__(root)
        self.meanwhile = meanwhile

    def sync(self, descriptor: int) -> None:
        super().sync(descriptor)
        self.meanwhile()


@pytest.mark.parametrize("again", [True, False])
def test_ST01_settling_vouches_for_nothing_that_came_or_went_meanwhile(tmp_path: Path, again: bool) -> None:
    with parts(tmp_path / "store") as (disk, _, session):
        other = DerivedFiles(disk, session, "boot")

        def meanwhile() -> None:
            other.discard([("tar", DIGEST)])
            if again:
                _make(other, "tar", b"y" * 1000)

        _make(other, "tar")
        assert DerivedFiles(_Busy(disk.root, meanwhile), session, "boot").settle(older_than=0) == 0
        mark = other.mark("tar", DIGEST)
        assert (mark is not None and not mark.synced) if again else mark is None
        assert other.settle(older_than=0) == (1 if again else 0)


def test_ST01_what_is_gone_when_it_should_be_synced_is_no_error(tmp_path: Path) -> None:
    with parts(tmp_path / "store") as (disk, _, session):
        derived = DerivedFiles(disk, session, "boot")
        _make(derived, "tar")
        disk.remove(f"derived/tar/sha256-{DIGEST.encoded}")
        assert derived.settle(older_than=0) == 0


def test_a_draft_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with parts(tmp_path / "store") as (disk, _, session):
        derived = DerivedFiles(disk, session, "boot")
        with pytest.raises(ZeroDivisionError), derived.draft("directory", DIGEST) as path:
            path.mkdir()
            (path / "file").write_text("half")
            raise ZeroDivisionError
        session.close()
        assert derived.path("directory", DIGEST) is None
        assert disk.names("sessions") == []


_MARK = {"boot": "boot", "synced": True, "size": 1000, "sha256": ""}
_ODD: list[dict[str, object]] = [
    {"boot": 1},
    {"synced": 1},
    {"size": "x"},
    {"size": -1},
    {"size": 1.5},
    {"size": True},
    {"sha256": None},
]


@pytest.mark.parametrize(
    "torn",
    [b"", b"{", b'{"boot": "boot"}', b"\0" * 60, b"\xff", b"[1]", b'"text"', b"[" * 4000]
    + [json.dumps({**_MARK, **odd}).encode() for odd in _ODD],
)
def test_a_torn_mark_is_no_mark(tmp_path: Path, torn: bytes) -> None:
    with parts(tmp_path / "store") as (disk, _, session):
        derived = DerivedFiles(disk, session, "boot")
        _make(derived)
        (tmp_path / f"store/derived/erofs/sha256-{DIGEST.encoded}.mark").write_bytes(torn)
        assert derived.path("erofs", DIGEST) is None
        assert derived.damage("erofs", DIGEST) == ""
        assert derived.settle(older_than=-1) == 0
        _make(derived)
        assert derived.path("erofs", DIGEST) is not None


def test_ST02_flips_and_truncations_are_found(tmp_path: Path) -> None:
    with parts(tmp_path / "store") as (disk, _, session):
        derived = DerivedFiles(disk, session, "boot")
        _make(derived)
        file = tmp_path / f"store/derived/erofs/sha256-{DIGEST.encoded}"
        assert derived.damage("erofs", DIGEST) == ""
        file.write_bytes(b"x" * 500 + b"y" + b"x" * 499)
        assert "digest" in derived.damage("erofs", DIGEST)
        os.truncate(file, 999)
        assert "999 bytes" in derived.damage("erofs", DIGEST)
        assert derived.path("erofs", DIGEST) is None  # a short one is not even offered


class _Watching(Disk):
    """Sees whether another process could give the same name at the same time."""

    taken = False

    def replace(self, source: str, target: str) -> None:
        descriptor = self.create("locks/derived", keep=True)
        self.taken |= self.lock(descriptor, wait=False)
        self.close(descriptor)
        super().replace(source, target)


def test_ST05_one_process_at_a_time_gives_a_derived_file_its_name(tmp_path: Path) -> None:
    with parts(tmp_path / "store") as (_disk, _, session):
        disk = _Watching(tmp_path / "store")
        derived = DerivedFiles(disk, session, "boot")
        for kind in ("erofs", "directory"):
            with derived.draft(kind, DIGEST) as path:
                path.mkdir() if kind == "directory" else path.write_bytes(b"x")
            assert derived.path(kind, DIGEST) is not None
        assert not disk.taken


class _Failing(Disk):
    def sync(self, descriptor: int) -> None:
        raise Damaged("file: cannot sync: input/output error")


def test_ST04_a_derived_file_that_could_not_be_synced_is_made_again(tmp_path: Path) -> None:
    with parts(tmp_path / "store") as (disk, _, session):
        derived = DerivedFiles(disk, session, "boot")
        derived.put("index", DIGEST, [b"content"])
        assert derived.path("index", DIGEST) is not None
        with pytest.raises(Damaged):
            DerivedFiles(_Failing(tmp_path / "store"), session, "boot").settle(older_than=-1)
        assert derived.path("index", DIGEST) is None
        assert derived.settle(older_than=-1) == 0


def test_a_derived_file_without_a_mark_is_no_fault_and_not_trusted(tmp_path: Path) -> None:
    with parts(tmp_path / "store") as (disk, _, session):
        derived = DerivedFiles(disk, session, "boot")
        derived.put("index", DIGEST, [b"content"])
        disk.remove(f"derived/index/sha256-{DIGEST.encoded}.mark")
        assert derived.damage("index", DIGEST) == ""
        assert derived.path("index", DIGEST) is None
        derived.put("index", DIGEST, [b"content", b" again"])
        assert (tmp_path / f"store/derived/index/sha256-{DIGEST.encoded}").read_bytes() == b"content again"


def test_directories_are_replaced_and_raced_for(tmp_path: Path) -> None:
    with parts(tmp_path / "store") as (disk, _, session):
        derived = DerivedFiles(disk, session, "boot")
        for word in ("one", "two"):
            with derived.draft("directory", DIGEST) as path:
                path.mkdir()
                (path / word).write_text(word)
        found = derived.path("directory", DIGEST)
        assert found is not None
        derived.discard([("directory", DIGEST)])
        assert derived.path("directory", DIGEST) is None
        assert derived.digests("directory") == []
