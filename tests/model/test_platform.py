from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import Invalid
from orlop.model.platform import Platform

WORD = st.from_regex(r"[a-z0-9_.-]{1,8}", fullmatch=True)


@given(st.text(max_size=20))
def test_any_platform_is_read_or_refused(text: str) -> None:
    try:
        platform = Platform.parse(text)
    except Invalid:
        return
    assert Platform.parse(str(platform)) == platform


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("linux/amd64", "linux/amd64"),
        ("arm64", "linux/arm64/v8"),
        ("aarch64", "linux/arm64/v8"),
        ("linux/arm64/v8", "linux/arm64/v8"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/v6", "linux/arm/v6"),
        ("x86_64", "linux/amd64"),
        ("windows/amd64", "windows/amd64"),
    ],
)
def test_what_people_type_is_understood(text: str, full: str) -> None:
    assert str(Platform.parse(text)) == full


@pytest.mark.parametrize("text", ["", "/", "a//b", "linux/", "/amd64", "a/b/c/d", "linux/am d64", "linux/amd64/"])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        Platform.parse(text)


@pytest.mark.parametrize(
    ("ours", "theirs", "better"),
    [
        ("linux/arm/v7", "linux/arm/v7", "linux/arm/v6"),
        ("linux/arm/v7", "linux/arm/v6", "linux/arm/v5"),
        ("linux/amd64/v3", "linux/amd64/v2", "linux/amd64"),
    ],
)
def test_the_nearest_level_fits_best(ours: str, theirs: str, better: str) -> None:
    machine = Platform.parse(ours)
    assert machine.fit(Platform.parse(theirs)) > machine.fit(Platform.parse(better)) > 0


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("linux/arm/v6", "linux/arm/v7"),
        ("linux/amd64", "linux/amd64/v2"),
        ("linux/amd64", "linux/arm64"),
        ("linux/amd64", "windows/amd64"),
        ("linux/amd64", "linux/386"),
    ],
)
def test_what_cannot_run_does_not_fit(ours: str, theirs: str) -> None:
    assert Platform.parse(ours).fit(Platform.parse(theirs)) == 0


def test_arm64_without_a_variant_is_v8() -> None:
    assert Platform.parse("linux/arm64").fit(Platform.parse("linux/arm64/v8"))
    assert Platform.parse("linux/arm64/v8").fit(Platform.parse("linux/arm64"))


@given(
    st.dictionaries(st.sampled_from(["os", "architecture", "variant", "os.version", "os.features"]), WORD | st.none())
)
def test_any_fields_are_read_or_refused(fields: dict[str, Any]) -> None:
    try:
        platform = Platform.from_fields(fields)
    except Invalid:
        return
    assert platform.fit(platform) > 0
