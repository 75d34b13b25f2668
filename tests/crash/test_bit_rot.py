"""Flipped bits and cut ends in blobs and in what is derived from them: fsck finds all, repair and a pull heal all."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from orlop.store import Store
from tests.support.soak import times

from .invariants import Rebooted, World, check_derived, settings, tree
from .scenarios import flip, make_ready

_FAULTS = times(100, 1_000)
_KINDS = ("blobs/sha256", "derived/tar", "derived/index", "derived/erofs")


@pytest.fixture(scope="module")
def sound(memory: Path, world: World) -> Path:
    """A store with all images and everything derived from them, synced and marked so."""
    path = memory / "sound"
    with Store(settings(path)) as store:
        for tag in world.images:
            store.pull(world.source(tag))
    make_ready(path)
    with Store(settings(path)) as store:
        assert store._parts.derived.settle(older_than=-1) > 0
    return path


def _damage(file: Path, chance: random.Random) -> str:
    size = file.stat().st_size
    if chance.random() < 0.5:
        place, bit = chance.randrange(size), chance.randrange(8)
        flip(file, place, bit)
        return f"bit {bit} of byte {place} of {size}"
    length = chance.choice((0, size - 1, chance.randrange(size)))
    os.truncate(file, length)
    return f"cut to {length} of {size}"


def _subject(file: Path, store: Path) -> str:
    """What fsck calls it."""
    kind, name = file.relative_to(store).parts[1:]
    return f"sha256:{name}" if kind == "sha256" else f"{kind} {name.replace('-', ':')}"


@pytest.mark.root
@pytest.mark.timeout(7200)
def test_ST02_ST12_every_flipped_bit_and_cut_end_is_found_and_healed(folder: Path, world: World, sound: Path) -> None:
    chance = random.Random(20261125)
    files = [file for kind in _KINDS for file in sorted((sound / kind).iterdir()) if file.suffix != ".mark"]
    for _ in range(_FAULTS):
        path = folder / "store"
        shutil.copytree(sound, path)
        file = path / chance.choice(files).relative_to(sound)
        about = f"{file.relative_to(path)}: {_damage(file, chance)}"
        with Store(settings(path), Rebooted(path, "another boot")) as store:
            assert _subject(file, path) in {finding.subject for finding in store.fsck().findings}, about
            store.fsck(repair=True)
            for tag in world.images:
                name = store.pull(world.source(tag)).name
                assert tree(store, name) == world.trees[world.digest(tag)], about
            assert store.fsck().findings == (), about
        check_derived(path, world, "another boot")
        shutil.rmtree(path)


@pytest.mark.root
def test_ST02_a_store_in_order_has_nothing_to_find(world: World, sound: Path) -> None:
    with Store(settings(sound), Rebooted(sound, "another boot")) as store:
        checked = store.fsck()
        assert checked.findings == ()
        # two layers each, one in common, and the erofs image and the tree of each
        assert (checked.blobs, checked.derived) == (7, 10)
