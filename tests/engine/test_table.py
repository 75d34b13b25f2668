"""Lists of environments: `engine.table`."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.engine.env import Env
from orlop.engine.table import Table
from orlop.errors import Error, Invalid


def rows(*values: str) -> list[Env]:
    return [Env({"Key": value}) for value in values]


def values(table: Table) -> list[str]:
    return [row.get("Key") for row in table]


def test_E12_one_object_a_line_or_one_list() -> None:
    table = Table(rows=[Env({"foo": "bar"}), Env({"foo": "1"})])
    assert table.encode() == b'{"foo":"bar"}\n{"foo":"1"}\n'
    assert table.encode_list() == b'[{"foo":"bar"}\n,{"foo":"1"}\n]'
    assert Table().encode_list() == b"[]"
    assert len(table) == 2


def test_E12_rows_are_sorted_as_text() -> None:
    table = Table("Key", rows("A", "D", "B", "C"))
    table.sort()
    assert values(table) == ["A", "B", "C", "D"]
    table.reverse_sort()
    assert values(table) == ["D", "C", "B", "A"]


def test_E12_numbers_are_sorted_as_numbers() -> None:
    table = Table("Key", rows("10", "9", "-1", "100"))
    table.sort()
    assert values(table) == ["-1", "9", "10", "100"]
    table.key = "Other"
    table.reverse_sort()
    assert values(table) == ["-1", "9", "10", "100"], "equal rows stay in order"


def test_E12_a_table_is_read_back() -> None:
    table = Table(rows=rows("1", "true", "x"))
    for write, read in ((Table.encode, Table.decode), (Table.encode_list, Table.decode_list)):
        other = Table()
        read(other, write(table))
        assert values(other) == ["1", "true", "x"]


@pytest.mark.parametrize("raw", [b"", b"{}", b"[", b"[{]", b"\xff", b"1"])
def test_E12_what_is_no_list_is_refused(raw: bytes) -> None:
    with pytest.raises(Invalid, match=r"^table: "):
        Table().decode_list(raw)


@given(st.binary(max_size=30))
def test_E12_only_our_errors_leave_the_decoder(raw: bytes) -> None:
    with suppress(Error):
        Table().decode(raw)


@given(st.lists(st.text(max_size=4) | st.integers(-50, 50).map(str), max_size=8))
def test_E12_sorting_loses_nothing(texts: list[str]) -> None:
    table = Table("Key", rows(*texts))
    table.sort()
    assert sorted(values(table)) == sorted(texts)
    assert [json.loads(row.encode())["Key"] for row in table] == values(table)
