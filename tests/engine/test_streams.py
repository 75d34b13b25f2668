"""What a job reads and writes: `engine.streams`."""

from __future__ import annotations

import io
import threading

import pytest

from orlop.engine.streams import TAIL_BYTES, Input, Output, Tail, tail
from orlop.errors import Conflict, Invalid, Unsafe


class Full:
    """A destination that can take nothing, and one that says so in its own way."""

    def __init__(self, error: OSError) -> None:
        self.error = error

    def write(self, data: bytes, /) -> None:
        raise self.error


class Slow:
    """A destination that takes three bytes at once, as a raw file may."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes, /) -> int:
        self.data += data[:3]
        return min(3, len(data))


def test_E09_every_destination_gets_everything() -> None:
    output, one, two = Output(), io.BytesIO(), Slow()
    assert output.used is False
    assert output.write(b"nobody hears") == 12
    output.add(one)
    output.add(two)
    assert output.write(b"hello, world!") == 13
    assert (one.getvalue(), two.data, output.used) == (b"hello, world!", b"hello, world!", True)


def test_E09_the_first_error_is_raised_after_all_were_tried() -> None:
    output, last = Output(), io.BytesIO()
    first = OSError("this is an error")
    output.add(Full(first))
    output.add(Full(OSError("another")))
    output.add(last)
    with pytest.raises(OSError, match="this is an error") as caught:
        output.write(b"hello")
    assert caught.value is first
    assert last.getvalue() == b"hello"


def test_E09_a_closed_output_closes_what_it_owns_and_writes_to_nobody() -> None:
    output, owned, lent = Output(), io.BytesIO(), io.BytesIO()
    output.own(owned)
    output.add(lent)
    output.close()
    output.close()
    assert output.write(b"foo bar") == 7
    assert (owned.closed, lent.closed, lent.getvalue()) == (True, False, b"")


def test_E09_set_takes_the_place_of_all_others() -> None:
    output, old, new = Output(), io.BytesIO(), io.BytesIO()
    output.add(old)
    output.set(new)
    output.write(b"x")
    assert (old.getvalue(), new.getvalue()) == (b"", b"x")


@pytest.mark.parametrize(
    "data", [b"hello, world!", b"One\nTwo\nThree", b"", b"A line\n", b"A line\n\n", bytes(1 << 20)]
)
def test_E09_a_pipe_gives_what_is_written_to_another_thread(data: bytes) -> None:
    output = Output()
    pipe = output.add_pipe()

    def write() -> None:
        output.write(data)
        output.close()

    writer = threading.Thread(target=write)
    writer.start()
    with pipe:
        assert pipe.read() == data
    writer.join()


def test_E09_a_reader_that_goes_away_is_an_error_of_the_write() -> None:
    output = Output()
    output.add_pipe().close()
    with pytest.raises(BrokenPipeError):
        output.write(b"x")
    output.close()


def test_E09_an_answer_can_be_had_as_an_environment() -> None:
    output = Output()
    env = output.add_env()
    output.write(b'{"old": 1}{"foo": "bar", ')
    output.write(b'"answer_to_life_the_universe_and_everything": 42}')
    output.close()
    assert (env.get("foo"), env.get_int("answer_to_life_the_universe_and_everything")) == ("bar", 42)
    assert (env.get("old"), env.get("this-value-doesnt-exist")) == ("", "")


def test_E09_an_answer_can_be_had_as_a_table() -> None:
    output = Output()
    table = output.add_table()
    output.write(b'{"a":"1"}\n{"a":"2"}\n')
    output.close()
    assert [row.get("a") for row in table] == ["1", "2"]
    output = Output()
    table, empty = output.add_list_table(), Output().add_list_table()
    output.write(b'[{"a":"1"},7,{"a":"2"}]')
    output.close()
    assert [row.get("a") for row in table] == ["1", "2"]
    assert len(empty) == 0


@pytest.mark.parametrize("data", [b"{", b"x", b"\xff", b'{"a":1}{', b"[1]"])
def test_E09_an_answer_that_is_none_is_refused(data: bytes) -> None:
    output = Output()
    output.add_env()
    output.write(data)
    with pytest.raises(Invalid):
        output.close()


def test_E09_an_answer_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orlop.engine.streams.ANSWER_BYTES", 10)
    output = Output()
    output.add_env()
    output.write(b"{" + b" " * 8)
    with pytest.raises(Unsafe, match="over 10 bytes"):
        output.write(b" }")


def test_E10_an_input_without_a_source_is_at_its_end() -> None:
    assert Input().read() == b""


def test_E10_an_input_has_one_source_at_most() -> None:
    source = Input()
    source.add(io.BytesIO(b"hello world\nabc"))
    with pytest.raises(Conflict, match=r"^Maximum number of sources reached: 1$"):
        source.add(io.BytesIO(b"second"))
    assert (source.read(5), source.read(), source.read()) == (b"hello", b" world\nabc", b"")
    with pytest.raises(Invalid):
        source.read(-1)
    source.close()
    assert source.read() == b""


@pytest.mark.parametrize(
    ("data", "outputs"),
    [
        (b"hello, world!", ["", "hello, world!", "hello, world!", "hello, world!"]),
        (b"One\nTwo\nThree", ["", "Three", "Two\nThree", "One\nTwo\nThree"]),
        (b"One\nTwo\n", ["", "Two", "One\nTwo", "One\nTwo"]),
        (b"One\n\n", ["", "", "One\n", "One\n"]),
        (b"\xffx", ["", "\ufffdx"]),
        (b"", ["", ""]),
    ],
)
def test_E11_the_tail_is_the_last_lines(data: bytes, outputs: list[str]) -> None:
    assert [tail(data, count) for count in range(len(outputs))] == outputs
    assert tail(data, -1) == ""
    sink = Tail()
    for byte in data:
        sink.write(bytes([byte]))
    assert sink.lines(1) == outputs[1]


def test_E11_a_tail_keeps_no_more_than_its_bound() -> None:
    sink = Tail()
    for _ in range(5):
        sink.write(b"x" * TAIL_BYTES)
    sink.write(b"\nlast\n")
    assert sink.lines(1) == "last"
    assert len(sink.lines(9)) <= TAIL_BYTES
