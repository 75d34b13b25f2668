"""What a job reads and writes: an output with any number of destinations, an input with at most one source."""

from __future__ import annotations

import os
import threading
from typing import BinaryIO, Protocol

from ..errors import Conflict, Invalid, Unsafe
from ..model import go_json
from .env import Env
from .table import Table

# an answer that is read back as an environment or a table, and the stderr that its last line is taken from
ANSWER_BYTES = 32 << 20
TAIL_BYTES = 64 << 10


class Sink(Protocol):
    """Where bytes go."""

    def write(self, data: bytes, /) -> object: ...


class Source(Protocol):
    """Where bytes come from; `b""` is the end."""

    def read(self, size: int, /) -> bytes: ...


def tail(data: bytes, count: int) -> str:
    """The last `count` lines, without the last newline; "" for none."""
    lines = data.removesuffix(b"\n").split(b"\n")
    return b"\n".join(lines[-count:]).decode("utf-8", "replace") if count > 0 else ""


class Tail:
    """A sink that keeps the end of what it gets, at most 64 KiB."""

    def __init__(self) -> None:
        self._data = b""

    def write(self, data: bytes, /) -> None:
        self._data = (self._data + bytes(data[-TAIL_BYTES:]))[-TAIL_BYTES:]

    def lines(self, count: int) -> str:
        return tail(self._data, count)


class _Answer:
    """Keeps an answer, to read it when it is whole."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes, /) -> None:
        if len(self.data) + len(data) > ANSWER_BYTES:
            raise Unsafe(f"answer of a job: over {ANSWER_BYTES} bytes")
        self.data += data


class Output:
    """Each write goes to all destinations; without any, to nobody. From any thread.

    Nothing is kept here but what `add_env` and the like read, at most 32 MiB.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._sinks: list[Sink] = []
        self._owned: list[BinaryIO] = []
        self._envs: list[tuple[_Answer, Env]] = []
        self._tables: list[tuple[_Answer, Table, bool]] = []
        self._used = False

    @property
    def used(self) -> bool:
        """Whether something was written."""
        return self._used

    def add(self, sink: Sink) -> None:
        """Write to this too. It stays the caller's: `close` does not close it."""
        with self._lock:
            self._sinks.append(sink)

    def own(self, file: BinaryIO) -> None:
        """Write to this too, and close it at the end."""
        with self._lock:
            self._sinks.append(file)
            self._owned.append(file)

    def set(self, sink: Sink) -> None:
        """Close, and write to nothing but this from now on."""
        self.close()
        self.add(sink)

    def add_pipe(self) -> BinaryIO:
        """What is written can be read from this, in another thread; its end is `close`. The caller closes it."""
        reading, writing = os.pipe()
        self.own(os.fdopen(writing, "wb", buffering=0))
        return os.fdopen(reading, "rb")

    def add_env(self) -> Env:
        """After `close`, this has the last of the JSON objects that were written."""
        answer, env = _Answer(), Env()
        with self._lock:
            self._sinks.append(answer)
            self._envs.append((answer, env))
        return env

    def add_table(self) -> Table:
        """After `close`, this has all JSON objects that were written."""
        return self._add_table(is_list=False)

    def add_list_table(self) -> Table:
        """After `close`, this has the objects of the JSON list that was written."""
        return self._add_table(is_list=True)

    def _add_table(self, *, is_list: bool) -> Table:
        answer, table = _Answer(), Table()
        with self._lock:
            self._sinks.append(answer)
            self._tables.append((answer, table, is_list))
        return table

    def write(self, data: bytes, /) -> int:
        """To every destination, even after one failed; then the first failure is raised."""
        failed: OSError | Unsafe | None = None
        with self._lock:
            self._used = True
            for sink in self._sinks:
                try:
                    _write_all(sink, data)
                except (OSError, Unsafe) as error:
                    failed = failed or error
        if failed is not None:
            raise failed
        return len(data)

    def close(self) -> None:
        """Let go of all destinations, so that readers of pipes see the end, and read answers. Later writes go nowhere.

        `Invalid` if an answer is not what it was to be. Idempotent.
        """
        with self._lock:
            owned, self._owned, self._sinks = self._owned, [], []
            envs, self._envs = self._envs, []
            tables, self._tables = self._tables, []
        for file in owned:
            file.close()
        for answer, env in envs:
            for value in go_json.split(bytes(answer.data), what="answer of a job")[-1:]:
                env.decode(value, what="answer of a job")
        for answer, table, is_list in tables:
            if is_list and answer.data:
                table.decode_list(bytes(answer.data))
            elif not is_list:
                table.decode(bytes(answer.data))


class Input:
    """Reads from at most one source; without one it is at its end."""

    def __init__(self) -> None:
        self._source: Source | None = None

    def add(self, source: Source) -> None:
        """Read from this. It stays the caller's. `Conflict` for a second one."""
        if self._source is not None:
            raise Conflict("Maximum number of sources reached: 1")
        self._source = source

    def read(self, size: int = 1 << 20, /) -> bytes:
        """At most `size` bytes (not all there is, whatever the size: streams are large)."""
        if size < 0:
            raise Invalid(f"input of a job: read of {size} bytes")
        return self._source.read(size) if self._source is not None else b""

    def close(self) -> None:
        """Let go of the source: later reads are at the end."""
        self._source = None


def _write_all(sink: Sink, data: bytes) -> None:
    """Raw files may take a part only, and say so."""
    view = memoryview(data)
    while view:
        written = sink.write(bytes(view) if len(view) < len(data) else data)
        if not isinstance(written, int) or written >= len(view):
            return
        view = view[written:]
