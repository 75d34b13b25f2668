"""How sizes, ages, numbers and errors are written."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orlop.cli import output
from orlop.errors import NotFound


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (9994, "9.99 kB"),
        (9996, "10.0 kB"),
        (999_499, "999 kB"),
        (999_501, "1.00 MB"),
        (47_321_000, "47.3 MB"),
        (5 * 10**12, "5.00 TB"),
    ],
)
def test_sizes_have_three_digits(count: int, text: str) -> None:
    assert output.size(count) == text


def test_one_thing_is_told_in_the_singular() -> None:
    assert [output.count(number, "blob") for number in (0, 1, 2)] == ["0 blobs", "1 blob", "2 blobs"]


@pytest.mark.parametrize(
    ("reference", "message", "line"),
    [
        ("h/app:1", "h/app:1: not found", "h/app:1: not found"),
        ("docker://h/app", "h/app:latest: not found", "h/app:latest: not found"),
        ("alpine", "docker.io/library/alpine:latest: no", "docker.io/library/alpine:latest: no"),
        ("store:a:1", "a:1: not in the store", "a:1: not in the store"),
        ("app", "h: cannot connect", "app: h: cannot connect"),
        ("h/app:1", "h/app:10: no", "h/app:1: h/app:10: no"),
    ],
)
def test_the_line_of_one_of_several_names_it_once(reference: str, message: str, line: str) -> None:
    assert output.labelled(reference, NotFound(message)) == line


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        ("2024-05-31T11:59:30Z", "just now"),
        ("2024-05-31T11:58:30.123456789Z", "1 minute ago"),
        ("2024-05-31T12:00:00+02:00", "2 hours ago"),
        ("2024-05-20T12:00:00Z", "1 week ago"),
        ("2021-05-31T11:00:00Z", "3 years ago"),
        ("2025-01-01T00:00:00Z", "2025-01-01"),
        ("yesterday", "yesterday"),
        ("", ""),
    ],
)
def test_ages_are_told_in_one_unit(moment: str, text: str) -> None:
    assert output.age(moment, datetime(2024, 5, 31, 12, tzinfo=UTC)) == text
