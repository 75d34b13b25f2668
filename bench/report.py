"""Writes down what was measured: the page, its chart, and the table of the README."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .chart import Bar, chart
from .peers import WAYS

_ROOT = Path(__file__).parents[1]
_BEGIN, _END = "<!-- measured:begin -->\n", "<!-- measured:end -->"


@dataclass
class Figures:
    """Of one way, an item a round: seconds; and KiB of its largest process."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    sync: list[float] = field(default_factory=list)
    registry: list[float] = field(default_factory=list)  # CPU seconds of the registry meanwhile
    peak: int = 0

    @property
    def median(self) -> float:
        return statistics.median(self.wall)


@dataclass(frozen=True)
class Findings:
    image: Path  # the layout
    rounds: int
    ways: Mapping[str, Figures]
    bounds: Mapping[str, float]  # CPU seconds by part
    steps: Mapping[str, float]  # wall seconds by step
    started: Mapping[str, float]  # wall seconds by command


def write(found: Findings) -> None:
    """`docs/benchmarks.md`, `docs/benchmarks.svg`, and what stands between the marks in the README."""
    (_ROOT / "docs/benchmarks.md").write_text(_page(found), encoding="utf-8")
    (_ROOT / "docs/benchmarks.svg").write_text(_chart(found), encoding="utf-8")
    readme = _ROOT / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    readme.write_text(f"{before}{_BEGIN}{_short(found)}{_END}{after}", encoding="utf-8")


_PAGE = """# Benchmarks

From an empty store to a usable root, over HTTP from Debian's docker-registry on loopback; each run on a fresh
journaled ext4 in a file. The image is real software in three gzip layers, {size} compressed. Made by `make bench`.

![{title}](benchmarks.svg)

{where}; {rounds} in turn; the peers are Debian 12's.

{table}

*CPU s*: of the commands, their children, and containerd's daemon; the registry's is not counted. *Sync after*:
how long `sync` took once the command had returned. Orlop's blobs, manifests and names are synced when `pull`
returns; its plain tars and EROFS image are derived, and made again after a power cut that came too early. podman,
umoci and skopeo sync nothing before they return, and *unsynced* is the same of ours (`--durability none`);
containerd syncs its blobs. *Peak*: of the largest process.
*Times mount* and *times unpack*: how many times as long as the first and the second row this took.

## What bounds it

The parts that no pull of this image can do without, each measured alone on the same machine:

| part | CPU s |
|---|---|
{bounds}
| **together** | **{bound:.2f}** |
| orlop, registry to mounted root | {cpu:.2f}, {ratio:.2f} times that |

The registry took {registry:.2f} s of CPU meanwhile. Both together keep {cores} cores busy for {busy:.2f} s, and
{mount:.2f} s it took; the rest is waiting, for a step that others need or for the disk. Measured alone, in wall
seconds:

| step | s |
|---|---|
{steps}

What was aimed at, and what it would have taken:

| aim | s at most | measured | |
|---|---|---|---|
{aims}

## Start-up

| command | median s |
|---|---|
{started}
"""


# how many times as fast as the peers, in their order
_AIMS = {WAYS[0].name: (5, 5, 7), WAYS[1].name: (3, 3, 3), WAYS[2].name: (3, 3, 3)}


def _aims(found: Findings) -> str:
    peers = [(name, way.median) for name, way in found.ways.items() if name not in _AIMS]
    lines = []
    for ours, aims in _AIMS.items():
        for (peer, seconds), times in zip(peers, aims, strict=True):
            most, measured = seconds / times, found.ways[ours].median
            verdict = "met" if measured <= most else f"missed: {seconds / measured:.1f} times"
            lines.append(f"| {ours}: {times} times as fast as {peer} | {most:.2f} | {measured:.2f} | {verdict} |")
    return "\n".join(lines)


def _page(found: Findings) -> str:
    bound = sum(found.bounds.values())
    mount, cores = found.ways[WAYS[0].name], os.cpu_count() or 1
    cpu, registry = statistics.median(mount.cpu), statistics.median(mount.registry)
    return _PAGE.format(
        size=_size(found.image),
        title=_TITLE,
        where=_where(),
        rounds=_rounds(found),
        table=_table(found),
        bounds="\n".join(f"| {part} | {seconds:.2f} |" for part, seconds in found.bounds.items()),
        bound=bound,
        cpu=cpu,
        ratio=cpu / bound,
        registry=registry,
        cores=cores,
        busy=(cpu + registry) / cores,
        mount=mount.median,
        steps="\n".join(f"| {step} | {seconds:.2f} |" for step, seconds in found.steps.items()),
        aims=_aims(found),
        started="\n".join(f"| {command} | {seconds:.3f} |" for command, seconds in found.started.items()),
    )


_SHORT = """![{title}](docs/benchmarks.svg)

From an empty store to a usable root, over HTTP on loopback: {size} compressed, about 0.9 GB plain in three layers.
{where}; medians of {rounds} by `make bench`; [more](docs/benchmarks.md).

{table}
"""


def _short(found: Findings) -> str:
    title, table = _TITLE, _table(found)
    return _SHORT.format(title=title, size=_size(found.image), where=_where(), rounds=_rounds(found), table=table)


_TITLE = "Seconds from an empty store to a usable root"


def _table(found: Findings) -> str:
    mount, unpack = (found.ways[way.name].median for way in WAYS[:2])
    lines = [
        "| way | median s | min-max | CPU s | sync after, s | peak MiB | times mount | times unpack |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {way.median:.2f} | {min(way.wall):.2f}-{max(way.wall):.2f} | {statistics.median(way.cpu):.1f} | "
        f"{statistics.median(way.sync):.1f} | {way.peak // 1024} | {way.median / mount:.1f} | "
        f"{way.median / unpack:.1f} |"
        for name, way in found.ways.items()
    ]
    return "\n".join(lines)


def _chart(found: Findings) -> str:
    bars = [
        Bar(name, min(way.wall), way.median, max(way.wall), ours=name.startswith("orlop"))
        for name, way in found.ways.items()
    ]
    return chart(_TITLE, bars)


def _rounds(found: Findings) -> str:
    return f"{found.rounds} round{'' if found.rounds == 1 else 's'}"


def _where() -> str:
    machine = (
        f"{os.cpu_count()} cores, Linux {platform.release().partition('-')[0]}, Python {platform.python_version()}"
    )
    return f"{time.strftime('%Y-%m-%d')}, {machine}"


def _size(source: Path) -> str:
    return f"{sum(file.stat().st_size for file in source.rglob('*') if file.is_file()) / 1e6:.0f} MB"
