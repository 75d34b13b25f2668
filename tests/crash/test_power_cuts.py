"""Power cuts of a whole machine, at random moments of what it does and after: nothing acknowledged is lost or torn."""

from __future__ import annotations

import json
import os
import random
import shlex
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.support.images import make_image, make_layer
from tests.support.soak import times
from tests.support.uml import machine, mounted

from .invariants import World, inspect
from .scenarios import ONE, TWO

_CUTS = times(2, 30)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two images with some hundred files each, one layer in common. The machine sees them too."""
    chance = random.Random(1)
    base, one, two = (make_layer({f"{word}{i}": chance.randbytes(3000) for i in range(100)}) for word in "abc")
    return World.make(
        tmp_path_factory.mktemp("world"), {"one": make_image([base, one]), "two": make_image([base, two])}
    )


def _script(store: str, commands: list[list[str]]) -> str:
    lines = json.dumps([["--store", store, *command] for command in commands])
    path = shlex.quote(os.pathsep.join(sys.path))
    return f"PYTHONPATH={path} {sys.executable} -m tests.support.acknowledge {shlex.quote(lines)} || exit 1\nsleep 1000"


@pytest.mark.root
@pytest.mark.peer
@pytest.mark.timeout(7200)
def test_ST01_a_power_cut_loses_nothing_that_was_acknowledged(large: World) -> None:
    new = World.name("new")
    commands = [
        ["pull", "-q", large.source("one")],
        ["tag", ONE, new],
        ["pull", "-q", large.source("two")],
        ["rm", "-q", ONE],
        ["gc", "-q"],
    ]
    one, two = large.digest("one"), large.digest("two")
    # the names before the first command, and after each
    states = [{}, {ONE: one}, {ONE: one, new: one}, {ONE: one, new: one, TWO: two}, *[{new: one, TWO: two}] * 3]
    chance = random.Random(20261125)
    for _ in range(_CUTS):
        with tempfile.TemporaryDirectory() as folder:
            with machine(Path(folder), _script(f"{folder}/place/store", commands)) as running:
                running.wait(chance.randint(1, len(commands)))
                time.sleep(chance.uniform(0, 0.5))
                running.cut()
                done = len(running.acknowledged)
                allowed = {name: [states[done].get(name), states[done + 1].get(name)] for name in (ONE, new, TWO)}
                with mounted(running) as place:
                    inspect(place / "store", large, allowed)
