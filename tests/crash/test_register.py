"""The rows G02 and G19: an image of version 1 that is killed or fails on its way in leaves nothing, and its ID free."""

from __future__ import annotations

import io
import os
import random
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.job import Job
from orlop.model.v1 import V1Image
from orlop.store import Store
from tests.support.faults import FAULTS, Faults
from tests.support.images import compress, make_layer
from tests.support.soak import times
from tests.support.stores import files_below

from .invariants import settings

PARENT, CHILD = "a" * 64, "b" * 64
BASE = make_layer({"base": b"base"})
LAYER = compress(make_layer({"top": os.urandom(3 << 20), "base": b"changed"}), "gzip")
RAW = f'{{"id":"{CHILD}", "parent":"{PARENT}"}}\n'
EXITS = {"EIO": {0, 1, 5}, "ENOSPC": {0, 7}, "EMFILE": {0, 1}, "short": {0}}


@pytest.fixture(scope="module")
def faults() -> Iterator[Faults]:
    with Faults() as server:
        yield server


class Registering:
    """`orlop image set`, over and over on a copy of the same store."""

    def __init__(self, folder: Path, faults: Faults) -> None:
        self._faults = faults
        self._before, self._store = folder / "before", folder / "store"
        self._layer, self._json = folder / "layer", folder / "json"
        self._layer.write_bytes(LAYER)
        self._json.write_text(RAW)
        with Store(settings(self._before)) as store:
            store.graph.register(V1Image.read(f'{{"id":"{PARENT}"}}'.encode()), io.BytesIO(BASE), job=Job())
        self.kept = self.needed(self._before)

    def calls(self) -> tuple[str, ...]:
        return self.run("", 0)[1]

    def run(self, fault: str, at: int) -> tuple[int, tuple[str, ...], str]:
        shutil.rmtree(self._store, ignore_errors=True)
        shutil.copytree(self._before, self._store)
        arguments = ["--store", str(self._store), "image", "set", CHILD, "--json", str(self._json)]
        ended = self._faults.run(arguments, str(self._store), fault=fault, at=at, stdin=str(self._layer))
        return ended.status, ended.calls, ended.err

    def check(self, fault: str, at: int) -> bool:
        """Whether it was hindered. The image is whole or not there, its parent as it was."""
        status, _, err = self.run(fault, at)
        about = f"{fault} at {at}: {status} {err}"
        if fault == "kill":
            assert status in (-9, 0), about
        else:
            assert status in EXITS[fault], about
            assert status == 0 or err.startswith("orlop: "), about
            assert "this is a bug" not in err, about
        with Store(settings(self._store)) as store:
            assert store.fsck().findings == (), about
            there = store.graph.exists(CHILD)
            assert there or status != 0, about
            assert set(store.graph.nodes()) == {PARENT, *([CHILD] if there else [])}, about
            if there:
                self.look(store, about)
                store.graph.delete(CHILD, job=Job())
            store.gc()
            assert self.needed(self._store) == self.kept, about
            store.graph.register(V1Image.read(RAW.encode()), io.BytesIO(LAYER), job=Job())
            self.look(store, about)
        assert not list((self._store / "sessions").iterdir()), about
        return status != 0

    def look(self, store: Store, about: str) -> None:
        node = store.graph.get(CHILD)
        assert node.image.raw == RAW.encode(), about
        with store.graph.open_layer(node) as layer:
            assert layer.read() == LAYER, about
        assert [each.image.id for each in store.graph.chain(node.image.id)] == [PARENT, CHILD], about

    def needed(self, path: Path) -> set[str]:
        """Blobs and what was made of them; of what is left over from downloads there is none."""
        found = set(files_below(path))
        assert not [name for name in found if name.startswith(("partial/", "quarantine/"))], found
        assert all(stat.S_IMODE((path / name).stat().st_mode) & 0o077 in (0, 0o044) for name in found)
        return {name for name in found if name.startswith(("blobs/", "derived/tar/", "derived/index/"))}


@pytest.fixture
def registering(folder: Path, faults: Faults) -> Registering:
    return Registering(folder, faults)


def test_G19_a_kill_at_any_call_leaves_nothing_and_the_ID_free(registering: Registering) -> None:
    calls, chance = registering.calls(), random.Random(19)
    assert len(calls) > 50
    places = chance.sample(range(1, len(calls) + 1), min(len(calls), times(25, 1_000_000)))
    assert sum(registering.check("kill", at) for at in sorted(places)) >= len(places) // 2


@pytest.mark.parametrize("fault", sorted(EXITS))
def test_G02_a_call_that_fails_is_named_and_leaves_nothing(registering: Registering, fault: str) -> None:
    count = sum(call in FAULTS[fault] for call in registering.calls())
    chance = random.Random(fault)
    for at in sorted(chance.sample(range(1, count + 1), min(count, times(8, 1_000_000)))):
        registering.check(fault, at)
