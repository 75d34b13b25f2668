"""Hazards of writing a tree out that no archive shows by itself: the machine around, and how it is written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orlop.errors import Conflict, Error, Unsafe
from orlop.job import Job
from orlop.model.limits import SYMLINKS_FOLLOWED
from orlop.model.tree import Kind
from orlop.rootfs.directory import fill, write_tree
from tests.support.hostile import plain, run_measured, served
from tests.support.images import small_image, write_layout
from tests.support.stores import opened
from tests.support.tars import entry, tar
from tests.support.trees import difference, make_stack, snapshot

EVERY_STEP = """
import sys
from orlop.settings import Settings
from tests.support.stores import opened
seen = []
def hook(event, arguments):
    if event in ("subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"):
        seen.append((event, repr(arguments)[:200]))
sys.addaudithook(hook)
place = Path(arguments[0])
with opened(place / "store") as store:
    for name in ("gzip", "zstd", "none"):
        store.pull(f"oci:{place}/layout:{name}")
    (name, *_) = store.names()
    store.unpack(name, place / "out")
    with open("/dev/null", "wb") as out:
        store.export(name, out)
    for driver in ("erofs", "overlay", "directory"):
        store.umount(str(store.mount(name, driver=driver).target))
    store.umount(str(store.bundle(name, place / "bundle").target))
    store.fsck(); store.gc(derived=True)
