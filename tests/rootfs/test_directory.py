"""Unpacking into a directory: the merged tree to the last bit, or nothing at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orlop.errors import Conflict, Error, Invalid, NotFound
from orlop.job import Job
from orlop.model.tree import Inode, Kind, Tree
from orlop.ports import Stack
from orlop.rootfs.directory import ownership_record, write_tree
from tests.support.corners import CAPABILITY
from tests.support.tars import entry, tar, whiteout
from tests.support.trees import difference, expected, make_stack, snapshot


def unpack(stack: Stack, target: Path, *, own: bool = True, job: Job | None = None) -> tuple[str, ...]:
    return write_tree(stack.tree, stack.layers, target, job=job or Job(), own=own, sync=False).notes


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A tree outside of everything; unchanged at the end, or the test fails."""
    directory = tmp_path / "victim"
    directory.mkdir(mode=0o750)
    (directory / "file").write_text("precious")
    (directory / "file").chmod(0o640)
    before = snapshot(directory)
    yield directory
    assert difference(before, snapshot(directory)) == []


@pytest.mark.root
@pytest.mark.parametrize("umask", [0o022, 0o000, 0o077, 0o777])
def test_EX14_EX16_EX17_EX24_the_directory_is_the_merged_tree(stack: Stack, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        assert unpack(stack, tmp_path / "out") == ()
    finally:
        os.umask(before)
    assert difference(expected(stack.tree, [layer.tar for layer in stack.layers]), snapshot(tmp_path / "out")) == []
    assert os.getxattr(tmp_path / "out/bin/ping", "security.capability") == CAPABILITY
    implied = (tmp_path / "out/implied/by").stat()
    assert (implied.st_mode & 0o7777, implied.st_uid, implied.st_gid) == (0o755, 0, 0)


@pytest.mark.root
def test_EX24_nothing_is_inherited_from_where_it_is_unpacked(stack: Stack, tmp_path: Path) -> None:
    acl = bytes.fromhex(
        "02000000 01000700 ffffffff 02000700 39300000 04000700 ffffffff 10000700 ffffffff 20000700 ffffffff"
    )
    shared = tmp_path / "shared"
    shared.mkdir()
    os.chown(shared, 0, 4242)
    shared.chmod(0o2777)
    os.setxattr(shared, "system.posix_acl_default", acl)
    unpack(stack, shared / "out")
    assert difference(expected(stack.tree, [layer.tar for layer in stack.layers]), snapshot(shared / "out")) == []


@pytest.mark.root
def test_an_empty_directory_is_replaced(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o700)
    unpack(stack, tmp_path / "out")
    assert difference(expected(stack.tree, [layer.tar for layer in stack.layers]), snapshot(tmp_path / "out")) == []


def test_what_is_there_already_is_never_touched(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    (tmp_path / "dangling").symlink_to("nothing")
    before = snapshot(tmp_path)
    for name in ("full", "file", "link", "dangling"):
        with pytest.raises(Conflict):
            unpack(stack, tmp_path / name, own=False)
    with pytest.raises(NotFound):
        unpack(stack, tmp_path / "missing/out", own=False)
    with pytest.raises(Invalid):
        unpack(stack, Path("/"), own=False)
    assert difference(before, snapshot(tmp_path)) == []


def test_counts_are_of_names_and_of_bytes_once(tmp_path: Path) -> None:
    content = entry("a/b", data=b"12345"), entry("a/c", Kind.HARDLINK, link="a/b"), entry("d", Kind.SYMLINK, link="a")
    stack = make_stack(tmp_path, tar(*content))
    written = write_tree(stack.tree, stack.layers, tmp_path / "out", job=Job(), own=False)
    assert (written.entries, written.bytes, written.notes) == (4, 5, ())


@pytest.mark.parametrize("name", ["../x", "a/../../x", "./../x", "../" * 12 + "x", "/x", "//x", "/../x"])
def test_EX01_EX02_names_stay_inside(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    unpack(make_stack(tmp_path, tar(entry(name, data=b"x"))), tmp_path / "in/out", own=False)
    assert (tmp_path / "in/out/x").read_bytes() == b"x"
    assert os.listdir(tmp_path / "in") == ["out"]
    assert not Path("/x").exists()


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_EX03_EX04_links_planted_on_the_way_lead_nowhere(
    tmp_path: Path, victim: Path, relative: bool, layers: int
) -> None:
    link = "../" * 20 + str(victim) if relative else str(victim)
    plant = entry("a", Kind.SYMLINK, link=link), entry("b", Kind.SYMLINK, link="a")
    use = entry("b/sub/file", data=b"evil"), entry("a/file", data=b"evil", mode=0o777), entry("b/d/", Kind.DIRECTORY)
    contents = [tar(*plant, *use)] if layers == 1 else [tar(*plant), tar(*use)]
    try:
        unpack(make_stack(tmp_path, *contents), tmp_path / "out", own=False)
    except Error:
        assert not (tmp_path / "out").exists()
        return
    # the link means the same path inside the root
    assert (tmp_path / "out" / str(victim)[1:] / "file").read_bytes() == b"evil"


def test_EX03_chains_and_loops_of_links_end_in_an_error_or_inside(tmp_path: Path, victim: Path) -> None:
    chain = [entry(f"l{number}", Kind.SYMLINK, link=f"l{number + 1}") for number in range(40)]
    stack = make_stack(tmp_path, tar(*chain, entry("l40", Kind.SYMLINK, link=str(victim)), entry("l0/x", data=b"x")))
    unpack(stack, tmp_path / "chain", own=False)
    assert (tmp_path / "chain" / str(victim)[1:] / "x").read_bytes() == b"x"
    loop = tar(entry("a", Kind.SYMLINK, link="b"), entry("b", Kind.SYMLINK, link="a"), entry("a/x", data=b"x"))
    with pytest.raises(Error):
        unpack(make_stack(tmp_path, loop), tmp_path / "loop", own=False)
    assert not (tmp_path / "loop").exists()


def test_EX05_a_link_as_last_part_is_replaced_not_followed(tmp_path: Path, victim: Path) -> None:
    link = entry("l", Kind.SYMLINK, link=str(victim / "file"))
    for number, contents in enumerate(
        ([tar(link, entry("l", data=b"new"))], [tar(link), tar(entry("l", data=b"new"))])
    ):
        unpack(make_stack(tmp_path, *contents), tmp_path / f"out{number}", own=False)
        assert (tmp_path / f"out{number}/l").read_bytes() == b"new"


@pytest.mark.parametrize("how", ["absolute", "dots", "through a link", "to a link", "relative to cwd"])
def test_EX06_EX07_hard_links_reach_nothing_outside(
    tmp_path: Path, victim: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(victim)
    planted = [entry("d", Kind.SYMLINK, link=str(victim)), entry("f", Kind.SYMLINK, link=str(victim / "file"))]
    link = {
        "absolute": str(victim / "file"),
        "dots": "../" * 20 + str(victim / "file")[1:],
        "through a link": "d/file",
        "to a link": "f",
        "relative to cwd": "file",
    }[how]
    content = tar(*planted, entry("hard", Kind.HARDLINK, link=link, mode=0o4777, uid=7), entry("hard2", data=b"y"))
    try:
        unpack(make_stack(tmp_path, content), tmp_path / "out", own=False)
    except Error:
        assert not (tmp_path / "out").exists()
    else:
        assert how == "to a link"
        assert (tmp_path / "out/hard").is_symlink()


def test_EX08_a_directory_named_as_a_link_leaves_what_it_points_at(tmp_path: Path, victim: Path) -> None:
    content = tar(entry("d", Kind.SYMLINK, link=str(victim)), entry("d/", Kind.DIRECTORY, mode=0o777, mtime=1))
    unpack(make_stack(tmp_path, content), tmp_path / "out", own=False)
    assert not (tmp_path / "out/d").is_symlink()


@pytest.mark.root
def test_EX07_EX08_trees_that_no_merge_makes_follow_no_link_either(tmp_path: Path, victim: Path) -> None:
    """The writer alone: owner, mode, time and attributes of links are those of the links."""
    tree = Tree()
    assert tree.root.children is not None
    link = tree.root.children[b"link"] = Inode(Kind.SYMLINK, 0o777, 0)
    link.link, link.uid, link.mtime_ns, link.links = os.fsencode(victim / "file"), 77, 12345, 2
    link.xattrs = ((b"trusted.t", b"v"),)
    tree.root.children[b"again"] = link
    write_tree(tree, [], tmp_path / "out", job=Job(), own=True)
    found = os.lstat(tmp_path / "out/link")
    assert (found.st_uid, found.st_mtime_ns, found.st_nlink) == (77, 12345, 2)
    assert os.listxattr(tmp_path / "out/link", follow_symlinks=False) == ["trusted.t"]


@pytest.mark.parametrize("name", [b"..", b".", b"", b"../evil", b"a/../../b", b"a/b", b"\0"])
def test_EX09_trees_with_names_that_are_no_names_write_nothing(tmp_path: Path, name: bytes, victim: Path) -> None:
    tree = Tree()
    assert tree.root.children is not None
    tree.root.children[name] = Inode(Kind.FILE, 0o644, 0)
    with pytest.raises(Invalid):
        write_tree(tree, [], tmp_path / "out", job=Job(), own=False)
    assert sorted(os.listdir(tmp_path)) == ["victim"]


def test_EX09_EX22_paths_longer_than_the_kernel_takes_are_written_or_refused(tmp_path: Path) -> None:
    tree = Tree()
    here = tree.root
    for number in range(30):
        assert here.children is not None
        below = here.children[b"%d" % number + b"n" * 240] = Inode(Kind.DIRECTORY, 0o755, 0)
        here = below
    assert here.children is not None
    here.children[b"bottom"] = Inode(Kind.FIFO, 0o644, 0)
    write_tree(tree, [], tmp_path / "out", job=Job(), own=False)
    names = [b"%d" % number + b"n" * 240 for number in range(30)]
    current = os.open(tmp_path / "out", os.O_RDONLY)
    for name in names:
        current = os.open(name, os.O_RDONLY, dir_fd=current)
    assert os.listdir(current) == ["bottom"]


@pytest.mark.root
def test_EX15_devices_and_pipes_are_made_and_never_opened(tmp_path: Path) -> None:
    nodes = [entry("p", Kind.FIFO, mode=0o600), entry("c", Kind.CHARACTER, major=1, minor=3, mode=0o666)]
    stack = make_stack(tmp_path, tar(*nodes, entry("p2", Kind.HARDLINK, link="p")))
    done = threading.Thread(target=unpack, args=(stack, tmp_path / "out"), daemon=True)
    done.start()
    done.join(20)
    assert not done.is_alive()
    assert (tmp_path / "out/p").samefile(tmp_path / "out/p2")
    assert os.stat(tmp_path / "out/c").st_rdev == os.makedev(1, 3)


@pytest.mark.root
def test_EX15_EX16_EX17_without_root_everything_else_is_written_and_the_rest_recorded(
    stack: Stack, tmp_path: Path
) -> None:
    """Run in a child that has become nobody."""
    read, write = os.pipe()
    place = tmp_path / "place"
    place.mkdir()
    os.chown(place, 65534, 65534)
    assert stack.tree.root.children
    tars = [layer.tar for layer in stack.layers]
    wanted = expected(stack.tree, tars)
    # nobody may not go through pytest's directories: by descriptors instead
    opened = os.open(place, os.O_RDONLY)
    layers = []
    for layer in stack.layers:
        layer.tar.chmod(0o644)
        layers.append(replace(layer, tar=Path(f"/proc/self/fd/{os.open(layer.tar, os.O_RDONLY)}")))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            os.fchdir(opened)
            notes = write_tree(stack.tree, layers, Path("/proc/self/cwd/out"), job=Job(), own=False).notes
            os.write(write, "\n".join(notes).encode())
            status = 0
        except Error as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read) as stream:
        said = stream.read().splitlines()
    assert os.waitpid(child, 0)[1] == 0, said
    found = snapshot(place / "out")
    devices = {path for path, node in wanted.items() if node.type in "cb"}
    assert wanted.keys() - found.keys() == devices
    assert {(node.uid, node.gid) for node in found.values()} == {(65534, 65534)}
    for path, node in found.items():
        assert node.mode in (wanted[path].mode, wanted[path].mode & 0o1777), path
        assert (node.content, node.mtime_ns, node.type) == (
            wanted[path].content,
            wanted[path].mtime_ns,
            wanted[path].type,
        )
        assert {name for name, _ in node.xattrs} <= {b"user.one", b"user.none"}
    assert found[b"bin/su"].mode == 0o755
    assert any("devices" in note for note in said)
    assert any("security.capability" in note for note in said)
    assert any("setuid" in note for note in said)


def test_the_record_says_all_that_was_left_out(stack: Stack) -> None:
    record = list(ownership_record(stack.tree))
    by_path = {line["path"]: line for line in record if "path" in line}
    assert record[0] == {"path": ".", "type": "directory", "uid": 3, "gid": 4, "mode": "0751"}
    assert by_path["bin/su"]["mode"] == "4755"
    assert by_path["dev/disk"]["rdev"] == "259:70000"
    assert by_path["etc/noted"]["xattrs"]["user.one"] == "MQ=="
    assert by_path["etc/big-owner"]["uid"] == 4_000_000_000
    assert {line["path_base64"] for line in record if "path" not in line} == {
        "bm90LXV0Zjgt//4=",
        "bm90LXV0Zjgt//4vgA==",
    }
    assert len(record) == sum(1 for _ in stack.tree.walk())


@pytest.mark.root
def test_more_hard_links_than_the_file_system_takes_become_copies(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    tree = Tree()
    assert tree.root.children is not None
    shared = Inode(Kind.FILE, 0o640, 0)
    shared.links = 65_010
    for number in range(65_010):
        tree.root.children[b"%d" % number] = shared
    notes = write_tree(tree, [], tmp_path / "out", job=Job(), own=True, sync=False).notes
    found = {os.lstat(tmp_path / "out" / str(number)).st_ino for number in range(0, 65_010, 5)}
    assert len(found) == 1 + len(notes) <= 2
    assert (tmp_path / "out/65009").stat().st_mode & 0o7777 == 0o640


def test_a_removed_file_is_never_written(tmp_path: Path) -> None:
    stack = make_stack(tmp_path, tar(entry("big", data=b"x" * 4096), entry("kept")), tar(whiteout("big")))
    written = write_tree(stack.tree, stack.layers, tmp_path / "out", job=Job(), own=False)
    assert (written.entries, written.bytes) == (1, 0)
