"""Processes as the kernel sees them."""

from __future__ import annotations

import time
from pathlib import Path


def wait_until_idle(pid: int) -> None:
    """Until a process has used no processor for half a second: it waits for something."""
    used, still = "", 0
    while still < 5:
        time.sleep(0.1)
        now = " ".join(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])
        used, still = now, still + 1 if now == used else 0


def wait_for_process(*arguments: str) -> int:
    """The process whose last arguments these are, once there is one."""
    ending = "".join(f"{argument}\0" for argument in arguments).encode()
    while True:
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if file.read_bytes().endswith(ending) and b"tmux" not in file.read_bytes():
                    return int(file.parent.name)
            except OSError:
                continue  # gone meanwhile
        time.sleep(0.05)
