"""How sizes, ages, numbers and errors are written."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orlop.cli import output
from orlop.errors import Denied, Error, NotFound, Usage


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
    ("reference", "message", "told"),
    [
        ("docker://h:5/app:1", "manifest: not JSON", "docker://h:5/app:1: manifest: not JSON"),
        ("docker://h:5/app:1", "h:5: cannot connect", "h:5: cannot connect"),
        ("docker://h:5/app:1", "h:5/app:1: not found", "h:5/app:1: not found"),
        ("docker://h:5/app:1", "manifest a from docker://h:5/app: no", "manifest a from docker://h:5/app: no"),
        ("debian", "docker.io/library/debian:latest: no", "docker.io/library/debian:latest: no"),
        ("app", "mapping: no", "app: mapping: no"),
        ("app", "platform plan9/mips: no", "app: platform plan9/mips: no"),
        ("oci:a/st4:one", "oci:a/st4: index.json: no", "oci:a/st4: index.json: no"),
        ("oci:a/st4:one", "tar: no", "oci:a/st4:one: tar: no"),
        ("store:a:1", "a:1: not in the store", "a:1: not in the store"),
        ("app", "/srv/store: no space", "/srv/store: no space"),
        ("app", "credentials /root/auth: no", "credentials /root/auth: no"),
        ("app", "no subject", "app: no subject"),
    ],
)
def test_the_error_of_the_only_reference_names_it_unless_it_does(reference: str, message: str, told: str) -> None:
    assert output.told_of(reference, NotFound(message)) == told
    assert output.told_of(reference, Usage("reference 'A': malformed")) == "reference 'A': malformed"


def test_6_means_that_others_were_done() -> None:
    none, missing, refused = list[Error](), NotFound("a"), Denied("b")
    assert output.ended(none, 2) == 0
    assert output.ended([missing], 2) == 6
    assert output.ended([missing, NotFound("b")], 2) == 3
    assert output.ended([missing, refused], 2) == 1


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
