"""Sessions: scratch files and leases end with their process."""

from __future__ import annotations

from pathlib import Path

from orlop.disk import session as sessions
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
