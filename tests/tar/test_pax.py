"""Extended headers of times alone are read by a short way, which must say just what the long one says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import Error
from orlop.tar.pax import Overrides, overrides, records, times_only
from tests.support.tars import record

_TIME = st.from_regex(rb"-?[0-9]{0,12}(\.[0-9]{0,10})?", fullmatch=True)
_HEADER = st.lists(st.tuples(st.sampled_from([b"mtime", b"atime", b"ctime", b"uid", b"path"]), _TIME), max_size=4)


def _long_way(data: bytes) -> Overrides | None:
    try:
        return overrides(records(data, "here"), "here")
    except Error:
        return None


@given(_HEADER, st.integers(-1, 60), st.binary(max_size=1))
def test_the_short_way_agrees_with_the_long_one(pairs: list[tuple[bytes, bytes]], place: int, changed: bytes) -> None:
    data = b"".join(record(key, value) for key, value in pairs)
    if 0 <= place < len(data):
        data = data[:place] + changed + data[place + 1 :]
    short = times_only(data)
    assert short is None or short == _long_way(data)


def test_it_takes_what_gnu_tar_writes() -> None:
    times = [(b"mtime", b"1700000000.123456789"), (b"atime", b"1700000001.5"), (b"ctime", b"1700000002")]
    for count in (1, 2, 3):
        data = b"".join(record(key, value) for key, value in times[:count])
        assert times_only(data) == Overrides(mtime_ns=1_700_000_000_123_456_789)
