"""The write protocol, as the kernel sees it: what is synced before it gets its name, and the name after it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from orlop.blobs.derived import DerivedFiles
from orlop.model.digest import Digest
from tests.support.images import small_image, write_layout
from tests.support.stores import opened, parts, settings

_CALLS = "syncfs,fsync,fdatasync,link,linkat,rename,renameat,renameat2,unlinkat"
_SYNC = re.compile(r"(?:f(?:data)?sync|syncfs)\(\d+<([^>]*)>\) += 0")
_NAMED = re.compile(
    r'(?:link|rename)(?:at2?)?\((?:(?:AT_FDCWD|\d+)[^,]*, )?"([^"]*)", (?:(?:AT_FDCWD|\d+)[^,]*, )?"([^"]*)".*\) += 0'
)
_GONE = re.compile(r'unlinkat\(\d+<([^>]*)>, "([^"]*)".*\) += 0')


def _trace(tmp_path: Path, code: str) -> list[tuple[str, str, str]]:
    """("sync", path, ""), ("name", from, to) and ("gone", directory, name) in the order of the calls that ended
    well."""
    # a file a thread, so that no call is written down in two halves; put together by the time each began
    command = ["/usr/bin/strace", "-ff", "-ttt", "-y", "-e", f"trace={_CALLS}", "-o", str(tmp_path / "trace")]
    subprocess.run([*command, sys.executable, "-c", code], check=True, capture_output=True)
    lines = [line for file in tmp_path.glob("trace.*") for line in file.read_text().splitlines()]
    events = []
    for line in sorted(lines, key=lambda line: float(line.split()[0])):
        if match := _SYNC.search(line):
            events.append(("sync", match[1], ""))
        elif match := _NAMED.search(line):
            events.append(("name", match[1], match[2]))
        elif match := _GONE.search(line):
            events.append(("gone", match[1], match[2]))
    return events


_PULL = """
import sys
from pathlib import Path
from tests.support.stores import opened
with opened(Path({store!r})) as store:
    store.pull({reference!r})
"""


@pytest.mark.peer
def test_ST01_every_blob_and_name_is_synced_before_and_its_directory_after(tmp_path: Path) -> None:
    image = small_image()
    write_layout(tmp_path / "layout", {"one": image})
    store = tmp_path / "store"
    with opened(store):
        pass
    events = _trace(tmp_path, _PULL.format(store=str(store), reference=f"oci:{tmp_path}/layout:one"))
    named = {target: (number, source) for number, (kind, source, target) in enumerate(events) if kind == "name"}
    durable = [store / "blobs/sha256" / digest.encoded for digest in (image.digest, *image.blobs)]
    for path in (*durable, store / "index.json"):
        number, source = named[str(path)]
        assert ("sync", source, "") in events[:number], f"{path} got its name before it was durable"
        assert ("sync", str(path.parent), "") in events[number:], f"the name of {path} is not durable"
    last_blob = max(named[str(path)][0] for path in durable)
    assert named[str(store / "index.json")][0] > last_blob, "the name came before what it names"


@pytest.mark.peer
def test_ST01_settling_syncs_before_it_says_so(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from tests.support.stores import parts
from orlop.blobs.derived import DerivedFiles
from orlop.model.digest import Digest
with parts(Path({str(tmp_path / "store")!r})) as (disk, _, session):
    derived = DerivedFiles(disk, session, "boot")
    with derived.draft("erofs", Digest.of(b"x")) as path:
        path.write_bytes(b"y" * 5000)
    assert derived.settle(older_than=0) == 1
"""
    events = _trace(tmp_path, code)
    file = f"{tmp_path}/store/derived/erofs/sha256-{Digest.of(b'x').encoded}"
    marks = [number for number, (kind, _, target) in enumerate(events) if kind == "name" and target == f"{file}.mark"]
    assert len(marks) == 2  # not yet, and then synced
    assert ("sync", file, "") in events[marks[0] : marks[1]]


def test_durability_none_syncs_nothing(tmp_path: Path) -> None:
    assert settings(tmp_path).durability == "full"
    with parts(tmp_path / "store") as (disk, _, session):
        disk.durable = False
        derived = DerivedFiles(disk, session, "boot")
        assert derived.settle(older_than=0) == 0
        disk.sync(-1)  # would be EBADF
        disk.sync_directory("not there")


def test_ST03_a_short_write_is_gone_on_with(tmp_path: Path) -> None:
    code = f"""
import os, resource, signal, sys
from pathlib import Path
from orlop.disk.disk import Disk
from orlop.errors import NoSpace
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
disk = Disk(Path({str(tmp_path)!r}))
descriptor = disk.create("file")
try:
    disk.write(descriptor, b"x" * 5000, 0)
except NoSpace:
    sys.exit(0 if os.fstat(descriptor).st_size == 1000 else 3)
sys.exit(4)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.peer
def test_EX25_an_unpacked_tree_is_on_the_disk_before_it_is_seen_and_its_name_after(tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", {"one": small_image()})
    store, place = tmp_path / "store", tmp_path / "place"
    place.mkdir()
    with opened(store) as opener:
        opener.pull(f"oci:{tmp_path}/layout:one")
    code = f"""
from pathlib import Path
from tests.support.stores import opened
with opened(Path({str(store)!r})) as store:
    store.unpack("localhost/layout:one", {str(place / "tree")!r})
"""
    events = _trace(tmp_path, code)
    (named,) = [number for number, (kind, _, target) in enumerate(events) if kind == "name" and target == "tree"]
    # the whole file system, by the directory that the tree is in; and then that directory
    assert ("sync", str(place), "") in events[:named], "the tree was seen before it was durable"
    assert ("sync", str(place), "") in events[named:], "the name of the tree is not durable"


@pytest.mark.peer
def test_plain_layers_that_an_unpacking_alone_needed_are_gone_before_its_sync(tmp_path: Path) -> None:
    image = small_image()
    write_layout(tmp_path / "layout", {"one": image})
    place = tmp_path / "place"
    place.mkdir()
    code = f"""
from pathlib import Path
from tests.support.stores import opened
with opened(Path({str(tmp_path / "store")!r})) as store:
    store.pull("oci:{tmp_path}/layout:one", for_unpack=True)
    store.unpack("localhost/layout:one", {str(place / "tree")!r})
"""
    events = _trace(tmp_path, code)
    synced = events.index(("sync", str(place), ""))
    gone = {name for kind, where, name in events[:synced] if kind == "gone" and where.endswith("/tar")}
    plain = {str(Digest.of(layer)).replace(":", "-") for layer in image.layers}
    assert {name for name in gone if not name.endswith(".mark")} == plain
