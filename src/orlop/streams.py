"""Streams of bytes: the one chunk size, bounded reading, and inflating (RFC 1952 gzip, RFC 8878 zstd) with bounds."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

from .errors import Error, Invalid, Unsafe
from .job import Job
from .model.limits import (
    INFLATE_FREE_BYTES,
    INFLATE_MEMBERS,
    INFLATE_RATIO,
    MIB,
    XZ_MEMORY_BYTES,
    ZSTD_WINDOW_LOG,
    ZSTD_WINDOWS_BYTES,
)
from .ports import Readable

CHUNK = 1 << 20
# compressed bytes per inflate call: small enough that what it makes stays near CHUNK
_FEED = 256 << 10
# and in the first one of a member, as a stream may be a million members of a few bytes
_FIRST_FEED = 4 << 10
# first bytes that tell a compression
_MAGIC = 6
# the longest header of a zstd frame
_FRAME_HEADER = 18
# seconds between two looks at the job
_GLANCE = 0.1


class Writable(Protocol):
    def write(self, data: bytes, /) -> Any: ...


class Decoder(Protocol):
    """As `bz2.BZ2Decompressor`: keeps what it has not used yet, and says when it wants more."""

    eof: bool
    needs_input: bool
    unused_data: bytes

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def read_limited(source: Readable, limit: int, *, what: str) -> bytes:
    """All of `source`, `Unsafe` if it has more than `limit` bytes. Never holds more than that."""
    parts: list[bytes] = []
    left = limit + 1
    while left > 0 and (chunk := source.read(min(left, CHUNK))):
        parts.append(chunk)
        left -= len(chunk)
    if left <= 0:
        raise Unsafe(f"{what}: more than {limit} bytes")
    return b"".join(parts)


class _Windows:
    """Memory of all zstd and xz decoders of this process: whoever would be one too many waits."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._freed = threading.Condition()

    def take(self, size: int, job: Job) -> None:
        """Wait until `size` bytes are free; no single window is larger than all of them."""
        with self._freed:
            while size > self._left:
                job.check()
                self._freed.wait(_GLANCE)
            self._left -= size

    def give(self, size: int) -> None:
        with self._freed:
            self._left += size
            self._freed.notify_all()


_WINDOWS = _Windows(ZSTD_WINDOWS_BYTES)


class Inflated:
    """A `Readable` of the plain bytes of `source`, whatever its compression, told by its first bytes.

    Concatenated gzip members, zstd frames and the like are one stream; anything else behind them, a wrong checksum or
    an early end is `Invalid`; more than 1,100 times the compressed size (beyond the first 64 MiB), over a million
    members, or a zstd window over 32 MiB is `Unsafe`. Large windows wait for each other, until `job` is stopped.
    `compression` is what `compression_of` says once something was read.
    """

    def __init__(self, source: Readable, job: Job | None = None) -> None:
        self._source = source
        self._job = job or Job()
        self._window = 0
        self._failures: tuple[type[Exception], ...] = ()
        self._decoder: Decoder | None = None
        # compressed bytes taken from the source, of which those from `_at` on are still to be fed
        self._buffer = b""
        self._at = 0
        self._next_feed = _FIRST_FEED
        self._started = False
        self._taken = 0
        self._made = 0
        self._members = 0
        self.compression = ""

    def read(self, size: int, /) -> bytes:
        if not self._started:
            self._start()
        if not self.compression:
            data, self._buffer = (self._buffer, b"") if self._buffer else (self._source.read(size), b"")
            return data
        while True:
            data = self._step(min(size, CHUNK))
            if data or self._decoder is None:
                return data

    def close(self) -> None:
        """Free what it holds. Idempotent."""
        self._decoder = None
        if self._window:
            _WINDOWS.give(self._window)
            self._window = 0

    # one that is left in the middle holds nobody up
    __del__ = close

    def _start(self) -> None:
        self._started = True
        self.compression = compression_of(self._peek())
        if self.compression:
            self._open_member()

    def _step(self, size: int) -> bytes:
        """One call of the decoder: b"" with `_decoder` None is the end of everything."""
        decoder = self._decoder
        if decoder is None:
            return b""
        feed = b""
        try:
            if decoder.needs_input:
                feed = self._feed()
                if not feed and not decoder.eof:
                    raise Invalid(f"{self.compression} stream: ends early, after {self._made} plain bytes")
            try:
                data = decoder.decompress(feed, size)
            except self._failures as error:
                raise self._failed(error) from error
            self._made += len(data)
            if self._made > INFLATE_FREE_BYTES and self._made > INFLATE_RATIO * self._taken:
                raise Unsafe(f"{self.compression} stream: grows over {INFLATE_RATIO} times, refused as a bomb")
            if decoder.eof:
                # what it did not use is the end of what it was fed last
                unused, decoder = len(decoder.unused_data), None
                self._at -= unused
                self._next_member()
            return data
        except BaseException:
            self.close()
            raise
        finally:
            # an error has this frame in its traceback, and the decoder would live as long as the error does
            del decoder

    def _failed(self, error: Exception) -> Error:
        if self.compression == "zstd" and "memory" in str(error):
            window = (1 << ZSTD_WINDOW_LOG) // MIB
            hint = "compress it at a lower level, without --long"
            return Unsafe(f"zstd stream: needs a window of over {window} MiB, refused as a bomb", hint=hint)
        if self.compression == "xz" and "emory" in str(error):
            return Unsafe(f"xz stream: needs over {XZ_MEMORY_BYTES // MIB} MiB of memory, refused as a bomb")
        return Invalid(f"{self.compression} stream: damaged after {self._made} plain bytes: {error}")

    def _feed(self) -> bytes:
        """The next compressed bytes: few at the start of a member, which may be its end too, then more and more."""
        if self._at >= len(self._buffer):
            self._fill()
        data = self._buffer[self._at : self._at + self._next_feed]
        self._at += len(data)
        self._next_feed = min(_FEED, self._next_feed * 4)
        return data

    def _fill(self) -> bool:
        """Take more from the source; False if there is no more."""
        more = self._source.read(_FEED)
        self._buffer = self._buffer[self._at :] + more
        self._at = 0
        self._taken += len(more)
        return bool(more)

    def _peek(self) -> bytes:
        """The next six bytes, or as many as there are; what is fed first is then there too, as isal (seen in 1.8)
        wants a gzip header with a name and a comment, or a checksum, in one piece."""
        while len(self._buffer) - self._at < _FIRST_FEED and self._fill():
            pass
        return self._buffer[self._at : self._at + _MAGIC]

    def _open_member(self) -> None:
        self._members += 1
        if self._members > INFLATE_MEMBERS:
            raise Unsafe(f"{self.compression} stream: over {INFLATE_MEMBERS} members, refused as a bomb")
        make, self._failures = _backend(self.compression)
        if self.compression in ("zstd", "xz"):
            self.close()
            # the dictionary of xz may be as large as all windows together, and rarely is: one at a time
            start = self._buffer[self._at : self._at + _FRAME_HEADER]
            window = _window_of(start) if self.compression == "zstd" else ZSTD_WINDOWS_BYTES
            _WINDOWS.take(window, self._job)
            self._window = window
        self._decoder = make()
        self._next_feed = _FIRST_FEED

    def _next_member(self) -> None:
        start = self._peek()
        if not start:
            self.close()
        elif compression_of(start) == self.compression:
            self._open_member()
        else:
            rest = len(self._buffer) - self._at
            raise Invalid(f"{self.compression} stream: {rest} or more bytes of junk after its end")


