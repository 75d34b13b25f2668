"""Times every way from an empty store to a usable root, in turn, each on a fresh journaled ext4 of its own.

    python -m bench.run [ROUNDS]

As root, on a quiet machine. Writes `docs/benchmarks.md`, its chart, and the table of the README. Wall seconds are of
the commands as typed, start-up included; the clock stops when they return. Then the file system is synced and the
time of that is given apart.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.registries import docker_registry

from .bounds import bounds
from .disk import fresh_disk
from .image import CACHE, TAG, layout
from .peers import WAYS, Way
from .report import Figures, Findings, write
from .startup import startup


def measure(way: Way, host: str, figures: Figures) -> None:
    """One round, in a child of its own so that its children's CPU seconds and peak memory are told apart."""
    with fresh_disk() as place:
        os.sync()
        out, into = os.pipe()
        if (child := os.fork()) == 0:
            started = time.monotonic()
            way.run(place, host)
            wall = time.monotonic() - started
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            os.write(into, f"{wall} {used.ru_utime + used.ru_stime} {used.ru_maxrss}".encode())
            os._exit(0)
        _, status = os.waitpid(child, 0)
        os.close(into)
        answer = os.read(out, 1000).decode().split()
        os.close(out)
        if status or len(answer) != 3:
            raise SystemExit(f"{way.name}: failed")
        started = time.monotonic()
        descriptor = os.open(place, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        os.sync()
        figures.sync.append(time.monotonic() - started)
        figures.wall.append(float(answer[0]))
        figures.cpu.append(float(answer[1]))
        figures.peak = max(figures.peak, int(answer[2]))
        way.clean(place)


def main(rounds: int) -> None:
    source, results = layout(), {way.name: Figures() for way in WAYS}
    started = startup()
    with tempfile.TemporaryDirectory(dir=CACHE) as folder, docker_registry(Path(folder), Path(folder) / "s") as host:
        copy = ["/usr/bin/skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", f"oci:{source}:{TAG}"]
        subprocess.run([*copy, f"docker://{host}/bench:1"], check=True, stdout=subprocess.DEVNULL)
        for number in range(rounds):
            for way in WAYS:
                measure(way, host, results[way.name])
                print(f"{number + 1}/{rounds} {way.name}: {results[way.name].wall[-1]:.2f} s", flush=True)
    write(Findings(source, rounds, results, bounds(source), started))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
