"""zstd windows: all that are open at once are within one bound, and each is given back however its stream ends."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from backports import zstd

from orlop import streams
from orlop.errors import Cancelled, Error
from orlop.job import Job
from orlop.model.limits import MIB, ZSTD_WINDOWS_BYTES

NAMES = zstd.CompressionParameter


def packed(window: int, plain: bytes) -> bytes:
    """One frame that does not say its size, so that it says its window."""
    packer = zstd.ZstdCompressor(options={int(NAMES.window_log): window, int(NAMES.compression_level): 1})
    return packer.compress(plain) + packer.flush()


def opened(content: bytes, job: Job | None = None) -> streams.Inflated:
    return streams.Inflated(io.BytesIO(content), job)


def check_all_given_back() -> None:
    """All of it is free: whoever comes with a stopped job takes everything at once, or is told that he cannot."""
    stopped = Job()
    stopped.stop()
    streams._WINDOWS.take(ZSTD_WINDOWS_BYTES, stopped)
    streams._WINDOWS.give(ZSTD_WINDOWS_BYTES)


@pytest.fixture(autouse=True)
def all_given_back() -> Iterator[None]:
    yield
    check_all_given_back()


@pytest.mark.parametrize("window", range(10, 26))
def test_PA09_a_window_is_known_before_it_is_taken(window: int) -> None:
    assert streams._window_of(packed(window, b"x" * 100)[:18]) == 1 << window


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65_791, 65_792, 1 << 20])
def test_PA09_a_frame_of_one_segment_needs_what_it_holds(size: int) -> None:
    frame = zstd.compress(bytes(size), options={int(NAMES.content_size_flag): 1})
    assert frame[4] & 0x20
    assert streams._window_of(frame[:18]) == size


@pytest.mark.parametrize("start", [b"", b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18\x04\0\0\0abcd"])
def test_what_is_no_whole_frame_needs_nothing(start: bytes) -> None:
    assert streams._window_of(start) == 0


def test_PA09_a_window_beyond_the_largest_counts_as_the_largest() -> None:
    assert streams._window_of(b"\x28\xb5\x2f\xfd\0\xff" + bytes(12)) == 32 * MIB


def test_PA09_a_third_large_window_waits_for_one_of_two_and_is_stopped_with_its_job() -> None:
    content, job = packed(25, b"plain"), Job()
    first, second, third = opened(content), opened(content), opened(content, job)
    first._start()
    second._start()
    found: list[bytes | BaseException] = []

    def read(stream: streams.Inflated) -> None:
        try:
            found.append(stream.read(9))
        except Error as error:
            found.append(error)

    waiting = threading.Thread(target=read, args=(third,))
    waiting.start()
    waiting.join(0.3)
    assert found == []
    job.stop()
    waiting.join()
    assert isinstance(found.pop(), Cancelled)
    fourth = opened(content)
    waiting = threading.Thread(target=read, args=(fourth,))
    waiting.start()
    assert first.read(9) + first.read(9) == b"plain"
    waiting.join()
    assert found == [b"plain"]
    for stream in (second, second, fourth):
        stream.close()


def test_PA09_windows_of_many_frames_are_taken_one_by_one() -> None:
    stream = opened(packed(25, b"a") * 5 + packed(10, b"b") * 5)
    assert b"".join(iter(lambda: stream.read(9), b"")) == b"a" * 5 + b"b" * 5


@pytest.mark.parametrize("damage", ["cut", "flipped", "junk behind"])
def test_PA09_a_damaged_stream_gives_its_window_back(damage: str) -> None:
    content = packed(25, bytes(range(256)) * 99)
    content = {"cut": content[:-9], "flipped": content[:9] + b"\xff" * 30, "junk behind": content + b"x"}[damage]
    with closing(opened(content)) as stream:
        with pytest.raises(Error, match="stream"):
            while stream.read(9):
                pass
        # at once, while the stream and its error live
        check_all_given_back()
