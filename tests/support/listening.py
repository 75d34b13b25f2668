"""What the servers on plain sockets have in common: they listen, a thread a connection serves, all ends at the end."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from types import TracebackType
from typing import Self


class Listening:
    """A base for data classes, on a free port of `address` inside `with`. `serve` has a thread for each connection,
    which are counted from 0; whatever is in `open_links` at the end is shut down."""

    address: str = "127.0.0.1"

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.open_links: set[socket.socket] = set()

    def __enter__(self) -> Self:
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        self._listener = socket.create_server((self.address, 0), family=family, backlog=128)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # shutdown, as close alone does not wake the thread in accept
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self.lock:
            for link in self.open_links:
                with contextlib.suppress(OSError):
                    link.shutdown(socket.SHUT_RDWR)

    @property
    def host(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    def came(self, number: int) -> None:
        """A connection was accepted; called before `serve`, with `lock` held."""
        raise NotImplementedError

    def serve(self, link: socket.socket, number: int) -> None:
        """Until it returns the connection is open; closing it is left to it."""
        raise NotImplementedError

    def _accept(self) -> None:
        for number in itertools.count():
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            with self.lock:
                self.open_links.add(link)
                self.came(number)
            threading.Thread(target=self.serve, args=(link, number), daemon=True).start()