print("ran", seen)
"""


@pytest.mark.root
def test_EX23_no_program_is_ever_run_for_an_image(tmp_path: Path) -> None:
    """Not to decompress, not to unpack, not to mount: nothing that PATH or an image could put in its place."""
    write_layout(tmp_path / "layout", {kind: small_image(kind) for kind in ("gzip", "zstd", "none")})
    assert "ran []" in run_measured(EVERY_STEP, tmp_path).out


@pytest.mark.root
def test_EX16_nobody_ever_sees_a_set_user_id_before_its_owner_and_content(tmp_path: Path) -> None:
    """The kernel's own view, in order: data, owner, attributes, mode, times."""
    member = entry("su", data=b"x" * 10_000, mode=0o6755, uid=12, gid=34, xattrs={"user.a": b"1"})
    make_stack(tmp_path, tar(member))
    (tmp_path / "layer.tar").write_bytes(tar(member))
    code = """
import sys
from pathlib import Path
from orlop.job import Job
from orlop.rootfs.directory import fill, write_tree
from tests.support.trees import make_stack
place = Path(sys.argv[1])
stack = make_stack(place, (place / "layer.tar").read_bytes())
write_tree(stack.tree, stack.layers, place / "out", job=Job(), own=True)
"""
    calls = "sendfile,fchown,fsetxattr,fchmod,utimensat,openat"
    done = subprocess.run(
        ["/usr/bin/strace", "-f", "-y", "-e", f"trace={calls}", sys.executable, "-c", code, tmp_path],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    lines = [line for line in done.stderr.splitlines() if "/su>" in line or '"su"' in line]
    order = [next(call for call in calls.split(",") if f"{call}(" in line) for line in lines]
    assert list(dict.fromkeys(order)) == ["openat", "sendfile", "fchown", "fsetxattr", "fchmod", "utimensat"]
    assert "0600" in lines[0]
    assert sum("06755" in line for line in lines) == 1


@pytest.mark.parametrize("there", ["file", "link", "directory"])
@pytest.mark.parametrize("kind", [Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK, Kind.FIFO, Kind.HARDLINK])
def test_EX21_a_name_that_the_file_system_has_already_is_refused(tmp_path: Path, kind: Kind, there: str) -> None:
    """As where upper and lower case, or two forms of a letter, are one name: the first is there when the second comes.
    All is made anew or not at all."""
    (tmp_path / "victim").mkdir()
    root = tmp_path / "root"
    root.mkdir()
    if there == "link":
        (root / "name").symlink_to(tmp_path / "victim")
    else:
        (root / "name").mkdir() if there == "directory" else (root / "name").touch()
    before = snapshot(tmp_path / "victim"), snapshot(root / "name")
    layer = tar(entry("first", data=b"1"), entry("name", kind, link="first", data=b"2" if kind is Kind.FILE else b""))
    stack = make_stack(tmp_path, layer)
    descriptor = os.open(root, os.O_RDONLY)
    try:
        with pytest.raises(Conflict):
            fill(stack.tree, stack.layers, descriptor, job=Job(), own=False, name=root)
    finally:
        os.close(descriptor)
    assert (snapshot(tmp_path / "victim"), snapshot(root / "name")) == before


def test_EX21_both_forms_of_a_letter_and_bytes_that_are_none_stay_as_they_are(tmp_path: Path) -> None:
    names = [b"\xc3\xa9", b"e\xcc\x81", b"\xff\xfe", b"A", b"a", b"con", b"dot.", b"nul.txt"]
    stack = make_stack(tmp_path, tar(*(entry(name, data=name) for name in names)))
    write_tree(stack.tree, stack.layers, tmp_path / "out", job=Job(), own=False, sync=False)
    assert sorted(os.listdir(os.fsencode(tmp_path / "out"))) == sorted(names)


@pytest.mark.root
def test_EX18_attributes_of_any_bytes_come_through_every_way(tmp_path: Path) -> None:
    values = {"user.zeros": bytes(1000), "user.empty": b"", "user.lines": b"a=b\n\0", "trusted.x": bytes(range(256))}
    layer = tar(entry("f", data=b"1", xattrs=values), entry("d/", Kind.DIRECTORY, xattrs=values))
    write_layout(tmp_path / "layout", {"x": served([plain(layer)])})
    with opened(tmp_path / "store") as store:
        store.pull(f"oci:{tmp_path}/layout:x")
        (name,) = store.names()
        store.unpack(name, tmp_path / "out")
        for path in ("f", "d"):
            found = {key: os.getxattr(tmp_path / "out" / path, key) for key in os.listxattr(tmp_path / "out" / path)}
            assert found == values
        for driver in ("erofs", "overlay", "directory"):
            mounted = store.mount(name, driver=driver)
            assert difference(snapshot(tmp_path / "out"), snapshot(mounted.target), ignore=frozenset(["links"])) == []
            store.umount(str(mounted.target))


def test_EX22_a_million_links_to_follow_end_in_time(tmp_path: Path) -> None:
    """Each name leads through the longest chain there may be, again and again."""
    count = SYMLINKS_FOLLOWED - 1
    chain = [entry(f"l{number}", Kind.SYMLINK, link=f"l{number + 1}") for number in range(count)]
    members = [*chain, entry(f"l{count}/", Kind.DIRECTORY), *(entry(f"l0/f{number}") for number in range(4000))]
    stack = make_stack(tmp_path, tar(*members))
    assert len(stack.tree.root.children[b"l%d" % count].children or ()) == 4000  # type: ignore[index]


@pytest.mark.root
@pytest.mark.parametrize("planted", ["config.json", "rootfs", "writable", "writable/upper"])
def test_EX10_a_link_in_a_bundle_is_not_followed(tmp_path: Path, planted: str) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("precious")
    link = tmp_path / "bundle" / planted
    link.parent.mkdir(parents=True)
    link.symlink_to(victim / "file" if planted == "config.json" else victim)
    before = snapshot(victim)
    write_layout(tmp_path / "layout", {"x": small_image()})
    with opened(tmp_path / "store") as store:
        store.pull(f"oci:{tmp_path}/layout:x")
        with pytest.raises(Unsafe, match="symbolic link"):
            store.bundle(store.names()[0], tmp_path / "bundle")
        assert store.mounts() == []
    assert difference(before, snapshot(victim)) == []


@pytest.mark.root
@pytest.mark.parametrize("how", ["mode", "owner"])
def test_EX10_a_bundle_where_others_may_write_is_refused(tmp_path: Path, how: str) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    if how == "mode":
        bundle.chmod(0o1777)
    else:
        os.chown(bundle, 12, 0)
    write_layout(tmp_path / "layout", {"x": small_image()})
    with opened(tmp_path / "store") as store:
        store.pull(f"oci:{tmp_path}/layout:x")
        with pytest.raises(Unsafe, match="others may write"):
            store.bundle(store.names()[0], bundle)
    assert os.listdir(bundle) == []


RECORDS = [
    b"",
    b"[]",
    b"[" * 5000,
    b'{"name": 1}',
    b'{"name":"a","target":"/","driver":"x","digest":"sha256:00","uses":[]}',
    b'{"name":"a","target":"\\u0000","driver":"x","digest":"%s","uses":[]}',
    b'{"name":"a","target":7,"driver":"x","digest":"%s","uses":[]}',
    b'{"name":"a","target":"/","driver":"x","digest":"%s","uses":7}',
    b'{"name":"a","target":"/","driver":"x","digest":"%s","uses":[],"over":7}',
    b"\xff\xfe",
]


@pytest.mark.parametrize("raw", RECORDS)
def test_a_damaged_record_of_a_mount_is_none(tmp_path: Path, raw: bytes) -> None:
    with opened(tmp_path / "store") as store:
        (tmp_path / "store/mounts/1234").mkdir()
        (tmp_path / "store/mounts/1234/record").write_bytes(raw.replace(b"%s", b"sha256:" + b"0" * 64))
        assert store.mounts() == []
        with pytest.raises(Error, match="not mounted"):
            store.umount("a")
        store.gc()
        assert list((tmp_path / "store/mounts").iterdir()) == []
