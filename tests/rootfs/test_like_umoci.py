"""The mounts and the unpacked directory against what umoci makes of the same image."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from orlop.blobs.derived import DerivedFiles
from orlop.job import Job
from orlop.ports import Stack
from orlop.rootfs.choose import choose
from orlop.rootfs.directory import write_tree
from tests.support import corners
from tests.support.images import make_image, write_layout
from tests.support.trees import Snapshot, difference, snapshot

pytestmark = [pytest.mark.peer, pytest.mark.root]


@pytest.fixture(scope="module")
def umoci(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """What `umoci unpack` makes of the corner cases."""
    place = tmp_path_factory.mktemp("umoci")
    write_layout(place / "layout", {"latest": make_image([corners.base(), corners.middle(), corners.top()])})
    command = ["/usr/bin/umoci", "unpack", "--image", f"{place}/layout:latest", f"{place}/bundle"]
    subprocess.run(command, check=True, capture_output=True)
    return snapshot(place / "bundle/rootfs")


def compared(ours: Snapshot, theirs: Snapshot, *, ignore: frozenset[str] = frozenset()) -> list[str]:
    """Times of directories that no layer mentions are nobody's to say, and umoci leaves the root the time of its
    last change; Go's tar reader, and so umoci, loses attributes without a value."""
    for path in (b"", *corners.IMPLIED):
        ours[path] = ours[path]._replace(mtime_ns=0)
        theirs[path] = theirs[path]._replace(mtime_ns=0)
    for path, node in ours.items():
        ours[path] = node._replace(xattrs=tuple((name, value) for name, value in node.xattrs if value))
    return difference(ours, theirs, ignore=ignore)


def test_unpack_is_what_umoci_unpacks(stack: Stack, umoci: Snapshot, tmp_path: Path) -> None:
    write_tree(stack.tree, stack.layers, tmp_path / "out", job=Job(), own=True)
    assert compared(snapshot(tmp_path / "out"), umoci) == []


@pytest.mark.parametrize("name", ["erofs", "overlay", "directory"])
def test_the_mount_is_what_umoci_unpacks(
    stack: Stack, umoci: Snapshot, derived: DerivedFiles, target: Path, name: str
) -> None:
    choose(name, derived)[0].mount(stack, target, job=Job())
    ignored = frozenset({"links"}) if name == "overlay" else frozenset[str]()
    assert compared(snapshot(target), umoci, ignore=ignored) == []
