"""The environment of a job: `engine.env`. Rows E06 to E08 of the original's tests and more."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.engine.env import Env
from orlop.errors import Error, Invalid


def test_E06_len_counts_names_and_the_last_value_is_had() -> None:
    assert len(Env()) == 0
    env = Env([("foo", "bar"), ("foo", "baz"), ("foo", "bif"), ("a", "b")])
    assert (len(env), env.get("foo"), env.get("a"), env.get("nothing")) == (2, "bif", "b", "")
    env.set("bar", "")
    assert ("bar" in env, env.get("bar"), "nothing" in env) == (True, "", False)
    assert env.map() == {"foo": "bif", "a": "b", "bar": ""}


@pytest.mark.parametrize("text", ["", "0", "no", "NO", "false", "False", " none ", "\t0"])
def test_E06_false_has_several_names(text: str) -> None:
    assert Env({"k": text}).get_bool("k") is False


@pytest.mark.parametrize("text", ["1", "yes", "true", "2", "off", "-"])
def test_E06_all_else_is_true(text: str) -> None:
    assert Env({"k": text}).get_bool("k") is True


def test_E06_booleans_are_1_and_0() -> None:
    env = Env()
    env.set_bool("yes", True)
    env.set_bool("no", False)
    assert (env.get("yes"), env.get("no"), env.get_bool("yes"), env.get_bool("no")) == ("1", "0", True, False)
    assert env.get_bool("nothing") is False


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-42", -42),
        ("42", 42),
        (" 7\t", 7),
        ("+3", 3),
        ("bar", 0),
        ("", 0),
        ("1.5", 0),
        ("1_0", 0),
        ("٣", 0),
        (str(2**63 - 1), 2**63 - 1),
        (str(2**63), 0),
        ("9" * 9000, 0),
    ],
)
def test_E06_what_is_no_number_is_0(text: str, value: int) -> None:
    assert Env({"k": text}).get_int("k") == value


def test_E06_integers_are_had_as_they_were_set() -> None:
    env = Env()
    env.set_int("foo", -42)
    assert (env.get_int("foo"), env.get_int("nothing")) == (-42, 0)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('["a","b"]', ["a", "b"]),
        ("[]", []),
        ("plain", ["plain"]),
        ("", []),
        ("[1]", ["[1]"]),
        ('["a"', ['["a"']),
        ("null", []),
        ("123", ["123"]),
    ],
)
def test_E06_a_list_may_be_json_or_one_string(text: str, value: list[str]) -> None:
    assert Env({"k": text}).get_list("k") == value


def test_E06_lists_json_and_inner_environments_are_had_as_they_were_set() -> None:
    env, inner = Env(), Env({"tag": "123"})
    env.set_list("list", ["bar"])
    env.set_json("json", {"b": [1, None], "a": "<"})
    env.set_sub_env("env", inner)
    assert (env.get_list("list"), env.get_json("json")) == (["bar"], {"b": [1, None], "a": "<"})
    assert env.get("json") == r'{"a":"\u003c","b":[1,null]}'
    found = env.get_sub_env("env")
    assert found is not None
    assert found.map() == {"tag": "123"}
    assert (env.get_sub_env("list"), env.get_sub_env("nothing"), env.get_json("nothing")) == (None, None, None)
    with pytest.raises(Invalid, match=r"^k: not JSON"):
        Env({"k": "{"}).get_json("k")


def test_E06_a_multi_map_has_all_values() -> None:
    env = Env([("foo", "bar"), ("foo", "baz"), ("hello", "world")])
    assert env.multi_map() == {"foo": ["bar", "baz"], "hello": ["world"]}
    assert Env.from_multi_map(env.multi_map()).get("foo") == "baz"


def test_E06_anything_with_fields_can_be_imported() -> None:
    @dataclass
    class Config:
        Name: str
        Size: int
        Nothing: None = None

    env = Env()
    env.import_(Config("123", 5))
    assert env.encode() == b'{"Name":"123","Size":5}\n'
    loop: list[object] = []
    loop.append(loop)
    for value in (object(), "text", float("nan"), {"a": loop}):
        with pytest.raises(Invalid, match=r"^ImportEnv: "):
            Env().import_(value)


def test_E06_values_do_not_show_in_a_traceback() -> None:
    assert repr(Env({"authConfig": "secret"})) == "Env(authConfig)"


@pytest.mark.parametrize("text", ["123", "true", "null", "1.50", '{"a":1}', "[]", "plain", '"', "<&>\u2028"])
def test_E07_a_plain_string_stays_a_string_whatever_it_looks_like(text: str) -> None:
    raw = Env({"tag": text}).encode()
    assert json.loads(raw) == {"tag": text}
    assert raw.endswith(b"}\n")
    assert not set(raw.decode()) & set("<>&\u2028")


def test_E07_keys_are_sorted_and_json_is_embedded() -> None:
    env = Env({"z": "1", "a": "x"})
    env.set_int("n", 1)
    env.set_bool("b", True)
    env.set_list("l", ["1"])
    env.set_json("j", {"y": 1.5, "x": None})
    env.set_sub_env("e", Env({"k": "v"}))
    assert env.encode() == (
        b'{"a":"x","b":1,"e":{"k":"v"},"j":{"x":null,"y":1.5},"l":["1"],"n":1,"z":"1"}\n'
    )  # fmt: skip


@pytest.mark.parametrize("number", [67108864, 2**53 + 1, 2**63 - 1, -(2**63)])
def test_E07_long_numbers_are_exact(number: int) -> None:
    env = Env()
    env.set_json("Test", {"TestNum": number, "Many": [number]})
    assert json.loads(env.encode()) == {"Test": {"TestNum": number, "Many": [number]}}
    assert Env.decoded(env.encode()).encode() == env.encode()


def test_E07_bytes_that_are_not_utf_8_become_one_replacement_each() -> None:
    assert json.loads(Env({"k": b"a\xff".decode("utf-8", "surrogateescape")}).encode()) == {"k": "a\ufffd"}
    assert json.loads(Env({"k": "\ud800"}).encode()) == {"k": "?"}


def test_E08_strings_are_decoded_as_they_are_and_all_else_as_json() -> None:
    env = Env.decoded(
        b' { "s" : "x\\u003cy" , "n" : 42, "f":1.50, "l": [ 1, "a" ],"o":{"b":1 ,"a":2}, "no": null,"t":true}'
    )
    assert env.map() == {"s": "x<y", "n": "42", "f": "1.50", "l": '[1,"a"]', "o": '{"b":1,"a":2}', "t": "true"}
    assert env.get_int("n") == 42
    assert env.encode() == b'{"f":1.50,"l":[1,"a"],"n":42,"o":{"b":1,"a":2},"s":"x\\u003cy","t":true}\n'


@pytest.mark.parametrize("raw", [b"", b"[]", b"1", b"{", b'{"a":1}x', b'{"a":\xff}', b'{"a":1,"a":2}', b"[" * 9999])
def test_E08_what_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(Invalid):
        Env().decode(raw)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=6), VALUES, max_size=6))
def test_E08_what_was_encoded_is_decoded(values: dict[str, object]) -> None:
    env = Env.decoded(json.dumps(values).encode())
    assert json.loads(env.encode()) == {key: value for key, value in values.items() if value is not None}


@given(st.binary(max_size=40))
def test_E08_only_our_errors_leave_the_decoder(raw: bytes) -> None:
    with suppress(Error):
        Env.decoded(raw)
