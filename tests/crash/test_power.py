"""Power cuts and kills on a simulated disk: every prefix of what an operation does, and ways to lose some of it.

A state that a crash may leave is written out, opened as a store, and checked (`invariants`). `make test` takes some
of the states of each scenario by chance, always the same ones; `make soak` all of them, and many more by chance.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from orlop.errors import Error
from orlop.store import Store
from tests.support.crashstates import Volume, crashes, random_crash
from tests.support.simdisk import Killed, Operation, RecordingDisk, Tree
from tests.support.soak import times
from tests.support.unprivileged import permissions_count

from .invariants import World, inspect, settings
from .scenarios import SCENARIOS

_STATES = times(12, 1_000_000)  # of each of three kinds
_RANDOM = times(24, 2_000)
State = tuple[int, Tree, str]


class Recorded:
    """One run of a scenario."""

    def __init__(self, folder: Path, world: World, name: str, killed: int | None = None) -> None:
        self.world = world
        self.scenario = SCENARIOS[name]
        self._folder = folder
        self.scenario.prepare(folder / "store", world)
        self.disk = disk = RecordingDisk(folder / "store")
        if killed is not None:
            disk.limit = killed
            with suppress(Killed):
                self._run()
            disk.limit = None
        self.done = self._run()
        self.log: Sequence[Operation] = disk.log
        self.start = disk.start
        self.seen: set[tuple[str, bool, str]] = set()

    def _run(self) -> int:
        """Up to which operation of the log it took until success was told."""
        with Store(settings(self._folder / "store"), self.disk) as store:
            self.scenario.act(store, self.world)
            return len(self.disk.log)

    def check(self, at: int, tree: Tree, boot: str) -> None:
        """What is left after `at` operations. "" as boot: only the process died."""
        key = (tree.fingerprint(), at >= self.done, boot)
        if key in self.seen:
            return
        self.seen.add(key)
        place = self._folder / "crashed"
        tree.write_to(place)
        allowed = self.scenario.allowed(self.world, done=at >= self.done)
        try:
            inspect(place, self.world, allowed, boot=boot, damaged=self.scenario.damaged)
        finally:
            shutil.rmtree(place)

    def end(self) -> Iterator[State]:
        for tree in crashes(self.start, self.log, len(self.log)):
            yield len(self.log), tree, "another boot"

    def kills(self) -> Iterator[State]:
        for at in range(len(self.log) + 1):
            yield at, Volume(self.start, self.log[:at]).state(), ""

    def cuts(self) -> Iterator[State]:
        # the late ones first: there is most to lose
        for at in range(len(self.log), -1, -1):
            for tree in crashes(self.start, self.log, at):
                yield at, tree, "another boot"


def _some(states: Callable[[], Iterator[State]], chance: random.Random, most: int) -> Iterator[State]:
    """All, or as many as there is time for."""
    count = sum(1 for _ in states())
    chosen = set(chance.sample(range(count), min(count, most)))
    return (state for number, state in enumerate(states()) if number in chosen)


def _try_all(recorded: Recorded, seed: str) -> None:
    chance = random.Random(seed)
    for states in (recorded.kills, recorded.cuts):
        for at, tree, boot in _some(states, chance, _STATES):
            recorded.check(at, tree, boot)
    for _ in range(_RANDOM):
        at, tree = random_crash(recorded.start, recorded.log, chance)
        recorded.check(at, tree, "another boot")
    print(f"{len(recorded.log)} operations, {len(recorded.seen)} states checked")


@pytest.mark.root
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", SCENARIOS)
def test_ST01_whatever_a_crash_leaves_is_a_sound_store(folder: Path, world: World, name: str) -> None:
    recorded = Recorded(folder, world, name)
    with permissions_count():
        _try_all(recorded, name)


@pytest.mark.root
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", ["first pull", "second pull", "tag"])
def test_ST01_what_a_killed_process_did_is_durable_when_another_tells_success(
    folder: Path, world: World, name: str
) -> None:
    (folder / "whole").mkdir()
    length = Recorded(folder / "whole", world, name).done
    chance = random.Random(name)
    for killed in sorted(chance.sample(range(length), min(length, times(12, 1000)))):
        place = folder / str(killed)
        place.mkdir()
        recorded = Recorded(place, world, name, killed)
        for at, tree, boot in _some(recorded.end, chance, times(12, 60)):
            recorded.check(at, tree, boot)
        shutil.rmtree(place)


@pytest.mark.root
@pytest.mark.parametrize(
    ("name", "forgotten"),
    [
        ("second pull", "sync"),
        ("second pull", "sync directory"),
        ("tag", "sync"),
        ("untag", "sync directory"),
        ("pull and settle", "sync"),
        ("make ready to mount", "sync all"),
        ("make again", "sync directory"),
    ],
)
def test_the_simulation_finds_what_is_not_synced(folder: Path, world: World, name: str, forgotten: str) -> None:
    recorded = Recorded(folder, world, name)
    kept = [step.kind != forgotten for step in recorded.log]
    recorded.log = [step for step, keep in zip(recorded.log, kept, strict=True) if keep]
    recorded.done = sum(kept[: recorded.done])
    with pytest.raises((AssertionError, Error)):
        for at, tree, boot in recorded.cuts():
            recorded.check(at, tree, boot)
