"""A registry of our own over an OCI layout, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_CODE = """
import sys
from pathlib import Path
from orlop.serve.layouts import LayoutView
from orlop.serve.server import serve
view = LayoutView(Path(sys.argv[1]), repository=sys.argv[2])
serve(view, sys.argv[3], 0, ready=lambda where: print(where, flush=True), drain=float(sys.argv[4]),
      stall=float(sys.argv[5]))
"""


@dataclass(frozen=True)
class Served:
    """`address` is host:port; `process` is stopped by whoever leaves `serve_layout`."""

    address: str
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        return f"http://{self.address}"


@contextlib.contextmanager
def serve_layout(
    path: Path,
    *,
    repository: str = "images",
    listen: str = "127.0.0.1",
    drain: float = 10.0,
    stall: float = 120.0,
    descriptors: int = 0,
) -> Iterator[Served]:
    """Serve the layout at `path` on a free port: its plain tags below `repository`, full names under their own.

    `descriptors` is how many the server may have, 0 for as many as it likes. The end is SIGTERM, and the process
    must then end by itself with status 0 within 20 seconds.
    """
    environment = {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry), "PATH": os.defpath}
    run = [sys.executable, "-c", _CODE, str(path), repository, listen, str(drain), str(stall)]
    if descriptors:
        run = ["/bin/bash", "-c", f'ulimit -n {descriptors}; exec "$@"', "bash", *run]
    process = subprocess.Popen(run, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    with process, process.stdout as stdout:
        try:
            address = stdout.readline().strip()
            assert address, f"the server ended with status {process.wait(20)}"
            yield Served(address, process)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                status = process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        assert status == 0, f"the server ended with status {status}"
