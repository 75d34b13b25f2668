"""One round of one way, and what comes before the first."""

from __future__ import annotations

import compileall
import os
import resource
import time
from pathlib import Path

import orlop

from .disk import fresh_disk
from .peers import Way
from .report import Figures


def compile_sources() -> None:
    """As pip does when it installs a package. A checkout has no bytecode where Python was told to write none."""
    if not compileall.compile_dir(Path(orlop.__file__).parent, quiet=1):
        raise SystemExit("orlop: not all of it compiles")


def _servers() -> float:
    """CPU seconds so far of what this process has running: the registry."""
    ticks = 0
    for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # utime, stime
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(way: Way, host: str, figures: Figures) -> None:
    """One round, in a child of its own so that its children's CPU seconds and peak memory are told apart."""
    with fresh_disk() as place:
        os.sync()
        served = _servers()
        out, into = os.pipe()
        if (child := os.fork()) == 0:
            started = time.monotonic()
            way.run(place, host)
            wall = time.monotonic() - started
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            os.write(into, f"{wall} {used.ru_utime + used.ru_stime} {used.ru_maxrss}".encode())
            os._exit(0)
        _, status = os.waitpid(child, 0)
        figures.registry.append(_servers() - served)
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
