"""Names: compare and swap, over threads and damage."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from orlop.catalog.names import Names
from orlop.errors import Damaged
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.media import OCI_MANIFEST
from orlop.ports import Tagged
from tests.support.stores import parts


def _tagged(name: str, content: bytes = b"a") -> Tagged:
    return Tagged(name, Descriptor(OCI_MANIFEST, Digest.of(content), len(content)), "docker://host/repo", "now")


def test_a_name_moves_only_from_where_it_was_expected(tmp_path: Path) -> None:
    with parts(tmp_path / "store") as (disk, locks, session):
        names = Names(disk, locks, session)
        one, two = _tagged("host/a:1", b"one"), _tagged("host/a:1", b"two")
        assert names.swap("host/a:1", None, one)
        assert not names.swap("host/a:1", None, two)
        assert not names.swap("host/a:1", two.target.digest, None)
        assert names.all() == {"host/a:1": one}
        assert names.swap("host/a:1", one.target.digest, two)
        assert names.swap("host/a:1", two.target.digest, None)
        assert names.all() == {}


def test_no_name_is_lost_among_many_writers(tmp_path: Path) -> None:
    with parts(tmp_path / "store") as (disk, locks, session):
        names = Names(disk, locks, session)

        def write(number: int) -> None:
            for index in range(5):
                assert names.swap(f"h/{number}:{index}", None, _tagged(f"h/{number}:{index}"))

        threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(names.all()) == 30


def test_the_file_is_an_oci_index(tmp_path: Path) -> None:
    with parts(tmp_path / "store") as (disk, locks, session):
        Names(disk, locks, session).swap("host/a:1", None, _tagged("host/a:1"))
    index = json.loads((tmp_path / "store/index.json").read_bytes())
    assert index["schemaVersion"] == 2
    assert index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] == "host/a:1"
    assert json.loads((tmp_path / "store/oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"manifests": 3}', b'{"manifests": [{}]}', b"\0" * 100])
def test_a_damaged_file_is_named_and_left_alone(tmp_path: Path, raw: bytes) -> None:
    with parts(tmp_path / "store") as (disk, locks, session):
        file = tmp_path / "store/index.json"
        file.write_bytes(raw)
        names = Names(disk, locks, session)
        with pytest.raises(Damaged, match=r"index\.json"):
            names.all()
        with pytest.raises(Damaged):
            names.swap("host/a:1", None, _tagged("host/a:1"))
        assert file.read_bytes() == raw


def test_what_another_process_writes_is_seen_and_what_a_caller_does_to_the_answer_is_not(tmp_path: Path) -> None:
    with parts(tmp_path / "store") as (disk, locks, session):
        names, other = Names(disk, locks, session), Names(disk, locks, session)
        one, two = _tagged("host/a:1", b"one"), _tagged("host/a:1", b"two")
        assert names.swap("host/a:1", None, one)
        names.all().clear()
        assert names.all() == {"host/a:1": one}
        assert other.swap("host/a:1", one.target.digest, two)  # as many bytes as before
        assert names.all() == {"host/a:1": two}
        (tmp_path / "store/index.json").write_bytes(b"{")
        with pytest.raises(Damaged):
            names.all()
        with pytest.raises(Damaged):
            names.all()
