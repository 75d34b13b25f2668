"""How long the command takes to start: `--version`, and a pull until its first request is at the registry."""

from __future__ import annotations

import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_TIMES = 15
_PROGRAM = str(Path(sys.executable).with_name("orlop"))


def startup() -> dict[str, float]:
    """Medians of wall seconds."""
    return {
        "`orlop --version`": statistics.median(_version() for _ in range(_TIMES)),
        "`orlop pull`, to its first request": statistics.median(_first_request() for _ in range(_TIMES)),
    }


def _version() -> float:
    started = time.monotonic()
    subprocess.run([_PROGRAM, "--version"], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def _first_request() -> float:
    with tempfile.TemporaryDirectory() as place, socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        command = [
            _PROGRAM,
            "-q",
            "--store",
            f"{place}/store",
            "pull",
            "--retry",
            "0",
            "--insecure",
            host,
            f"{host}/a:1",
        ]
        started = time.monotonic()
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            link, _ = listener.accept()
            with link:
                link.recv(1)
                took = time.monotonic() - started
            process.kill()
        return took
