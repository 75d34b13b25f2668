"""Status lines, progress and errors as Docker's API had them, to the byte: `engine.format`."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.engine.format import MessageError, Progress, StreamFormatter, http_status, human_size, read_messages
from orlop.errors import Denied, Error, Invalid

JSON, PLAIN = StreamFormatter(json=True), StreamFormatter(json=False)


def test_T17_messages_as_json() -> None:
    assert JSON.stream("stream") == b'{"stream":"stream"}\r\n'
    assert JSON.status("ID", "a1") == b'{"status":"a1","id":"ID"}\r\n'
    assert JSON.status("", "a1") == b'{"status":"a1"}\r\n'
    assert JSON.status("", "") == b"{}\r\n"
    assert JSON.stream("<b>&\n") == b'{"stream":"\\u003cb\\u003e\\u0026\\n"}\r\n'


def test_T17_errors_as_json() -> None:
    text = "Error for formatter"
    assert JSON.error(text) == b'{"errorDetail":{"message":"Error for formatter"},"error":"Error for formatter"}\r\n'
    assert JSON.error("Json error", code=50) == (
        b'{"errorDetail":{"code":50,"message":"Json error"},"error":"Json error"}\r\n'
    )  # fmt: skip


def test_T17_messages_as_text() -> None:
    assert PLAIN.stream("stream") == b"stream\r"
    assert PLAIN.status("ID", "a1") == b"a1\r\n"
    assert PLAIN.error("no") == b"Error: no\r\n"
    assert PLAIN.progress("id", "action", Progress(1)) == b"action      1 B\r"
    assert PLAIN.progress("id", "action") == b"action \r\n"


def test_T17_progress_as_json_has_no_line_end() -> None:
    progress = Progress(current=15, total=30, start=1)
    assert JSON.progress("id", "action", progress, now=31) == (
        b'{"status":"action","progressDetail":{"current":15,"total":30,"start":1},'
        b'"progress":"[=========================\\u003e                         ]     15 B/30 B 30s","id":"id"}'
    )
    assert JSON.progress("id", "action") == b'{"status":"action","progressDetail":{},"id":"id"}'


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (Progress(), ""),
        (Progress(-1, -1), ""),
        (Progress(1), "     1 B"),
        (Progress(50, 100), "[=========================>                         ]     50 B/100 B"),
        (Progress(50, 40), "[==============================================================>]     50 B/40 B"),
        (Progress(0, 100), "[>                                                  ]      0 B/100 B"),
        (Progress(-5, 100), "[>                                                  ]     -5 B/100 B"),
        (Progress(100, 100), "[==================================================>]    100 B/100 B"),
        (Progress(1 << 20, 1 << 21), "[=========================>                         ] 1.049 MB/2.097 MB"),
    ],
)
def test_T17_progress_has_a_bar_of_50(progress: Progress, text: str) -> None:
    assert progress.text() == text


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        (111, "[=========================>                         ]     50 B/100 B 10s"),
        (110, "    50 B/100 B 10s"),
        (51, "    50 B/100 B 10s"),
        (50, "    50 B/100 B"),
    ],
)
def test_T17_a_narrow_terminal_has_no_bar_and_a_narrower_one_no_time(columns: int, text: str) -> None:
    assert Progress(50, 100, start=100).text(columns=columns, now=110) == text


@pytest.mark.parametrize(
    ("current", "start", "now", "left"),
    [
        (1, 1000, 1060, "1h39m0s"),
        (20, 1000, 1030, "2m0s"),
        (50, 1000, 1000.5, "0s"),
        (100, 1000, 1060, ""),
        (50, 0, 1060, ""),
        (0, 1000, 1060, ""),
        (50, 1000, 900, ""),
    ],
)
def test_T17_the_time_that_is_left_is_shown_while_it_is_known(current: int, start: int, now: float, left: str) -> None:
    assert Progress(current, 100, start).text(columns=100, now=now).partition("/100 B")[2].strip() == left


def test_T17_no_progress_is_an_endless_line() -> None:
    assert len(Progress(1 << 62, 1).text()) < 300


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (1024, "1.024 kB"),
        (44000, "44 kB"),
        (1048576, "1.049 MB"),
        (2000000000, "2 GB"),
        (10**15, "1 PB"),
        (10**24, "1 YB"),
        (10**27, "1000 YB"),
    ],
)
def test_T17_sizes_have_four_digits_and_a_decimal_unit(size: int, text: str) -> None:
    assert human_size(size) == text


def test_T17_messages_are_read_back() -> None:
    raw = JSON.status("ID", "a1") + JSON.progress("ID", "Pulling", Progress(1, 2)) + JSON.stream("x")
    found = list(read_messages(raw))
    assert [message.text("status") for message in found] == ["a1", "Pulling", ""]
    for message in found:
        message.check()


def test_T17_errors_are_read_back() -> None:
    (message,) = read_messages(JSON.error("Json error", code=50))
    with pytest.raises(MessageError, match=r"^Json error$") as caught:
        message.check()
    assert caught.value.code == 50
    (message,) = read_messages(JSON.error("anything", code=401))
    with pytest.raises(Denied, match=r"^Authentication is required\."):
        message.check()
    with pytest.raises(Invalid):
        list(read_messages(b'{"status":"a"}[1]'))


@given(st.binary(max_size=40))
def test_T17_only_our_errors_leave_the_reader(raw: bytes) -> None:
    with suppress(Error):
        for message in read_messages(raw):
            message.check()


@given(st.text(max_size=20), st.text(max_size=20))
def test_T17_any_text_is_one_message(id_: str, text: str) -> None:
    raw = JSON.status(id_, text)
    assert raw.endswith(b"}\r\n")
    wanted = {"status": text, "id": id_}
    assert json.loads(raw) == {key: value for key, value in wanted.items() if value}


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("No such image: x", 404),
        ("No such id: x", 404),
        ("Bad parameters: x", 400),
        ("Conflict: Tag a is already set", 409),
        ("Conflict, cannot delete x", 409),
        ("Impossible to do", 406),
        ("Wrong login/password, please try again", 401),
        ("Login: Account hasn't been activated yet", 403),
        ("No such Conflict", 404),
        ("no such image", 500),
        ("EOF", 500),
        ("", 500),
    ],
)
def test_T18_words_of_an_error_give_its_http_status(text: str, status: int) -> None:
    assert http_status(text) == status
