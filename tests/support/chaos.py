"""A proxy on plain sockets before a good server. It spoils connections, each in the way that a plan says."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from .listening import Listening

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
class Chaos(Listening):
    """`with Chaos("127.0.0.1:5000", plan) as proxy: ... proxy.host`. Counts what it passed on to clients."""

    upstream: str
    plan: Plan
    passed: int = 0
    said: list[bytes] = field(default_factory=list)  # what the server said, a connection each
    heard: list[bytes] = field(default_factory=list)  # what clients said
    troubles: list[Trouble] = field(default_factory=list)  # those that came to be

    @property
    def kinds(self) -> set[str]:
        return {trouble.kind for trouble in self.troubles}

    def came(self, number: int) -> None:
        self.said.append(b"")
        self.heard.append(b"")

    def serve(self, link: socket.socket, number: int) -> None:
        trouble = self.plan(number)
        try:
            if trouble.kind == "answer":
                self._answer(link, trouble)
                return
            host, _, port = self.upstream.rpartition(":")
            with socket.create_connection((host, int(port)), timeout=30) as server:
                self._relay(link, server, number, trouble)
        except OSError:
            pass  # either side is free to leave at any time
        finally:
            with self.lock:
                self.open_links.discard(link)
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
                self.heard[index] += asked
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
                with self.lock:
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
        with self.lock:
            self.passed += place
        if trouble.kind == "reset":
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif trouble.kind == "stall":
            while link.recv(_PIECE):
                pass
        return b""

    def _came(self, trouble: Trouble) -> None:
        with self.lock:
            self.troubles.append(trouble)
