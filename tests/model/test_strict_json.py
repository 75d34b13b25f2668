from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import Invalid
from orlop.model.strict_json import load_object, loads

LEAF = st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    LEAF | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.booleans())
def test_PA10_good_json_is_read_as_it_is(value: Any, ascii_only: bool) -> None:
    assert loads(json.dumps(value, ensure_ascii=ascii_only).encode(), what="x") == value


@given(st.binary(max_size=40) | st.text('{}[]",:0-9.eE+\\u dNaI', max_size=40).map(str.encode))
def test_PA10_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        loads(raw, what="x")
    except Invalid as error:
        assert error.message.startswith("x: ")  # noqa: PT017


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b'{"a":1,"a":2}', "duplicate key 'a'"),
        (b'[{"b":{"a":1,"\\u0061":2}}]', "duplicate key 'a'"),
        (b"[" * 30_000, "deeper"),
        (b"[" * 30_000 + b"]" * 30_000, "deeper"),
        (b"[" * 100_000, "over 45268 values"),
        (b'["' + b'\\"[' * 50_000 + b'"' + b"[" * 70_000, "over [0-9]+ values"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "deeper than 64"),
        (b"NaN", "NaN is not JSON"),
        (b"[-Infinity]", "-Infinity is not JSON"),
        (b"1" * 5000, "a number of 5000 digits"),
        (b"-12345678901234567890", "a number of 20 digits"),
        (b"1e999", "out of range"),
        (b"-1e999", "out of range"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ('{"a":1}'.encode("utf-16"), "not UTF-8"),
        ('{"a":1}'.encode("utf-16-le"), "not JSON"),
        (b'"\\ud800"', "lone surrogate"),
        (b'{"\\udc00":1}', "lone surrogate"),
        (b"\xed\xa0\x80", "not UTF-8"),
        (b"{}x", "not JSON"),
        (b"{} {}", "not JSON"),
        (b"{}\x00", "not JSON"),
        (b"", "not JSON"),
        (b'"\x01"', "not JSON"),
        (b"{'a':1}", "not JSON"),
        (b"[1,]", "not JSON"),
        (b"01", "not JSON"),
    ],
)
def test_PA10_what_readers_disagree_on_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        loads(raw, what="x")


def test_PA10_a_depth_of_64_is_taken() -> None:
    assert loads(b"[" * 64 + b"]" * 64, what="x")


def test_PA10_what_stands_in_strings_are_no_values() -> None:
    text = '[{":,' * 40_000
    raw = json.dumps({"long": text, "more": "\\" * 9, "x": [text]}).encode()
    assert loads(raw, what="x") == {"long": text, "more": "\\" * 9, "x": [text]}


@pytest.mark.parametrize("raw", [b"[]", b"null", b"1", b'"{}"'])
def test_an_object_is_asked_for(raw: bytes) -> None:
    with pytest.raises(Invalid, match="x: expected a JSON object"):
        load_object(raw, what="x")
