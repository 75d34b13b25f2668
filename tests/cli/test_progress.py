from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Callable

import pytest

from orlop.cli.progress import Bars, Lines, Plain, Progress, Quiet, _Totals, choose
from orlop.job import Event

A = "sha256:" + "a" * 64
B = "sha256:" + "b" * 64
EVENTS = (
    Event("plan", total=3_000_000, count=2),
    Event("exists", B, 1_000_000, 1_000_000),
    Event("start", A, 0, 2_000_000),
    Event("progress", A, 1_000_000, 2_000_000),
    Event("retry", A, text="connection broke; again in 0.5 s"),
    Event("resume", A, 1_000_000, 2_000_000),
    Event("progress", A, 2_000_000, 2_000_000),
    Event("done", A, 2_000_000, 2_000_000),
    Event("note", text="odd \x1b[2J name"),
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Screen(io.TextIOWrapper):
    """A terminal with a descriptor, which a signal handler can write to."""

    def __init__(self) -> None:
        super().__init__(io.FileIO(os.memfd_create("screen"), "w+"), write_through=True)

    def isatty(self) -> bool:
        return True

    def shown(self) -> str:
        return os.pread(self.fileno(), 1 << 20, 0).decode()


class Clock:
    """Seconds, moved on by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("mode", "terminal", "kind"),
    [
        ("auto", True, Bars),
        ("auto", False, Plain),
        ("plain", True, Plain),
        ("json", True, Lines),
        ("none", True, Quiet),
    ],
)
def test_the_renderer_is_chosen_by_flag_and_terminal(mode: str, terminal: bool, kind: type[Progress]) -> None:
    assert type(choose(mode, Terminal() if terminal else io.StringIO())) is kind


def test_plain_is_a_line_an_event_and_one_about_bytes_now_and_then() -> None:
    out, clock = io.StringIO(), Clock()
    show = Plain(out, clock)
    for event in EVENTS:
        clock.now += 3
        show(event)
    assert out.getvalue().splitlines() == [
        "plan: 2 blobs, 3.00 MB",
        "exists: bbbbbbbbbbbb 1.00 MB",
        "progress: 1.00 MB of 3.00 MB",
        "retry: aaaaaaaaaaaa connection broke; again in 0.5 s",
        "resume: aaaaaaaaaaaa at 1.00 MB of 2.00 MB",
        "progress: 2.00 MB of 3.00 MB",
        "done: aaaaaaaaaaaa 2.00 MB",
        "note: odd \\x1b[2J name",
    ]


@pytest.mark.parametrize("make", [Plain, Bars])
def test_what_a_text_is_about_is_said_once(make: Callable[[io.StringIO], Plain | Bars]) -> None:
    out = io.StringIO()
    show = make(out)
    show(Event("retry", "h:5", text="h:5: answered 500; try later"))
    show(Event("retry", A, text=f"blob {A} from h:5: ends early"))
    assert out.getvalue() == f"retry: h:5: answered 500; try later\nretry: blob {A} from h:5: ends early\n"


def test_json_is_an_object_a_line_with_the_same_keys() -> None:
    out, clock = io.StringIO(), Clock()
    show = Lines(out, clock)
    for event in EVENTS:
        clock.now += 1
        show(event)
    show.note("for people")
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["event"] for line in lines] == [*(event.kind for event in EVENTS), "message"]
    assert all(list(line) == ["event", "subject", "done", "total", "count", "text"] for line in lines)
    assert lines[3] == {"event": "progress", "subject": A, "done": 10**6, "total": 2 * 10**6, "count": 0, "text": ""}


def test_json_has_at_most_ten_lines_a_second_and_blob() -> None:
    out, clock = io.StringIO(), Clock()
    show = Lines(out, clock)
    for step in range(1000):
        clock.now = step / 1000
        show(Event("progress", A if step % 2 else B, step, 1000))
    assert 18 <= len(out.getvalue().splitlines()) <= 22


def test_quiet_shows_notes_only() -> None:
    out = io.StringIO()
    show = Quiet(out)
    for event in EVENTS:
        show(event)
    show.note("orlop: an error")
    assert out.getvalue() == "orlop: an error\n"


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.usefixtures("wide")
def test_bars_show_blobs_and_the_whole_and_leave_the_terminal_as_it_was() -> None:
    out, clock = Terminal(), Clock()
    show = Bars(out, clock)
    show(Event("note", text="before"))
    assert "\x1b[?25l" not in out.getvalue(), "the cursor is hidden before there is anything to draw"
    for event in EVENTS[:4]:
        clock.now += 1
        show(event)
    assert show.display is not None
    show.display.refresh()
    shown = out.getvalue()
    assert shown.startswith("note: before\n")
    for part in ("aaaaaaaaaaaa", "total 0/2", "1.0/2.0 MB", "1.0/3.0 MB", "\x1b[?25l"):
        assert part in shown
    show.note("orlop: a message")
    show.close()
    show.close()
    show(Event("progress", A, 2_000_000, 2_000_000))
    assert "orlop: a message\n" in out.getvalue()
    assert out.getvalue().rindex("\x1b[?25h") > out.getvalue().rindex("\x1b[?25l")


@pytest.mark.usefixtures("wide")
def test_bars_give_the_cursor_back_when_all_ends_at_once() -> None:
    with Screen() as out:
        show = Bars(out)
        show(EVENTS[0])
        show(EVENTS[2])
        show.abandon()
        # two lines go: one upwards from the last
        assert out.shown().endswith("\r\x1b[2K\x1b[1A\x1b[2K\x1b[?25h")
        show.close()


@pytest.mark.usefixtures("wide")
def test_a_notice_of_a_signal_handler_is_drawn_below_the_bars_and_not_into_them() -> None:
    with Screen() as out:
        show = Bars(out)
        show(EVENTS[0])
        before = out.shown()
        with show.lock:  # whoever was interrupted may hold it
            show.stopping("orlop: stopping")
        assert show.display is not None
        show.display.refresh()
        assert "\norlop: stopping" in out.shown()[len(before) :]
        assert show.display.height == 2
        show.close()
        assert out.shown().endswith("\x1b[2K")


@pytest.mark.parametrize("make", [Plain, Quiet, Bars])
def test_a_notice_is_written_at_once_where_nothing_is_drawn(make: Callable[[Screen], Progress]) -> None:
    with Screen() as out:
        make(out).stopping("orlop: stopping")
        assert out.shown() == "\norlop: stopping\n"


def test_a_notice_is_json_among_json() -> None:
    with Screen() as out:
        Lines(out).stopping("orlop: stopping")
        told = json.loads(out.shown())
        assert (told["event"], told["text"]) == ("message", "orlop: stopping")


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("make", [Plain, Lines, Bars])
def test_events_may_come_from_many_threads(make: Callable[[Terminal], Plain | Lines | Bars]) -> None:
    show = make(Terminal())

    def send(number: int) -> None:
        subject = f"sha256:{number:064x}"
        show(Event("start", subject, 0, 1000))
        for done in range(1000):
            show(Event("progress", subject, done, 1000))
        show(Event("done", subject, 1000, 1000))

    show(Event("plan", total=8000, count=8))
    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if not isinstance(show, Lines):
        assert (show.totals.bytes, show.totals.finished) == (8000, 8)
    show.close()


@pytest.mark.usefixtures("wide")
def test_bars_begin_anew_after_a_pause() -> None:
    out, clock = Terminal(), Clock()
    show = Bars(out, clock)
    for event in EVENTS:
        clock.now += 1
        show(event)
    show.pause()
    assert show.display is None
    show(Event("plan", total=500_000, count=1))
    show(Event("progress", B, 100_000, 500_000))
    assert show.display is not None
    assert (show.totals.total, show.totals.bytes, show.totals.finished) == (500_000, 100_000, 0)
    show.close()
    assert out.getvalue().count("\x1b[?25l") == out.getvalue().count("\x1b[?25h") == 2


def test_what_an_earlier_try_left_is_in_neither_total() -> None:
    totals = _Totals()
    for event in (
        Event("plan", total=60, count=1),
        Event("resume", "a", 40, 100),
        Event("progress", "a", 70, 100),
    ):
        totals.take(event)
    assert (totals.bytes, totals.total) == (30, 60)
    totals.take(Event("done", "a", 100, 100))
    assert (totals.bytes, totals.total, totals.finished) == (60, 60, 1)
