"""Kills at every call, and calls that fail or write too little: a named error or success, and a sound store."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orlop.errors import Error
from tests.support.faults import FAULTS, Ended, Faults
from tests.support.soak import times

from .invariants import World, inspect
from .scenarios import ONE, SCENARIOS, TWO

# of each fault in each command: these many places, chosen by chance
_PLACES = times(6, 1_000_000)
_KILLS = times(10, 200)
COMMANDS = {
    "first pull": ["pull", "-q", "oci:{layout}:one"],
    "second pull": ["pull", "-q", "oci:{layout}:two"],
    "tag": ["tag", ONE, World.name("new")],
    "untag": ["untag", TWO],
    "remove": ["rm", "-q", TWO],
    "collect": ["gc", "-q"],
    "collect derived": ["gc", "-q", "--derived"],
    "heal": ["fsck", "-q", "--repair"],
}
# exit codes of docs/reference.md that a fault may end with; 0 where it did not matter
EXITS = {"EIO": {0, 1, 5}, "ENOSPC": {0, 7}, "EMFILE": {0, 1}, "short": {0}}


@pytest.fixture(scope="module")
def faults() -> Iterator[Faults]:
    with Faults() as server:
        yield server


class Trial:
    """One command, over and over on a copy of the same store."""

    def __init__(self, folder: Path, world: World, faults: Faults, name: str) -> None:
        self._world = world
        self._faults = faults
        self._scenario = SCENARIOS[name]
        self._before = folder / "before"
        self._store = folder / "store"
        self._scenario.prepare(self._before, world)
        self._arguments = [text.format(layout=world.folder / "layout") for text in COMMANDS[name]]
        self._sound = 5 if self._scenario.damaged else 0  # fsck says 5 while the blob has yet to be pulled
        with self._ended() as ended:
            assert ended.status == self._sound, ended.err
            self.calls = ended.calls

    def places(self, fault: str, chance: random.Random) -> list[int]:
        """Some of the calls that this fault is for, counted from 1."""
        count = sum(call in FAULTS[fault] for call in self.calls)
        return sorted(chance.sample(range(1, count + 1), min(count, _PLACES)))

    def check(self, fault: str, *, at: int = 0, after: float = 0) -> bool:
        """Whether the command was hindered."""
        with self._ended(fault, at, after) as ended:
            about = f"{fault} at {at}: {ended.status} {ended.err}"
            if fault == "kill":
                assert ended.status in (-9, self._sound), about
            else:
                assert ended.status in EXITS[fault] | {self._sound}, about
                assert ended.status == self._sound or ended.err.startswith("orlop: "), about
                assert "this is a bug" not in ended.err, about
            allowed = self._scenario.allowed(self._world, done=ended.status == self._sound)
            try:
                inspect(self._store, self._world, allowed, damaged=self._scenario.damaged)
            except (AssertionError, Error) as error:
                raise AssertionError(about) from error
            return ended.status != self._sound

    @contextmanager
    def _ended(self, fault: str = "", at: int = 0, after: float = 0) -> Iterator[Ended]:
        shutil.copytree(self._before, self._store)
        try:
            store = str(self._store)
            yield self._faults.run(["--store", store, *self._arguments], store, fault=fault, at=at, after=after)
        finally:
            shutil.rmtree(self._store)


@pytest.mark.root
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", COMMANDS)
def test_ST07_a_kill_at_any_call_leaves_a_sound_store(folder: Path, world: World, faults: Faults, name: str) -> None:
    trial, chance = Trial(folder, world, faults, name), random.Random(name)
    for at in trial.places("kill", chance):
        assert trial.check("kill", at=at), "it was not killed"
    print(f"{len(trial.places('kill', chance))} calls")


@pytest.mark.root
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("fault", ["EIO", "ENOSPC", "EMFILE", "short"])
@pytest.mark.parametrize("name", COMMANDS)
def test_ST03_ST04_ST05_ST06_a_call_that_fails_is_a_named_error_or_does_not_matter(
    folder: Path, world: World, faults: Faults, name: str, fault: str
) -> None:
    trial, chance = Trial(folder, world, faults, name), random.Random(f"{name} {fault}")
    for at in trial.places(fault, chance):
        trial.check(fault, at=at)
    print(f"{len(trial.places(fault, chance))} calls")


@pytest.mark.root
@pytest.mark.timeout(7200)
def test_ST07_kills_at_random_moments_leave_a_sound_store(folder: Path, world: World, faults: Faults) -> None:
    trial, chance = Trial(folder, world, faults, "first pull"), random.Random(20261125)
    longest, killed = 0.2, 0
    while killed < _KILLS:
        if trial.check("kill", after=chance.uniform(0.001, longest)):
            killed += 1
        else:
            longest = max(longest * 0.9, 0.002)  # it is faster than that here


_CALLS = "write,pwrite64,fsync,fdatasync,rename,link,linkat,unlink,unlinkat,mkdir,mkdirat"
_OF_SQLITE = times(4, 400)


@pytest.mark.root
@pytest.mark.peer
@pytest.mark.timeout(7200)
def test_ST07_kills_at_calls_of_the_system_that_python_does_not_make(folder: Path, world: World) -> None:
    """SQLite's calls too, as the kernel counts them, and the command as it is typed."""
    chance, scenario = random.Random(20261125), SCENARIOS["second pull"]
    scenario.prepare(folder / "before", world)
    command = [sys.executable, "-m", "orlop", "--store", str(folder / "store"), "pull", "-q", world.source("two")]
    for _ in range(_OF_SQLITE):
        call = chance.choice(_CALLS.split(","))
        shutil.copytree(folder / "before", folder / "store")
        inject = f"inject={call}:signal=SIGKILL:when={chance.randint(1, 30)}"
        trace = ["/usr/bin/strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}", "-e", inject]
        ended = subprocess.run([*trace, *command], capture_output=True, text=True, check=False)
        assert ended.returncode in (0, -9), f"{inject}: {ended.stderr}"
        inspect(folder / "store", world, scenario.allowed(world, done=ended.returncode == 0))
        shutil.rmtree(folder / "store")
