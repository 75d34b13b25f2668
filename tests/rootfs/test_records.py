"""Records of mounts: only what this store wrote, and only what mountinfo shows."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.model.digest import Digest
from orlop.rootfs.mounting import mount_memory, unmount
from orlop.rootfs.records import Record, Records
from tests.support.stores import parts

DIGEST = Digest.of(b"image")
ROOT = Path("/")  # something is always mounted there

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records") / "store"


@pytest.fixture(scope="module")
def records(place: Path) -> Iterator[Records]:
    with parts(place) as (disk, _, session):
        yield Records(disk, session.scratch)


def _record(target: Path = ROOT, over: str = "") -> Record:
    return Record("localhost/x:1", DIGEST, target, "erofs", False, (DIGEST,), over)


def _written(records: Records, place: Path) -> tuple[Path, dict[str, Any]]:
    """A good record, to be made a bad one."""
    number = records.place()
    records.write(number, _record())
    assert [record for found, record in records.live() if found == number] == [_record()]
    file = place / "mounts" / number / "record"
    return file, json.loads(file.read_bytes())


def _dropped(records: Records, file: Path) -> None:
    assert records.live() == []
    records.clear()
    assert not file.exists()


@pytest.mark.parametrize(
    "raw",
    [b"", b"0", b"{", b'{"a":1}', b"[1]", b'"text"', b"null", b"\xff\xfe", b"\0" * 300, b"[" * 100_000, b"NaN"],
    ids=["empty", "zero", "torn", "other", "list", "string", "null", "binary", "zeros", "deep", "nan"],
)
def test_what_is_no_record_is_none_and_is_cleared_away(records: Records, place: Path, raw: bytes) -> None:
    file, _ = _written(records, place)
    file.write_bytes(raw)
    _dropped(records, file)


@pytest.mark.parametrize(
    "lie",
    [
        {"store": None},
        {"name": 5},
        {"digest": "sha256:12"},
        {"digest": 1},
        {"target": ["/"]},
        {"target": "/\0"},
        {"target": "\ud800"},
        {"driver": None},
        {"made": "yes"},
        {"uses": "sha256"},
        {"uses": [1]},
        {"uses": None},
        {"over": {}},
    ],
    ids=str,
)
def test_a_field_of_another_type_makes_it_none(records: Records, place: Path, lie: dict[str, Any]) -> None:
    file, fields = _written(records, place)
    file.write_text(json.dumps({**fields, **lie}))
    _dropped(records, file)


_FIELDS = ("store", "name", "digest", "target", "driver", "made", "uses", "over")


@given(lies=st.dictionaries(st.sampled_from(_FIELDS), _json, max_size=3))
def test_any_values_make_a_record_or_none(records: Records, place: Path, lies: dict[str, Any]) -> None:
    file, fields = _written(records, place)
    assert set(fields) == set(_FIELDS)
    file.write_text(json.dumps({**fields, **lies}))
    for _, record in records.live():
        assert isinstance(record.over, str)
    file.write_text("")
    _dropped(records, file)


def test_stray_files_among_the_records_stop_nothing(records: Records, place: Path) -> None:
    file, _ = _written(records, place)
    file.unlink()
    (place / "mounts/stray").write_text("x")
    (place / "mounts/empty").mkdir()
    (place / "mounts/odd/record").mkdir(parents=True)
    assert records.live() == []
    records.clear()
    assert sorted(os.listdir(place / "mounts")) == ["odd", "stray"]
    (place / "mounts/stray").unlink()
    (place / "mounts/odd/record").rmdir()
    records.clear()


@pytest.mark.root
def test_a_record_without_its_mount_is_dropped_and_one_of_a_mount_kept(records: Records, tmp_path: Path) -> None:
    target = tmp_path / os.fsdecode(b"not-utf-8-\xff")
    target.mkdir()
    number = records.place()
    records.write(number, _record(target))
    assert records.live() == []
    mount_memory(target)
    try:
        assert records.live() == [(number, _record(target))]
        records.cover(target, tmp_path / "over")
        records.clear()
        assert records.live() == [(number, _record(target, str(tmp_path / "over")))]
    finally:
        unmount(target)
    records.clear()
    assert records.live() == []


def test_a_record_of_a_version_that_did_not_say_the_store_is_believed_while_its_mount_is_there(
    records: Records, place: Path, tmp_path: Path
) -> None:
    file, fields = _written(records, place)
    del fields["store"]
    file.write_text(json.dumps(fields))
    assert records.live() == [(file.parent.name, _record())]
    records.clear()
    assert records.live() == [(file.parent.name, _record())]
    file.write_text(json.dumps({**fields, "target": str(tmp_path)}))
    _dropped(records, file)
