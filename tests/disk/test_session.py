"""Sessions: scratch files and leases end with their process."""

from __future__ import annotations

from pathlib import Path

import pytest

from orlop.disk import session as sessions
from orlop.disk.disk import Disk
from orlop.disk.locks import Locks
from orlop.disk.session import Session
from orlop.errors import Denied
from orlop.model.digest import Digest
from tests.support.stores import kill, parts, start_python

_LIVE = """
import sys, pathlib
from orlop.disk.disk import Disk; from orlop.disk.locks import Locks; from orlop.disk.session import Session
from orlop.model.digest import Digest
disk = Disk(pathlib.Path(sys.argv[1])); session = Session(disk, Locks(disk))
disk.create(session.scratch()); held = session.lease(); held.__enter__().rely_on([Digest.of(b"theirs")])
print("ready", flush=True); sys.stdin.readline()
"""


def test_ST07_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    with parts(tmp_path / "store") as (disk, _, _session):
        other = start_python(_LIVE, disk.root)
        assert other.stdout is not None
        other.stdout.readline()
        assert sessions.clear(disk, lambda path: None) == 0  # it lives
        assert sessions.leased(disk) == {Digest.of(b"theirs")}
        kill(other)
        assert sessions.clear(disk, lambda path: None) == 1
        assert disk.names("sessions") == []
        assert sessions.leased(disk) == set()


def test_a_closed_session_leaves_nothing(tmp_path: Path) -> None:
    with parts(tmp_path / "store") as (disk, _, session):
        disk.make_directory(session.scratch())
        with session.lease() as one, session.lease() as two:
            one.rely_on([Digest.of(b"a"), Digest.of(b"b")])
            two.rely_on([Digest.of(b"c")])
            one.rely_on([Digest.of(b"d")])
            assert sessions.leased(disk) == {Digest.of(word) for word in (b"a", b"b", b"c", b"d")}
        assert sessions.leased(disk) == set()
        session.close()
        session.close()
        assert disk.names("sessions") == []


class _Refusing(Disk):
    """A disk where one kind of call goes wrong once."""

    def __init__(self, root: Path, broken: str) -> None:
        super().__init__(root)
        self._broken = broken

    def _fail(self, call: str) -> None:
        if call == self._broken:
            self._broken = ""
            raise Denied(f"{call}: refused")

    def lock(self, descriptor: int, *, shared: bool = False, wait: bool = True) -> bool:
        self._fail("lock")
        return super().lock(descriptor, shared=shared, wait=wait)

    def is_named(self, descriptor: int) -> bool:
        self._fail("is_named")
        return super().is_named(descriptor)

    def make_directory(self, name: str) -> None:
        self._fail("make_directory")
        super().make_directory(name)


@pytest.mark.parametrize("broken", ["lock", "is_named", "make_directory"])
def test_a_session_that_cannot_begin_keeps_no_lock_and_may_begin_again(tmp_path: Path, broken: str) -> None:
    with parts(tmp_path / "store") as (disk, _, _session):
        refusing = _Refusing(disk.root, broken)
        session = Session(refusing, Locks(refusing))
        with pytest.raises(Denied):
            session.scratch()
        assert sessions.clear(disk, lambda path: None) == 1
        disk.make_directory(session.scratch())
        session.close()
        assert disk.names("sessions") == []
