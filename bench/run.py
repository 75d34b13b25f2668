"""Times every way from an empty store to a usable root, in turn, each on a fresh journaled ext4 of its own.

    python -m bench.run [ROUNDS]

As root. Writes `docs/benchmarks.md`. Wall seconds are of the commands as typed, start-up included; the clock stops
when they return. Then the file system is synced and the time of that is given apart.
"""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.registries import docker_registry

from .image import CACHE, TAG, layout
from .peers import WAYS, Way

REPORT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
_DISK_BYTES = 8 << 30


@dataclass
class Figures:
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    sync: list[float] = field(default_factory=list)
    peak: int = 0  # KiB, of the largest process

    @property
    def median(self) -> float:
        return statistics.median(self.wall)


@contextlib.contextmanager
def fresh_disk() -> Iterator[Path]:
    """A new ext4 with a journal in a file, so that nothing removed before slows it down."""
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        file, place = Path(folder) / "disk", Path(folder) / "place"
        place.mkdir()
        with file.open("wb") as stream:
            stream.truncate(_DISK_BYTES)
        subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", file], check=True)
        subprocess.run(["/usr/bin/mount", "-o", "loop", file, place], check=True)
        try:
            yield place
        finally:
            subprocess.run(["/usr/bin/umount", place], check=True)


def measure(way: Way, host: str, figures: Figures) -> None:
    """One round, in a child of its own so that its children's CPU seconds and peak memory are told apart."""
    with fresh_disk() as place:
        os.sync()
        read, write = os.pipe()
        if (child := os.fork()) == 0:
            started = time.monotonic()
            way.run(place, host)
            wall = time.monotonic() - started
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            os.write(write, f"{wall} {used.ru_utime + used.ru_stime} {used.ru_maxrss}".encode())
            os._exit(0)
        _, status = os.waitpid(child, 0)
        os.close(write)
        answer = os.read(read, 1000).decode().split()
        os.close(read)
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
    with tempfile.TemporaryDirectory(dir=CACHE) as folder, docker_registry(Path(folder), Path(folder) / "s") as host:
        copy = ["/usr/bin/skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", f"oci:{source}:{TAG}"]
        subprocess.run([*copy, f"docker://{host}/bench:1"], check=True, stdout=subprocess.DEVNULL)
        for number in range(rounds):
            for way in WAYS:
                measure(way, host, results[way.name])
                print(f"{number + 1}/{rounds} {way.name}: {results[way.name].wall[-1]:.2f} s", flush=True)
    REPORT.write_text(report(results, rounds), encoding="utf-8")
    print(REPORT.read_text(encoding="utf-8"))


_TEXT = """# Benchmarks

A first, rough measurement: from an empty store to a usable root, over HTTP from Debian's docker-registry on
loopback; each run on a fresh journaled ext4 in a file. The image is real software in three gzip layers, {size}
compressed. Made by `make bench`.

{date}, {cores} cores, Linux {kernel}, Python {python}; {rounds} rounds in turn; the peers are Debian 12's.

| way | median s | min-max | CPU s | sync after, s | peak MiB | times ours |
|---|---|---|---|---|---|---|
{rows}

*CPU s*: of the commands and their children; the registry's and containerd's daemon are not counted. *Sync after*:
how long `sync` took once the command had returned. Orlop's blobs, manifests and names are synced when `pull`
returns; its plain tars and EROFS image are derived, and made again after a power cut that came too early. podman,
umoci and skopeo sync nothing before they return; containerd syncs its blobs. *Peak*: of the largest process.
"""


def report(results: dict[str, Figures], rounds: int) -> str:
    """The page, with one row a way."""
    ours = results[WAYS[0].name].median
    rows = [
        f"| {name} | {figures.median:.2f} | {min(figures.wall):.2f}-{max(figures.wall):.2f} | "
        f"{statistics.median(figures.cpu):.1f} | {statistics.median(figures.sync):.1f} | {figures.peak // 1024} | "
        f"{figures.median / ours:.1f} |"
        for name, figures in results.items()
    ]
    return _TEXT.format(
        size=_size(layout()),
        date=time.strftime("%Y-%m-%d"),
        cores=os.cpu_count(),
        kernel=platform.release(),
        python=platform.python_version(),
        rounds=rounds,
        rows="\n".join(rows),
    )


def _size(source: Path) -> str:
    return f"{sum(file.stat().st_size for file in source.rglob('*') if file.is_file()) / 1e6:.0f} MB"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
