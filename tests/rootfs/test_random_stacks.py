"""EX14: random stacks of layers, from tars to what the kernel shows, are what a plain model says they mean."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings

from orlop.blobs.derived import DerivedFiles
from orlop.erofs.writer import write_image
from orlop.job import Job
from orlop.ports import Stack
from orlop.rootfs.choose import choose
from orlop.rootfs.directory import write_tree
from orlop.rootfs.mounting import unmount
from orlop.tar.merge import merge
from orlop.tar.reader import read_entries
from orlop.tar.writer import write_tree as write_tar
from tests.support.images import make_image, write_layout
from tests.support.soak import times
from tests.support.trees import Snapshot, difference, make_stack, mounted, snapshot
from tests.tar.naive import Model
from tests.tar.stacks import LAYERS, Stacked, stacked

pytestmark = pytest.mark.root
Recipes = list[list[bytes]]


def many(quick: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`quick` random stacks, ten times as many in a soak."""
    known = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=times(quick, 10 * quick), suppress_health_check=known)


@contextmanager
def on_disk(recipes: Recipes, place: Path, *, tidy: bool = False) -> Iterator[tuple[Path, Stacked, Stack]]:
    """A stack of tars in a directory that is gone afterwards."""
    made = stacked(recipes, tidy=tidy)
    with TemporaryDirectory(dir=place) as directory:
        yield Path(directory), made, make_stack(Path(directory), *made.tars)


def said(made: Stacked) -> Snapshot:
    return made.model.snapshot(made.tars)


@many(1000)
@given(LAYERS)
def test_EX14_EX20_EX21_random_stacks_mounted_by_the_kernel_are_what_they_mean(
    tmp_path: Path, recipes: Recipes
) -> None:
    with on_disk(recipes, tmp_path) as (place, made, stack):
        tars = [layer.tar for layer in stack.layers]
        with (place / "image").open("xb") as out:
            notes = write_image(stack.tree, [tar.stat().st_size for tar in tars], out, identity=bytes(16)).notes
        with mounted(place / "image", tars, place / "root") as root:
            assert difference(said(made), snapshot(root)) == []
        assert notes == ()


@many(1000)
@given(LAYERS)
def test_EX14_EX16_EX24_random_stacks_unpacked_are_what_they_mean(tmp_path: Path, recipes: Recipes) -> None:
    with on_disk(recipes, tmp_path) as (place, made, stack):
        written = write_tree(stack.tree, stack.layers, place / "out", job=Job(), own=True, sync=False)
        assert difference(said(made), snapshot(place / "out")) == []
        assert written.notes == ()


@many(60)
@given(LAYERS)
def test_EX13_EX14_random_stacks_shown_by_overlayfs_are_what_they_mean(
    tmp_path: Path, derived: DerivedFiles, target: Path, recipes: Recipes
) -> None:
    with on_disk(recipes, tmp_path) as (_, made, stack):
        choose("overlay", derived)[0].mount(stack, target, job=Job())
        try:
            # overlayfs counts no subdirectories
            assert difference(said(made), snapshot(target), ignore=frozenset({"links"})) == []
        finally:
            unmount(target, lazy=True)


@many(300)
@given(LAYERS)
def test_tars_are_read_as_meant_and_one_written_of_their_tree_means_the_same(recipes: Recipes) -> None:
    made = stacked(recipes)
    for tar, meant in zip(made.tars, made.entries, strict=True):
        assert list(read_entries(io.BytesIO(tar))) == meant
    written = io.BytesIO()
    write_tar(merge(made.entries), lambda layer: io.BytesIO(made.tars[layer]), written, Job())
    written.seek(0)
    again = Model()
    again.apply(list(read_entries(written)))
    assert difference(said(made), again.snapshot([written.getvalue()])) == []


@pytest.mark.peer
@many(60)
@given(LAYERS)
def test_gnu_tar_extracts_what_was_exported(tmp_path: Path, recipes: Recipes) -> None:
    made = stacked(recipes)
    written = io.BytesIO()
    write_tar(merge(made.entries), lambda layer: io.BytesIO(made.tars[layer]), written, Job())
    with TemporaryDirectory(dir=tmp_path) as place:
        command = ["/usr/bin/tar", "-xp", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-C", place]
        subprocess.run(command, input=written.getvalue(), check=True, capture_output=True)
        assert difference(without_equals(said(made)), snapshot(place)) == []


def without_equals(found: Snapshot) -> Snapshot:
    """GNU tar does not know how libarchive writes attributes with "=" in their name."""
    return {
        path: node._replace(xattrs=tuple(pair for pair in node.xattrs if b"=" not in pair[0]))
        for path, node in found.items()
    }


@pytest.mark.peer
@many(30)
@given(LAYERS)
def test_random_stacks_are_what_umoci_unpacks(tmp_path: Path, recipes: Recipes) -> None:
    with on_disk(recipes, tmp_path, tidy=True) as (place, made, stack):
        write_layout(place / "layout", {"latest": make_image(made.tars, compression="none")})
        command = ["/usr/bin/umoci", "unpack", "--image", f"{place}/layout:latest", f"{place}/bundle"]
        subprocess.run(command, check=True, capture_output=True)
        write_tree(stack.tree, stack.layers, place / "out", job=Job(), own=True, sync=False)
        assert difference(timeless(snapshot(place / "out")), timeless(snapshot(place / "bundle/rootfs"))) == []
        shutil.rmtree(place / "bundle")


def timeless(found: Snapshot) -> Snapshot:
    """umoci leaves directories the time at which something in them was made."""
    return {path: node._replace(mtime_ns=0) if node.type == "d" else node for path, node in found.items()}
