"""Opening and removing below a directory: no link is ever followed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orlop.disk.beneath import open_by_steps, open_directory, remove_tree
from tests.support.trees import difference, snapshot


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "a/link").symlink_to("../outside")
    (tmp_path / "a/b/up").symlink_to("..")
    (tmp_path / "a/file").touch()
    return tmp_path


@pytest.mark.parametrize("opener", [open_directory, open_by_steps])
def test_real_directories_are_opened(root: Path, opener: Callable[[int, bytes], int]) -> None:
    top = os.open(root, os.O_RDONLY)
    found = opener(top, b"a/b/c")
    assert os.path.samestat(os.fstat(found), (root / "a/b/c").stat())
    os.close(found)
    os.close(top)


@pytest.mark.parametrize("opener", [open_directory, open_by_steps])
@pytest.mark.parametrize("path", [b"a/link", b"a/b/up", b"a/b/up/b", b"a/file", b"a/missing"])
def test_EX03_links_are_refused_anywhere_on_the_way(
    root: Path, opener: Callable[[int, bytes], int], path: bytes
) -> None:
    top = os.open(root, os.O_RDONLY)
    with pytest.raises(OSError):  # noqa: PT011
        opener(top, path)
    os.close(top)


def test_EX22_trees_deeper_than_a_path_can_say_are_opened_and_removed(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    top = parent = os.open(tmp_path / "deep", os.O_RDONLY)
    names = [b"%d" % number + b"n" * 200 for number in range(60)]
    for name in names:
        os.mkdir(name, dir_fd=parent)
        parent = os.open(name, os.O_RDONLY, dir_fd=parent)
    bottom = open_directory(top, b"/".join(names))
    assert os.path.samestat(os.fstat(bottom), os.fstat(parent))
    above = os.open(tmp_path, os.O_RDONLY)
    remove_tree(above, b"deep")
    assert os.listdir(tmp_path) == []


def test_removal_needs_few_descriptors_and_no_recursion(tmp_path: Path) -> None:
    code = """
import os, resource, sys
from orlop.disk.beneath import remove_tree
os.chdir(sys.argv[1])
os.mkdir("deep"); os.chdir("deep")
for _ in range(1500):
    os.mkdir("d"); os.chdir("d"); open("f", "w").close()
top = os.open(sys.argv[1], os.O_RDONLY)
resource.setrlimit(resource.RLIMIT_NOFILE, (12, 12))
remove_tree(top, b"deep")
"""
    _run(code, str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_removal_takes_links_and_leaves_what_they_point_at(root: Path) -> None:
    (root / "doomed/sub").mkdir(parents=True)
    (root / "doomed/link").symlink_to(root / "a")
    (root / "doomed/sub/link").symlink_to("../../a/b")
    os.link(root / "a/file", root / "doomed/sub/file")
    before = snapshot(root / "a")
    top = os.open(root, os.O_RDONLY)
    remove_tree(top, b"doomed")
    assert not (root / "doomed").exists()
    assert difference(before, snapshot(root / "a"), ignore=frozenset({"links", "group"})) == []
    remove_tree(top, b"doomed")
    with pytest.raises(OSError, match="directory"):
        remove_tree(top, b"a/link")
    os.close(top)
    assert (root / "outside").exists()


@pytest.mark.root
def test_removal_enters_directories_that_their_owner_may_not(tmp_path: Path) -> None:
    code = """
import os, sys
from orlop.disk.beneath import remove_tree
top = os.open(sys.argv[1], os.O_RDONLY)
for name, mode in (("x/none", 0), ("x/y/read", 0o400), ("x/y/z/exec", 0o100)):
    os.makedirs(sys.argv[1] + "/" + name + "/below"); os.chmod(sys.argv[1] + "/" + name, mode)
os.chmod(sys.argv[1] + "/x/y", 0o500)
os.chmod(sys.argv[1] + "/x", 0o000)
remove_tree(top, b"x")
"""
    os.chown(tmp_path, 65534, 65534)
    os.chmod(tmp_path, 0o755)
    _run(code, str(tmp_path), user=65534)
    assert os.listdir(tmp_path) == []


def _run(code: str, *arguments: str, user: int | None = None) -> None:
    # from its own directory, which the user must be able to enter: pytest's are root's
    if user is not None:
        code = (
            f"import os; os.chdir({arguments[0]!r}); os.setresgid(*[{user}] * 3); os.setresuid(*[{user}] * 3)\n" + code
        )
        code = code.replace("sys.argv[1]", "'.'")
        code = "import orlop.disk.beneath\n" + code
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code, *arguments], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
