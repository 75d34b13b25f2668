"""What is done to a store while it crashes: an operation, what was done before, and what the names may be."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from orlop.job import Job
from orlop.rootfs.erofs import ErofsDriver
from orlop.rootfs.plain import DirectoryDriver
from orlop.store import Store
from tests.support.images import MadeImage, make_image, make_layer

from .invariants import Allowed, World, settings

ONE, TWO = World.name("one"), World.name("two")


def images() -> dict[str, MadeImage]:
    """Two of two layers each, that share the lower one."""
    base = make_layer({"etc": None, "etc/motd": b"base\n" * 300})
    tops = {word: make_layer({f"etc/{word}": word.encode() * 500, "etc/.wh.motd": b""}) for word in ("one", "two")}
    return {word: make_image([base, top]) for word, top in tops.items()}


@dataclass(frozen=True)
class Scenario:
    """`old` and `new`: the images that names stand for before and after. `damaged`: a blob and a derived file of
    "two" are, before."""

    tags: tuple[str, ...]
    act: Callable[[Store, World], object]
    old: dict[str, str]
    new: dict[str, str]
    damaged: bool = False
    settled: bool = False

    def prepare(self, path: Path, world: World) -> None:
        path.mkdir(mode=0o700)
        if not self.tags:
            return  # the store is made by what it is for
        with Store(settings(path)) as store:
            for tag in self.tags:
                store.pull(world.source(tag))
            for name in set(map(World.name, self.tags)) - set(map(World.name, self.old)):
                store.untag(name)
            if self.settled:
                assert _settle(store) >= 6
        if self.damaged:
            for file in _of_two(path, world):
                flip(file, file.stat().st_size // 2)

    def allowed(self, world: World, *, done: bool) -> Allowed:
        """What each name may point at while the operation runs, or when it is `done`."""
        digests: dict[str, list[str | None]] = {}
        for tag in {*self.old, *self.new}:
            states = [self.new] if done else [self.old, self.new]
            digests[World.name(tag)] = [world.digest(state[tag]) if tag in state else None for state in states]
        return digests


def flip(file: Path, place: int, bit: int = 0) -> None:
    """One bit, in a file that may be read-only."""
    mode, content = file.stat().st_mode, bytearray(file.read_bytes())
    content[place] ^= 1 << bit
    os.chmod(file, 0o600)
    file.write_bytes(content)
    os.chmod(file, mode)


def _of_two(path: Path, world: World) -> Iterable[Path]:
    image = world.images["two"]
    yield path / "blobs/sha256" / image.document.layers[1].digest.encoded
    diff_id = json.loads(image.config)["rootfs"]["diff_ids"][1]
    yield path / "derived/tar" / diff_id.replace(":", "-")


def _settle(store: Store) -> int:
    return store._parts.derived.settle(older_than=-1)


def make_ready(path: Path) -> None:
    """Both ways of getting ready to mount that a crash can be simulated under: one writes a file, one a tree."""
    with Store(settings(path)) as store:
        for name in store.names():
            _drivers(store, name)


def _drivers(store: Store, name: str) -> None:
    job, derived = Job(), store._parts.derived
    with store._parts.materialise.stack(store.image(name), job) as stack:
        ErofsDriver(derived).prepare(stack, job=job)
        DirectoryDriver(derived).prepare(stack, job=job)


def _ready(store: Store, world: World) -> None:
    _drivers(store, ONE)
    assert _settle(store) >= 6


def _make_again(store: Store, world: World) -> None:
    assert store.gc(derived=True).derived >= 6
    _both(store, world)


def _pull_and_settle(store: Store, world: World) -> None:
    store.pull(world.source("two"))
    assert _settle(store) >= 6


def _heal(store: Store, world: World) -> None:
    assert [(finding.kind, finding.mended) for finding in store.fsck(repair=True).findings] == [
        ("damaged", True),
        ("missing", False),
        ("derived", True),
    ]
    store.pull(world.source("two"))


def _both(store: Store, world: World) -> None:
    store.pull(world.source("one"))
    store.pull(world.source("two"))


def _pull(tag: str) -> Callable[[Store, World], object]:
    return lambda store, world: store.pull(world.source(tag))


def _pull_to_unpack(store: Store, world: World) -> None:
    store.pull(world.source("two"), for_unpack=True)


_ONE, _BOTH = {"one": "one"}, {"one": "one", "two": "two"}
SCENARIOS = {
    "first pull": Scenario((), _pull("one"), {}, _ONE),
    "second pull": Scenario(("one",), _pull("two"), _ONE, _BOTH),
    "pull to unpack": Scenario(("one",), _pull_to_unpack, _ONE, _BOTH),
    "tag": Scenario(("one",), lambda store, _: store.tag(ONE, World.name("new")), _ONE, {**_ONE, "new": "one"}),
    "move a tag": Scenario(("one", "two"), lambda store, _: store.tag(ONE, TWO), _BOTH, {"one": "one", "two": "one"}),
    "untag": Scenario(("one", "two"), lambda store, _: store.untag(TWO), _BOTH, _ONE),
    "remove": Scenario(("one", "two"), lambda store, _: store.remove(TWO), _BOTH, _ONE),
    "collect": Scenario(("one", "two"), lambda store, _: store.gc(), _ONE, _ONE),
    "collect derived": Scenario(("one", "two"), lambda store, _: store.gc(derived=True), _BOTH, _BOTH),
    "pull and settle": Scenario(("one",), _pull_and_settle, _ONE, _BOTH),
    "make ready to mount": Scenario(("one",), _ready, _ONE, _ONE),
    "make again": Scenario(("one", "two"), _make_again, _BOTH, _BOTH, settled=True),
    "heal": Scenario(("one", "two"), _heal, _BOTH, _BOTH, damaged=True, settled=True),
}
