"""Debian's Docker, without network, in a directory of the test's."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MINUTE = 60


@dataclass(frozen=True)
class Docker:
    """Call it with the arguments of `docker`; stdout is returned."""

    socket: Path

    def __call__(self, *arguments: str, stdin: bytes = b"") -> bytes:
        command = ["/usr/bin/docker", "-H", f"unix://{self.socket}", *arguments]
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.socket.parent)}
        done = subprocess.run(command, input=stdin, env=environment, capture_output=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def inspect(self, name: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(self("inspect", name))
        return found[0]

    def tree(self, image: str) -> bytes:
        """The tar of a container's files that was made of an image."""
        container = self("create", image, "/none").decode().strip()
        try:
            return self("export", container)
        finally:
            self("rm", container)


@contextlib.contextmanager
def docker() -> Iterator[Docker]:
    """An engine of its own. Its socket's path has to be short, so it is not below the test's directory."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="engine-") as folder:
        home = Path(folder)
        command = ["/usr/sbin/dockerd", "--iptables=false", "--bridge=none", "--storage-driver=vfs"]
        command += ["--data-root", f"{home}/root", "--exec-root", f"{home}/exec"]
        command += ["--host", f"unix://{home}/d.sock", "--pidfile", f"{home}/pid"]
        with open(home / "log", "wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            engine = Docker(home / "d.sock")
            _await(engine, process, home / "log")
            yield engine
        finally:
            process.terminate()
            process.wait(_MINUTE)
            _unmount_below(home)


def _await(engine: Docker, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _MINUTE
    while True:
        with contextlib.suppress(AssertionError):
            engine("version")
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"dockerd did not start: {log.read_text()[-2000:]}")
        time.sleep(0.1)


def _unmount_below(home: Path) -> None:
    points = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in reversed([point for point in points if point.startswith(f"{home}/")]):
        subprocess.run(["/bin/umount", point], check=True)
