"""A real terminal for tests: tmux draws it, keys go in, the screen comes out."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TMUX = "/usr/bin/tmux"
_SECONDS = 60.0


@dataclass(frozen=True)
class Terminal:
    """One terminal with one program in it."""

    socket: Path

    def type(self, text: str) -> None:
        """Characters as they are."""
        self._tmux("send-keys", "-l", "--", text)

    def press(self, *keys: str) -> None:
        """Keys by tmux's names: `C-c`, `Tab`, `Enter`."""
        self._tmux("send-keys", *keys)

    def screen(self) -> list[str]:
        """The lines on it, without those that are empty."""
        shown = self._tmux("capture-pane", "-p")
        return [line.rstrip() for line in shown.splitlines() if line.strip()]

    def wait(self, holds: Callable[[list[str]], bool]) -> list[str]:
        """The screen as soon as it is as wanted."""
        deadline = time.monotonic() + _SECONDS
        while not holds(shown := self.screen()):
            assert time.monotonic() < deadline, "\n".join(shown)
            time.sleep(0.05)
        return shown

    def wait_for(self, text: str) -> list[str]:
        return self.wait(lambda lines: any(text in line for line in lines))

    def _tmux(self, *arguments: str) -> str:
        command = [_TMUX, "-S", str(self.socket), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=_SECONDS).stdout


@contextmanager
def terminal(
    command: Sequence[str], environment: Mapping[str, str], *, columns: int = 80, rows: int = 24
) -> Iterator[Terminal]:
    """`command` in a terminal, with nothing in its environment but what is given. The screen stays when it ends, below
    it its exit code: `ended 0`. Whatever runs in it at the end gets SIGHUP."""
    told = {"PATH": os.defpath, "TERM": "screen", "LANG": "C.UTF-8", **environment}
    line = shlex.join(["env", "-i", *(f"{name}={value}" for name, value in told.items()), *command])
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="orlop-") as place:  # a socket's path is short
        opened = Terminal(Path(place, "tmux"))
        start = [_TMUX, "-f", "/dev/null", "-S", str(opened.socket), "new-session", "-d"]
        size = ["-x", str(columns), "-y", str(rows)]
        script = f"{line}; printf '\\nended %d\\n' $?; exec sleep 600"
        subprocess.run(
            [*start, *size, script], check=True, env={"PATH": os.defpath, "LANG": "C.UTF-8"}, timeout=_SECONDS
        )
        try:
            yield opened
        finally:
            opened._tmux("kill-server")
