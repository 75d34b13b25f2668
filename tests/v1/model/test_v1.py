"""Version 1 image JSON, IDs and names: `model.v1`."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import Invalid
from orlop.model.limits import V1_JSON_BYTES
from orlop.model.v1 import ImageId, PayloadHasher, V1Image, check_repository, check_tag, parse_repository_tag, random_id

ID = "ab" * 32
PARENT = "cd" * 32


@pytest.mark.parametrize("text", ["", "a:b", "../x", ID.upper(), ID[:-1], ID + "0", ID + "\n", None, 7, "é" * 64])
def test_G04_only_64_lower_case_hexadecimal_digits_are_an_id(text: object) -> None:
    with pytest.raises(Invalid, match=r"(?s)^(Id can't be empty|image ID '.*' is invalid)"):
        ImageId(text)


def test_G12_a_random_id_never_looks_like_a_number_in_short() -> None:
    drawn = iter(["0123456789012345" * 4, "123456789012" + "a" * 52, "12345678901a" + "0" * 52])
    assert random_id(lambda: next(drawn)).short == "12345678901a"
    assert random_id() != random_id()


def test_G12_a_new_image_says_what_it_was_made_with() -> None:
    image = V1Image.make(
        ImageId(ID),
        created="2014-04-07T02:45:52.610504484Z",
        parent=ImageId(PARENT),
        comment="Imported from -",
        author="A <a@b>",
        docker_version="",
        config={"Env": ["b=1", "a=2"], "Cmd": None},
        os="linux",
    )
    assert image.raw == (
        b'{"id":"%s","parent":"%s","comment":"Imported from -","created":"2014-04-07T02:45:52.610504484Z",'
        b'"author":"A \\u003ca@b\\u003e","config":{"Env":["b=1","a=2"],"Cmd":null},"os":"linux"}'
    ) % (ID.encode(), PARENT.encode())
    assert (image.id, image.parent, image.author, image.os) == (ID, PARENT, "A <a@b>", "linux")
    assert V1Image.make(ImageId(ID), created="").raw == b'{"id":"%s","created":""}' % ID.encode()
    with pytest.raises(Invalid, match="no field is called Comment"):
        V1Image.make(ImageId(ID), created="", Comment="x")


@given(st.dictionaries(st.text(max_size=9), st.integers(-(2**63), 2**63) | st.text(max_size=9) | st.none(), max_size=5))
def test_X01_unknown_fields_stay_because_the_bytes_stay(others: dict[str, object]) -> None:
    raw = (" " + json.dumps({**others, "id": ID, "parent": PARENT}, indent=3) + "\n").encode()
    image = V1Image.read(raw)
    assert (image.raw, image.id, image.parent) == (raw, ID, PARENT)


def test_X01_fields_of_another_type_are_taken_as_absent() -> None:
    image = V1Image.read(json.dumps({"id": ID, "parent": "", "author": 7, "config": [], "os": "linux"}).encode())
    assert (image.parent, image.author, image.config, image.os) == (None, "", {}, "linux")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b'{"id":7}',
        b'{"id":""}',
        b'{"id":"../../x"}',
        b'{"id":"%s","parent":7}' % ID.encode(),
        b'{"id":"%s","parent":"../x"}' % ID.encode(),
        b'{"id":"%s","parent":"%s"}' % (ID.encode(), ID.encode()),
        b'{"id":"%s","author":"\xff"}' % ID.encode(),
        b" " * (V1_JSON_BYTES + 1),
    ],
)
def test_PA18_what_is_no_image_json_is_refused(raw: bytes) -> None:
    with pytest.raises(Invalid):
        V1Image.read(raw)


@pytest.mark.parametrize(
    ("text", "repository", "tag"),
    [
        ("root", "root", ""),
        ("root:tag", "root", "tag"),
        ("user/repo", "user/repo", ""),
        ("user/repo:tag", "user/repo", "tag"),
        ("url:5000/repo", "url:5000/repo", ""),
        ("url:5000/repo:tag", "url:5000/repo", "tag"),
        ("localhost:5000/x", "localhost:5000/x", ""),
        ("a:b", "a", "b"),
    ],
)
def test_T02_a_name_is_split_at_the_last_colon_unless_a_slash_follows(text: str, repository: str, tag: str) -> None:
    assert parse_repository_tag(text) == (repository, tag)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", r"^Repository name can't be empty$"),
        ("http://host/x", r'^Invalid repository name \(ex: "registry\.domain\.tld/myrepos"\)$'),
    ],
)
def test_T02_what_is_no_repository_is_refused_in_the_words_of_the_time(name: str, words: str) -> None:
    check_repository("localhost:5000/x")
    with pytest.raises(Invalid, match=words):
        check_repository(name)


@pytest.mark.parametrize("tag", ["9", "foo", "foo-test", "bar.baz.boo", "_x", "a" * 128])
def test_T03_valid_tags(tag: str) -> None:
    check_tag(tag)


@pytest.mark.parametrize("tag", ["-9", ".foo", "-test", ".", "-", "a/b", "a:b", "é", "a" * 129, "a\n", "a b"])
def test_T03_invalid_tags(tag: str) -> None:
    words = r"(?s)^Illegal tag name \(.+\): only \[A-Za-z0-9_\.-\] are allowed, minimum 1, maximum 128$"
    with pytest.raises(Invalid, match=words):
        check_tag(tag)


def test_T03_an_empty_tag_is_invalid() -> None:
    with pytest.raises(Invalid, match=r"^Tag name can't be empty$"):
        check_tag("")


def test_R10_the_payload_checksum_is_over_json_newline_and_layer() -> None:
    hasher = PayloadHasher(b"{}")
    hasher.write(b"layer")
    assert str(hasher) == "sha256:" + hashlib.sha256(b"{}\nlayer").hexdigest()
