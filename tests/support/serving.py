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

_PUSHES = """
import sys
from orlop.serve.server import serve
from orlop.serve.stores import StoreView
from orlop.serve.v1.app import VersionOne
from orlop.store import Store
with Store.open(sys.argv[1]) as store:
    first = VersionOne(store, writable=True, limit=int(sys.argv[2]), stale=float(sys.argv[3]))
    serve(StoreView(store), "127.0.0.1", 0, ready=lambda where: print(where, flush=True), version_one=first,
          stall=float(sys.argv[4]), drain=float(sys.argv[5]))
"""


@dataclass(frozen=True)
class Served:
    """`address` is host:port; `process` is stopped by whoever leaves the context."""

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
    run = [sys.executable, "-c", _CODE, str(path), repository, listen, str(drain), str(stall)]
    if descriptors:
        run = ["/bin/bash", "-c", f'ulimit -n {descriptors}; exec "$@"', "bash", *run]
    with _running(run, {}) as served:
        yield served


@contextlib.contextmanager
def serve_store(path: Path, *options: str) -> Iterator[Served]:
    """`orlop serve` of the store at `path` on a free port."""
    run = [sys.executable, "-m", "orlop", "--store", str(path), "serve", "--listen", "127.0.0.1:0", *options]
    with _running(run, {"HOME": str(path.parent)}) as served:
        yield served


@contextlib.contextmanager
def serve_pushes(
    path: Path, *, limit: int = 1 << 40, stale: float = 60.0, stall: float = 120.0, drain: float = 10.0
) -> Iterator[Served]:
    """The same with version 1 and pushes, and with bounds that a test reaches: see `VersionOne` and `serve`."""
    run = [sys.executable, "-c", _PUSHES, str(path), str(limit), str(stale), str(stall), str(drain)]
    with _running(run, {"HOME": str(path.parent)}) as served:
        yield served


@contextlib.contextmanager
def _running(run: list[str], environment: dict[str, str]) -> Iterator[Served]:
    environment = {
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        "PATH": os.defpath,
        **environment,
    }
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
