"""JSON as Go writes it: `model.go_json`."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import Invalid
from orlop.model import go_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_what_html_or_old_go_would_see_is_escaped() -> None:
    text = go_json.dumps({"b": '<&>\u2028\u2029"\\b', "a": "\b\f\n\x01\x7fé"})
    assert text == r'{"a":"\u0008\u000c\n\u0001' + "\x7fé" + r'","b":"\u003c\u0026\u003e\u2028\u2029\"\\b"}'
    assert go_json.dumps({"b": 1, "a": 2}, sort_keys=False) == '{"b":1,"a":2}'


def test_members_keep_what_they_say_and_lose_their_blanks() -> None:
    raw = b' { "a" : { "z" : 1.50e3 , "b":[ 1 , "x , }\\u003c" ] } , "\\u0062":"<", "c\\"":[],"d":{} ,"e":-0}\n'
    found = go_json.members(raw, what="x")
    assert found == {
        "a": '{"z":1.50e3,"b":[1,"x , }\\u003c"]}',
        "b": '"\\u003c"',
        'c"': "[]",
        "d": "{}",
        "e": "-0",
    }  # fmt: skip
    assert go_json.join(found).startswith('{"a":{')
    assert go_json.members(b"{}", what="x") == {}


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=5), st.sampled_from([None, 2]))
def test_members_are_the_object_whatever_is_in_it(value: dict[str, object], indent: int | None) -> None:
    raw = json.dumps(value, indent=indent, ensure_ascii=False).encode()
    found = go_json.members(raw, what="x")
    assert {key: json.loads(text) for key, text in found.items()} == value
    assert go_json.join(found) == go_json.dumps(value) or json.loads(go_json.join(found)) == value


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b'{"a":1,}', b'{"a":1,"a":2}', b"\xff"])
def test_what_is_no_object_has_no_members(raw: bytes) -> None:
    with pytest.raises(Invalid, match=r"^x: "):
        go_json.members(raw, what="x")


def test_values_that_follow_each_other_are_told_apart() -> None:
    assert go_json.split(b' {"a": 1}{}\r\n[1] "x"\n', what="x") == [b'{"a": 1}', b"{}", b"[1]", b'"x"']
    assert go_json.split(b" \n", what="x") == []
    for raw in (b"{", b"{}x", b"\xff", b"[" * 100_000):
        with pytest.raises(Invalid, match=r"^x: not "):
            go_json.split(raw, what="x")