def compression_of(start: bytes) -> str:
    """ "gzip", "zstd", "bzip2", "xz" or "" (plain) by the first six bytes."""
    if start[:2] == b"\x1f\x8b":
        return "gzip"
    if start[:4] == b"\x28\xb5\x2f\xfd" or (start[1:4] == b"\x2a\x4d\x18" and 0x50 <= start[0] <= 0x5F):
        return "zstd"
    # behind the size of its blocks a bzip2 stream has a block, or its end
    if start[:3] == b"BZh" and start[4:6] in (b"\x31\x41", b"\x17\x72"):
        return "bzip2"
    if start[:6] == b"\xfd7zXZ\0":
        return "xz"
    return ""


def _window_of(frame: bytes) -> int:
    """Bytes that a decoder needs for what a zstd frame refers back to, by its header (RFC 8878, 3.1.1.1), at most
    those of the largest window that is taken; 0 for a frame to be skipped and for one cut short."""
    if frame[:1] != b"\x28" or len(frame) < 6:
        return 0
    descriptor = frame[4]
    if not descriptor & 0x20:
        exponent, mantissa = frame[5] >> 3, frame[5] & 7
        window = (1 << 10 + exponent) // 8 * (8 + mantissa)
    else:
        # one segment: the window is the content, whose size stands behind the dictionary's number
        start = 5 + (0, 1, 2, 4)[descriptor & 3]
        width = 1 << (descriptor >> 6)
        window = int.from_bytes(frame[start : start + width], "little") + (256 if width == 2 else 0)
    return min(window, 1 << ZSTD_WINDOW_LOG)


class _Zlib:
    """zlib's or zlib-ng's decompressor in the shape of `Decoder`."""

    def __init__(self, module: Any) -> None:
        self._inner = module.decompressobj(wbits=31)
        self._tail = b""
        self.eof = False
        self.needs_input = True
        self.unused_data = b""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        result: bytes = self._inner.decompress(self._tail + data, max(max_length, 0))
        self._tail = self._inner.unconsumed_tail
        self.eof = self._inner.eof
        self.unused_data = self._inner.unused_data
        # a full result may hide more that needs no further input
        self.needs_input = not self._tail and len(result) < max_length
        return result


_Backend = tuple[Callable[[], Decoder], tuple[type[Exception], ...]]


@cache
def _backend(compression: str) -> _Backend:
    """What makes decoders, and what those raise on damage."""
    backends = {"gzip": _gzip_backend, "zstd": _zstd_backend, "bzip2": _bzip2_backend, "xz": _xz_backend}
    make, failures = backends[compression]()
    return make, (*failures, EOFError, ValueError)


def _bzip2_backend() -> _Backend:
    """Of layers of 2013 and before; it takes 4 MiB."""
    import bz2

    make: Any = bz2.BZ2Decompressor
    return make, (OSError,)


def _xz_backend() -> _Backend:
    import lzma

    make: Any = lzma.LZMADecompressor
    return lambda: make(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES), (lzma.LZMAError,)


def _gzip_backend() -> _Backend:
    """The fastest gzip decoder at hand: isal, then zlib-ng, then zlib; measured in docs/design.md."""
    try:
        from isal import igzip_lib

        isal: Any = igzip_lib
        return lambda: isal.IgzipDecompressor(flag=isal.DECOMP_GZIP), (isal.IsalError,)
    except ImportError:
        pass
    try:
        from zlib_ng import zlib_ng

        fast: Any = zlib_ng
        return lambda: _Zlib(fast), (fast.error,)
    except ImportError:
        return lambda: _Zlib(zlib), (zlib.error,)


def _zstd_backend() -> _Backend:
    try:
        from compression import zstd  # Python 3.14
    except ImportError:
        from backports import zstd
    module: Any = zstd
    options = {module.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG}
    return lambda: module.ZstdDecompressor(options=options), (module.ZstdError,)
