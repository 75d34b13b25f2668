"""What must hold in a store after any crash (docs/reliability.md, I1 to I8), checked by opening it again."""

from __future__ import annotations

import hashlib
import io
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from orlop.blobs.derived import KINDS, DerivedFiles
from orlop.disk.disk import Disk
from orlop.disk.locks import Locks
from orlop.disk.session import Session
from orlop.settings import Network, Settings
from orlop.store import Store
from tests.support.images import MadeImage, write_layout

# what a name may point at; None: it may be absent
Allowed = Mapping[str, Collection[str | None]]
_STANDING = {"oci-layout", "version", "index.json", "catalog.db", "catalog.db-journal"}
_STANDING |= {"locks/store", "locks/names", "locks/derived"}


class Rebooted(Disk):
    """The disk of a store after the machine started again; "" is the same boot. Not durable: nobody cuts the power
    of a check."""

    def __init__(self, root: Path, boot: str) -> None:
        super().__init__(root, durable=False)
        self._boot = boot

    def boot(self) -> str:
        return self._boot or super().boot()


def settings(path: Path) -> Settings:
    return Settings(store=path, network=Network(home=path.parent), workers=2)


@dataclass(frozen=True)
class World:
    """The images that the tests pull, by tag, and what a store should make of them."""

    folder: Path
    images: Mapping[str, MadeImage]
    trees: Mapping[str, str]  # SHA-256 of the flattened tree, by digest

    @classmethod
    def make(cls, folder: Path, images: Mapping[str, MadeImage]) -> World:
        write_layout(folder / "layout", images)
        world = cls(folder, images, {})
        with Store(settings(folder / "reference")) as store:
            for tag in images:
                store.pull(world.source(tag))
        everything = {cls.name(tag): [world.digest(tag)] for tag in images}
        # a first time by itself: it also loads every module that the checks need
        trees = inspect(folder / "reference", world, everything)
        return cls(folder, images, trees)

    @staticmethod
    def name(tag: str) -> str:
        return f"localhost/layout:{tag}"

    def source(self, tag: str) -> str:
        return f"oci:{self.folder}/layout:{tag}"

    def digest(self, tag: str) -> str:
        return str(self.images[tag].digest)


def tree(store: Store, name: str) -> str:
    """SHA-256 of what an image unpacks to. Reads everything derived from it."""
    out = io.BytesIO()
    store.export(name, out)
    return hashlib.sha256(out.getvalue()).hexdigest()


def inspect(path: Path, world: World, allowed: Allowed, *, boot: str = "", damaged: bool = False) -> dict[str, str]:
    """Open what a crash left and see whether it is as it must be. `damaged`: some of it was before the crash.
    Returns the trees of all images, by digest."""
    with Store(settings(path), Rebooted(path, boot)) as store:
        there = {name: str(store.digest(name)) for name in store.names()}
        for name in {*there, *allowed}:  # I2
            assert there.get(name) in allowed.get(name, ()), f"{name} points at {there.get(name)}"
        findings = store.fsck(repair=damaged).findings
        if not damaged:  # I1, I3, I5
            assert findings == (), findings
            check_derived(path, world, boot)  # I4
            for name, digest in there.items():  # I3
                assert tree(store, name) == world.trees.get(digest, tree(store, name)), f"{name} has another content"
        trees = {}
        for tag in world.images:  # I6
            pulled = store.pull(world.source(tag))
            assert str(pulled.digest) == world.digest(tag)
            trees[str(pulled.digest)] = tree(store, pulled.name)
        assert trees == (world.trees or trees)
        assert {image.name for image in store.images()} == set(store.names())
        store.gc()
        assert store.fsck().findings == ()
        digests = [store.document(name).digest for name in store.names()]
        needed = {digest for image in world.images.values() if image.digest in digests for digest in image.blobs}
    check_files(path, {*map(str, digests), *map(str, needed)})  # I7, I8
    return trees


def check_derived(path: Path, world: World, boot: str) -> None:
    """Whatever would be trusted is what a store that never crashed made."""
    disk = Rebooted(path, boot)
    derived = DerivedFiles(disk, Session(disk, Locks(disk)), disk.boot())
    for kind in KINDS:
        for digest in derived.digests(kind):
            if (found := derived.path(kind, digest)) is not None:
                wanted = _content(world.folder / "reference" / found.relative_to(disk.root))
                assert _content(found) == wanted, f"{kind} {digest} is trusted, and wrong"


def _content(place: Path) -> dict[str, tuple[int, bytes]]:
    """Modes and bytes of a file, or of all files below a directory."""
    return {
        str(file.relative_to(place)): (file.lstat().st_mode, b"" if file.is_dir() else file.read_bytes())
        for file in (place, *place.rglob("*"))
    }


def check_files(path: Path, needed: Collection[str]) -> None:
    """Nothing is left over, and nothing is open to others."""
    for file in sorted(path.rglob("*")):
        name, mode = str(file.relative_to(path)), stat.S_IMODE(file.lstat().st_mode)
        if name.startswith(("quarantine/", "derived/directory/")):
            continue  # below a directory of mode 0700
        if file.is_dir():
            assert mode == 0o700, f"{name} has mode {mode:04o}"
            assert not name.startswith(("partial/", "sessions/")), f"{name} is left over"
        elif name.startswith("blobs/"):
            assert mode == 0o444, f"{name} has mode {mode:04o}"
            assert name.removeprefix("blobs/").replace("/", ":") in needed, f"{name} is left over"
        else:
            assert mode & 0o077 == 0, f"{name} has mode {mode:04o}"
            assert name in _STANDING or name.startswith("derived/"), f"{name} is left over"
