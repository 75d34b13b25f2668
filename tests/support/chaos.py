"""A proxy on plain sockets before a good server. It spoils connections, each in the way that a plan says."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal

_PIECE = 64 << 10


@dataclass(frozen=True)
class Trouble:
    """What becomes of a connection after `at` bytes of what the server says on it: it ends with a FIN ("cut") or a
    RST ("reset"), nothing more comes ("stall"), the next bit is another ("flip"). "answer" sends `answer` in place
    of what the server would say, and ends. "none" lets everything pass. `heard`: after so many bytes of what the
    client says."""

    kind: Literal["none", "cut", "reset", "stall", "flip", "answer"] = "none"
    at: int = 0
    answer: bytes = b""
    heard: bool = False


NONE = Trouble()
Plan = Callable[[int], Trouble]  # by the number of the connection, from 0


@dataclass(repr=False)
class Chaos:
    """`with Chaos("127.0.0.1:5000", plan) as proxy: ... proxy.host`. Counts what it passed on to clients."""

    upstream: str
    plan: Plan
    passed: int = 0
    said: list[bytes] = field(default_factory=list)  # what the server said, a connection each
    troubles: list[Trouble] = field(default_factory=list)  # those that came to be
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _open: set[socket.socket] = field(default_factory=set)

    def __enter__(self) -> Chaos:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for link in self._open:
                with contextlib.suppress(OSError):
                    link.shutdown(socket.SHUT_RDWR)

    @property
    def kinds(self) -> set[str]:
        return {trouble.kind for trouble in self.troubles}

    def _accept(self) -> None:
        index = 0
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(link)
                self.said.append(b"")
            threading.Thread(target=self._serve, args=(link, index), daemon=True).start()
            index += 1

    def _serve(self, link: socket.socket, index: int) -> None:
        trouble = self.plan(index)
        try:
            if trouble.kind == "answer":
                self._answer(link, trouble)
                return
            host, _, port = self.upstream.rpartition(":")
            with socket.create_connection((host, int(port)), timeout=30) as server:
                self._relay(link, server, index, trouble)
        except OSError:
            pass  # either side is free to leave at any time
        finally:
            with self._lock:
                self._open.discard(link)
            link.close()

    def _answer(self, link: socket.socket, trouble: Trouble) -> None:
        asked = b""
        while b"\r\n\r\n" not in asked:
            more = link.recv(_PIECE)
            if not more:
                return
            asked += more
        self._came(trouble)
        link.sendall(trouble.answer)
        link.shutdown(socket.SHUT_WR)

    def _relay(self, link: socket.socket, server: socket.socket, index: int, trouble: Trouble) -> None:
        passed = heard = 0
        while True:
            readable, _, _ = select.select([link, server], [], [])
            if link in readable:
                asked = link.recv(_PIECE)
                if not asked:
                    return
                if trouble.heard and heard <= trouble.at < heard + len(asked):
                    self._came(trouble)
                    asked = self._garble(link, server, trouble, asked, trouble.at - heard)
                    if not asked:
                        return
                heard += len(asked)
                server.sendall(asked)
            if server in readable:
                said = server.recv(_PIECE)
                self.said[index] += said
                if trouble.kind != "none" and not trouble.heard and passed <= trouble.at < passed + max(len(said), 1):
                    self._came(trouble)
                    said = self._spoil(link, trouble, said, trouble.at - passed)
                    if not said:
                        return
                if not said:
                    return
                link.sendall(said)
                passed += len(said)
                with self._lock:
                    self.passed += len(said)

    def _garble(self, link: socket.socket, server: socket.socket, trouble: Trouble, asked: bytes, place: int) -> bytes:
        """What the server is to hear instead of `asked`, where the connection goes on."""
        if trouble.kind == "flip":
            return asked[:place] + bytes([asked[place] ^ 1]) + asked[place + 1 :]
        server.sendall(asked[:place])
        if trouble.kind == "reset":
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return b""

    def _spoil(self, link: socket.socket, trouble: Trouble, said: bytes, place: int) -> bytes:
        """What is to be sent instead of `said`, where the connection goes on."""
        if trouble.kind == "flip":
            return said[:place] + bytes([said[place] ^ 1]) + said[place + 1 :] if said else b""
        link.sendall(said[:place])
        with self._lock:
            self.passed += place
        if trouble.kind == "reset":
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif trouble.kind == "stall":
            while link.recv(_PIECE):
                pass
        return b""

    def _came(self, trouble: Trouble) -> None:
        with self._lock:
            self.troubles.append(trouble)
