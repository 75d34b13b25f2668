"""Streams of bytes: the one chunk size, bounded reading, and inflating (RFC 1952 gzip, RFC 8878 zstd) with bounds."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Protocol

from .errors import Invalid, Unsafe, Unsupported
from .model.limits import INFLATE_FREE_BYTES, INFLATE_RATIO, ZSTD_WINDOW_LOG
from .ports import Readable

CHUNK = 1 << 20
# compressed bytes per inflate call: small enough that what it makes stays near CHUNK
_FEED = 256 << 10


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


class Inflated:
    """A `Readable` of the plain bytes of `source`, whatever its compression, told by its first bytes.

    Concatenated gzip members and zstd frames are one stream; anything else behind them, a wrong checksum or
    an early end is `Invalid`; more than 1,100 times the compressed size (beyond the first 64 MiB) is `Unsafe`.
    `compression` is "gzip", "zstd" or "" once something was read.
    """

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._decoder: Decoder | None = None
        self._failures: tuple[type[Exception], ...] = ()
        self._pending = b""
        self._started = False
        self._taken = 0
        self._made = 0
        self.compression = ""

    def read(self, size: int, /) -> bytes:
        if not self._started:
            self._start()
        if not self.compression:
            data, self._pending = (self._pending, b"") if self._pending else (self._source.read(size), b"")
            return data
        while True:
            data = self._step(min(size, CHUNK))
            if data or self._decoder is None:
                return data

    def _start(self) -> None:
        self._started = True
        while len(self._pending) < 6:
            more = self._source.read(_FEED)
            if not more:
                break
            self._pending += more
            self._taken += len(more)
        self.compression = compression_of(self._pending)
        if self.compression:
            self._decoder, self._failures = _decoder(self.compression)

    def _step(self, size: int) -> bytes:
        """One call of the decoder: b"" with `_decoder` None is the end of everything."""
        decoder = self._decoder
        if decoder is None:
            return b""
        feed = b""
        if decoder.needs_input:
            feed = self._feed()
            if not feed and not decoder.eof:
                raise Invalid(f"{self.compression} stream: ends early, after {self._made} plain bytes")
        try:
            data = decoder.decompress(feed, size)
        except self._failures as error:
            raise Invalid(f"{self.compression} stream: damaged after {self._made} plain bytes: {error}") from error
        self._made += len(data)
        if self._made > INFLATE_FREE_BYTES and self._made > INFLATE_RATIO * self._taken:
            raise Unsafe(f"{self.compression} stream: grows over {INFLATE_RATIO} times, refused as a bomb")
        if decoder.eof:
            self._next_member(decoder.unused_data)
        return data

    def _feed(self) -> bytes:
        if self._pending:
            data, self._pending = self._pending[:_FEED], self._pending[_FEED:]
            return data
        data = self._source.read(_FEED)
        self._taken += len(data)
        return data

    def _next_member(self, rest: bytes) -> None:
        self._pending = rest + self._pending
        while len(self._pending) < 6:
            more = self._source.read(_FEED)
            if not more:
                break
            self._pending += more
            self._taken += len(more)
        if not self._pending:
            self._decoder = None
        elif compression_of(self._pending) == self.compression:
            self._decoder, self._failures = _decoder(self.compression)
        else:
            raise Invalid(f"{self.compression} stream: {len(self._pending)} or more bytes of junk after its end")


def compression_of(start: bytes) -> str:
    """ "gzip", "zstd" or "" (plain) by the first bytes; `Unsupported` names other known compressions."""
    if start[:2] == b"\x1f\x8b":
        return "gzip"
    if start[:4] == b"\x28\xb5\x2f\xfd" or (start[1:4] == b"\x2a\x4d\x18" and 0x50 <= start[0] <= 0x5F):
        return "zstd"
    if start[:3] == b"BZh" and start[4:6] == b"\x31\x41":
        raise Unsupported("layer: compressed with bzip2, expected gzip, zstd or none")
    if start[:6] == b"\xfd7zXZ\0":
        raise Unsupported("layer: compressed with xz, expected gzip, zstd or none")
    return ""


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


def _gzip_backend() -> tuple[Callable[[], Decoder], tuple[type[Exception], ...]]:
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


def _zstd_module() -> Any:
    try:
        from compression import zstd  # Python 3.14
    except ImportError:
        from backports import zstd
    return zstd


def _decoder(compression: str) -> tuple[Decoder, tuple[type[Exception], ...]]:
    """A fresh decoder and what it raises on damage."""
    if compression == "gzip":
        make, failures = _gzip_backend()
        return make(), (*failures, EOFError, ValueError)
    zstd = _zstd_module()
    options = {zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG}
    return zstd.ZstdDecompressor(options=options), (zstd.ZstdError, EOFError, ValueError)
