"""EX14: random stacks of layers give the tree that a naive model gives, and their differences add up to it."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from orlop.errors import Invalid, Unsafe
from orlop.model.tree import Entry, Inode, Kind, Tree
from orlop.tar.changes import Changes, layer_changes
from orlop.tar.merge import merge
from tests.support.soak import times
from tests.tar.naive import Model, Refused

_PARTS = st.sampled_from([b"a", b"a", b"b"])
_LEAVES = st.sampled_from([b"a", b"b", b"f", b"g"])
_WHITEOUTS = st.sampled_from([b".wh.a", b".wh.a", b".wh.b", b".wh.f", b".wh.g", b".wh..wh..opq"])
_ODD_LEAVES = st.sampled_from([b"..", b".", b"c", b".wh.."])
_TARGETS = st.sampled_from(
    [b"a", b"b", b"/a", b"../b", b"a/b", b"/b/a", b"/", b"..", b"c/../a", b"none", b"/none/x", b"f"]
)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    parents = draw(st.lists(_PARTS, max_size=2))
    leaf = draw(st.one_of(_LEAVES, _LEAVES, _LEAVES, _LEAVES, _WHITEOUTS, _WHITEOUTS, _WHITEOUTS, _ODD_LEAVES))
    # a target that is often there makes hard links that are often right
    kind = draw(st.sampled_from([Kind.FILE] * 4 + [Kind.DIRECTORY] * 4 + [Kind.SYMLINK, Kind.HARDLINK, Kind.FIFO]))
    if leaf in (b"a", b"b") and kind is Kind.FILE and draw(st.integers(0, 3)):
        kind = Kind.DIRECTORY
    link = draw(_TARGETS) if kind is Kind.SYMLINK else b""
    if kind is Kind.HARDLINK:
        link = b"/".join([*draw(st.lists(_PARTS, max_size=1)), draw(st.sampled_from([b"f", b"g"]))])
    prefix = draw(st.sampled_from([b""] * 8 + [b"/", b"./", b"../"]))
    name = prefix + b"/".join([*parents, leaf])
    offset = draw(st.integers(1, 1 << 30)) * 512
    xattrs = ((b"user.k", b"v"),) if draw(st.booleans()) and kind is Kind.DIRECTORY else ()
    mode, uid, mtime = draw(st.integers(0, 0o7777)), draw(st.integers(0, 9)), draw(st.integers(-9, 9))
    return Entry(kind, name, link, mode, uid, 0, mtime, 1, offset, 0, 0, xattrs)


_LAYERS = st.lists(st.lists(entries(), max_size=7), min_size=1, max_size=4)


def facts(tree: Tree) -> dict[bytes, tuple[object, ...]]:
    first: dict[Inode, bytes] = {}
    names = list(tree.walk())
    for path, inode in names:
        first[inode] = min(first.get(inode, path), path)
    return {path: (*seen(inode), inode.links, first[inode]) for path, inode in names}


def seen(inode: Inode) -> tuple[object, ...]:
    content = (inode.layer, inode.offset) if inode.kind is Kind.FILE else (0, 0)
    return inode.kind, inode.mode, inode.uid, inode.mtime_ns, inode.link, content, inode.xattrs


def modelled(layers: Sequence[Sequence[Entry]]) -> dict[bytes, tuple[object, ...]] | None:
    model = Model()
    try:
        for layer in layers:
            model.apply(layer)
    except Refused:
        return None
    return model.facts()


@settings(max_examples=times(300, 10_000))
@given(_LAYERS)
def test_EX14_random_layers_give_the_tree_of_the_naive_model(layers: list[list[Entry]]) -> None:
    expected = modelled(layers)
    try:
        found = facts(merge(layers))
    except (Invalid, Unsafe):
        assert expected is None
    else:
        assert found == expected


class Overlay:
    """What overlayfs would show of the directories written so far: path -> what is seen, and which inode it is."""

    def __init__(self) -> None:
        self.view: dict[bytes, tuple[tuple[object, ...], tuple[int, int]]] = {}

    def stack(self, number: int, changes: Changes) -> None:
        """Put one more directory on top, made as the docstring of `layer_changes` says."""
        made = {b""}
        for path, inode, opaque in changes.written:
            assert path.rpartition(b"/")[0] in made, "parents first"
            if inode.kind is Kind.DIRECTORY:
                made.add(path)
                # overlayfs merges directories, and hides whatever else is below
                if path in self.view and (opaque or self.view[path][0][0] is not Kind.DIRECTORY):
                    self.hide(path)
            else:
                self.hide(path)
            # names of one inode are hard links only within one directory
            self.view[path] = seen(inode), (number, id(inode))
        for path in changes.removed:
            assert path.rpartition(b"/")[0] in made, "a whiteout needs its directory"
            assert path in self.view
            self.hide(path)

    def hide(self, path: bytes) -> None:
        for other in [other for other in self.view if other == path or other.startswith(path + b"/")]:
            del self.view[other]

    def facts(self) -> dict[bytes, tuple[object, ...]]:
        first: dict[tuple[int, int], bytes] = {}
        for path, (_, identity) in self.view.items():
            first[identity] = min(first.get(identity, path), path)
        return {path: (*what, first[identity]) for path, (what, identity) in self.view.items()}


@settings(max_examples=times(300, 10_000))
@given(_LAYERS)
def test_changes_of_layers_stacked_as_overlayfs_does_give_each_tree(layers: list[list[Entry]]) -> None:
    try:
        merge(layers)
    except (Invalid, Unsafe):
        return
    overlay = Overlay()
    kept = []  # so that no id is used again
    for number, changes in enumerate(layer_changes(layers)):
        kept.append(changes)
        overlay.stack(number, changes)
        expected = {path: (*fact[:-2], fact[-1]) for path, fact in facts(merge(layers[: number + 1])).items()}
        assert overlay.facts() == expected
    assert len(kept) == len(layers)
