"""Version 1 image JSON, IDs and names: `model.v1`."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import Invalid
from orlop.model.limits import V1_JSON_BYTES
from orlop.model.v1 import ImageId, PayloadHasher, V1Image, check_tag, parse_repository_tag, random_id

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


@pytest.mark.parametrize("tag", ["9", "foo", "foo-test", "bar.baz.boo", "_x", "a" * 128])
def test_T03_valid_tags(tag: str) -> None:
    check_tag(tag)


@pytest.mark.parametrize("tag", ["", "-9", ".foo", "-test", ".", "-", "a/b", "a:b", "é", "a" * 129, "a\n"])
def test_T03_invalid_tags(tag: str) -> None:
    with pytest.raises(Invalid):
        check_tag(tag)


def test_R10_the_payload_checksum_is_over_json_newline_and_layer() -> None:
    hasher = PayloadHasher(b"{}")
    hasher.write(b"layer")
    assert str(hasher) == "sha256:" + hashlib.sha256(b"{}\nlayer").hexdigest()
