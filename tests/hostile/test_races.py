"""Somebody else changes what is around while it is written: nothing leads outside, nothing else is removed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orlop.errors import Error
from orlop.job import Job
from orlop.model.tree import Kind
from orlop.ports import Stack
from orlop.rootfs.directory import write_tree
from orlop.rootfs.mounting import mount_memory, unmount
from tests.support.soak import times
from tests.support.tars import entry, tar
from tests.support.trees import difference, make_stack, snapshot

NOBODY = 65534
# may write to the directory, as in a shared one; cannot look into what is private there
OTHER = """
import os, sys
victim = sys.argv[1]
print("ready", flush=True)
def turn(name, moved):
    os.rename(name, "moved")
    if moved == "link":
        os.symlink(victim, name)
        os.unlink(name)
    elif moved == "empty":
        os.mkdir(name)
        os.rmdir(name)
    else:
        os.rename("precious", name)
        os.rename(name, "precious")
    os.rename("moved", name)
while True:
    for name in os.listdir("."):
        for moved in ("link", "empty", "precious"):
            if name.startswith(".out"):
                try:
                    turn(name, moved)
                except OSError:
                    if os.path.lexists("precious"):
                        continue
                    for each in os.listdir("."):
                        if os.path.exists(each + "/kept"):
                            os.rename(each, "precious")
"""
# may do all that root may, inside of the private directory too
ROOT = """
import os, sys
victim = sys.argv[1]
print("ready", flush=True)
while True:
    for outer in os.listdir("."):
        for name in (outer, outer + "/tree", *(f"{outer}/tree/d{number}" for number in range(4))):
            try:
                os.rename(name, "moved"); os.symlink(victim, name)
                os.unlink(name); os.rename("moved", name)
            except OSError:
                pass
"""


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A tree outside of everything; unchanged at the end, or the test fails."""
    directory = tmp_path / "victim"
    directory.mkdir(mode=0o777)
    (directory / "file").write_text("precious")
    for number in range(4):
        (directory / f"d{number}").mkdir()
    before = snapshot(directory)
    yield directory
    assert difference(before, snapshot(directory)) == []


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory that all may write to."""
    directory = tmp_path / "place"
    directory.mkdir()
    mount_memory(directory, "mode=0777")
    yield directory
    unmount(directory, lazy=True)


@contextmanager
def racing(code: str, place: Path, victim: Path, *, user: int) -> Iterator[None]:
    """Another process at it, as `user`. It is started in `place`: the way there is not open to all."""
    command = ["/usr/bin/python3", "-I", "-S", "-c", code, str(victim)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=place, user=user, group=user, extra_groups=[]) as racer:
        assert racer.stdout is not None
        assert racer.stdout.readline()
        try:
            yield
            assert racer.poll() is None
        finally:
            racer.kill()
            racer.wait()


def _outcomes(stack: Stack, place: Path, count: int) -> set[str]:
    outcomes = set()
    for number in range(count):
        try:
            write_tree(stack.tree, stack.layers, place / f"out{number % 50}", job=Job(), own=True, sync=False)
            outcomes.add("written")
        except Error as error:
            outcomes.add(type(error).__name__)
        if number % 50 == 49:
            _remove([place / f"out{each}" for each in range(50)])
    return outcomes


def _remove(paths: list[Path]) -> None:
    """What was written, so that the directory stays short; it may be gone or moved this very moment."""
    subprocess.run(["/bin/rm", "-rf", "--one-file-system", *paths], check=False, stderr=subprocess.DEVNULL)


def _stack(tmp_path: Path) -> Stack:
    names = [entry(f"d{number}/", Kind.DIRECTORY, mode=0o777) for number in range(4)]
    files = [entry(f"d{number % 4}/f{number}", data=b"x" * 600, mode=0o666) for number in range(12)]
    return make_stack(tmp_path, tar(*names, *files))


@pytest.mark.root
def test_EX10_another_user_of_a_shared_directory_leads_nothing_outside(
    tmp_path: Path, place: Path, victim: Path
) -> None:
    """Private directories are swapped for links, for empty ones, and for one of root's own that must stay."""
    precious = place / "precious"
    (precious / "sub").mkdir(parents=True)
    (precious / "kept").write_text("kept")
    before = snapshot(precious)
    number = precious.stat().st_ino
    with racing(OTHER, place, victim, user=NOBODY):
        outcomes = _outcomes(_stack(tmp_path), place, times(1000, 10_000))
    assert "written" in outcomes
    (found,) = (path for path in place.iterdir() if path.lstat().st_ino == number)
    assert difference(before, snapshot(found)) == []


@pytest.mark.root
def test_EX10_a_racing_process_cannot_lead_the_writing_elsewhere(tmp_path: Path, place: Path, victim: Path) -> None:
    """Root itself swaps directories of the tree, and the tree, with links, as fast as it can."""
    with racing(ROOT, place, victim, user=0):
        outcomes = _outcomes(_stack(tmp_path), place, times(300, 10_000))
    assert "written" in outcomes
    assert not os.path.lexists(victim / "f0")
