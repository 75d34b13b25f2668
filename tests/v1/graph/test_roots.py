"""The row G17: what every driver must do -- create, get, put, exists, remove, status, cleanup."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orlop.errors import Conflict, Invalid, NotFound
from orlop.job import Event, Job
from orlop.rootfs import mountinfo
from orlop.store import Store
from orlop.v1.roots import Roots
from tests.support.stores import opened
from tests.support.v1images import JOB, A, B, add, v1

pytestmark = pytest.mark.root


@pytest.fixture(params=["erofs", "overlay", "directory"])
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def roots(store: Store, driver: str) -> Iterator[Roots]:
    made = store.graph.roots(driver)
    yield made
    made.cleanup()


def base(store: Store) -> str:
    """As Docker's tests of drivers have it: odd modes and owners."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        directory, file = tarfile.TarInfo("a subdir"), tarfile.TarInfo("a file")
        directory.type, directory.mode, directory.uid, directory.gid = tarfile.DIRTYPE, 0o1705, 1, 2
        file.mode, file.uid, file.gid, file.size = 0o4222, 1, 2, 3
        tar.addfile(directory)
        tar.addfile(file, io.BytesIO(b"abc"))
    store.graph.register(v1(A), io.BytesIO(out.getvalue()), job=JOB)
    return A


def check_base(root: Path) -> None:
    for name, mode, kind in (("a subdir", 0o1705, stat.S_IFDIR), ("a file", 0o4222, stat.S_IFREG)):
        found = (root / name).stat()
        assert (found.st_mode, found.st_uid, found.st_gid) == (kind | mode, 1, 2), name


def test_G17_an_empty_root(roots: Roots) -> None:
    roots.create("empty", job=JOB)
    root = roots.get("empty", job=JOB)
    assert list(root.iterdir()) == []
    (root / "new").write_text("written")
    roots.put("empty")
    assert (roots.get("empty", job=JOB) / "new").read_text() == "written"


def test_G17_a_root_has_what_its_image_has(store: Store, roots: Roots) -> None:
    roots.create("one", base(store), job=JOB)
    assert roots.exists("one")
    root = roots.get("one", job=JOB)
    assert roots.get("one", job=JOB) == root
    check_base(root)


def test_G17_a_snapshot_of_a_snapshot_has_the_same(store: Store, roots: Roots) -> None:
    add(store, B, parent=base(store))
    roots.create("two", B, job=JOB)
    check_base(roots.get("two", job=JOB))


def test_G17_roots_of_one_image_do_not_see_each_other(store: Store, roots: Roots) -> None:
    image = base(store)
    for id in ("one", "two"):
        roots.create(id, image, job=JOB)
    one, two = (roots.get(id, job=JOB) for id in ("one", "two"))
    (one / "a file").unlink()
    (one / "new").write_text("1")
    check_base(two)
    assert not (two / "new").exists()
    roots.put("one")
    assert sorted(os.listdir(roots.get("one", job=JOB))) == ["a subdir", "new"]
    store.unpack(image, store.settings.store.parent / "out")
    check_base(store.settings.store.parent / "out")


def test_G17_what_is_there_what_is_not_and_what_is_refused(store: Store, roots: Roots) -> None:
    image = base(store)
    assert not roots.exists("one")
    with pytest.raises(NotFound):
        roots.create("one", "f" * 64, job=JOB)
    assert not roots.exists("one")
    assert not list((store.settings.store / "roots").glob("*"))
    roots.create("one", image, job=JOB)
    with pytest.raises(Conflict, match="root one: exists already"):
        roots.create("one", image, job=JOB)
    for bad in ("", "../x", "a/b", ".", "a:b", "a\n"):
        with pytest.raises(Invalid):
            roots.create(bad, image, job=JOB)
        assert not roots.exists(bad)
    for call in (roots.remove, roots.put, lambda id: roots.get(id, job=JOB)):
        with pytest.raises(NotFound, match="root none: does not exist"):
            call("none")
    check_base(roots.get("one", job=JOB))


def test_G17_a_root_is_removed_with_what_was_written(store: Store, roots: Roots) -> None:
    roots.create("one", base(store), job=JOB)
    root = roots.get("one", job=JOB)
    (root / "new").write_text("1")
    roots.remove("one")
    assert not roots.exists("one")
    assert not root.exists()
    assert not mountinfo.is_target(root)
    roots.create("one", A, job=JOB)
    assert not (roots.get("one", job=JOB) / "new").exists()


def test_G17_status_and_cleanup(store: Store, roots: Roots, driver: str) -> None:
    image = base(store)
    for id in ("one", "two"):
        roots.create(id, image, job=JOB)
    place = roots.get("one", job=JOB)
    told = dict(roots.status())
    assert told == {
        "Driver": driver,
        "Root Dir": str(store.settings.store / "roots"),
        "Roots": "2",
        "Shown": "0" if driver == "directory" else "1",
    }
    roots.cleanup()
    assert not mountinfo.is_target(place)
    assert store.mounts() == []
    assert sorted(roots.ids()) == ["one", "two"]


def test_G17_an_image_stays_as_long_as_a_root_needs_it(store: Store, roots: Roots, driver: str, tmp_path: Path) -> None:
    roots.create("one", base(store), job=JOB)
    (roots.get("one", job=JOB) / "new").write_text("1")
    roots.put("one")
    store.remove(A)
    store.gc(derived=True)
    assert store.fsck().findings == ()
    assert store.names() == []
    with opened(tmp_path / "store") as again:
        other = again.graph.roots("directory")  # a root keeps the driver that it was made by
        check_base(other.get("one", job=JOB))
        assert (other.get("one", job=JOB) / "new").read_text() == "1"
        other.cleanup()
        other.remove("one")
        again.gc()
        assert list(again.settings.store.glob("blobs/sha256/*")) == []


def test_G19_what_a_crash_left_of_a_root_is_replaced(store: Store, roots: Roots) -> None:
    left = store.settings.store / "roots/one/root"
    left.mkdir(parents=True)
    (left / "half").write_text("made")
    assert not roots.exists("one")
    roots.create("one", base(store), job=JOB)
    check_base(roots.get("one", job=JOB))
    assert not (roots.get("one", job=JOB) / "half").exists()


def test_G17_of_two_who_make_one_root_at_once_one_does(store: Store, tmp_path: Path) -> None:
    add(store, A, files={f"file{number}": b"x" * 4096 for number in range(500)})
    with opened(tmp_path / "store") as other, ThreadPoolExecutor(4) as pool:
        makers = [each.graph.roots("directory") for each in (store, other)] * 2
        for _ in range(5):
            made = list(pool.map(lambda roots: _made(roots, A), makers))
            assert sorted(made) == [False, False, False, True]
            assert len(os.listdir(store.graph.roots("directory").get("one", job=JOB))) == 500
            makers[0].remove("one")


def _made(roots: Roots, image: str) -> bool:
    try:
        roots.create("one", image, job=JOB)
    except Conflict:
        return False
    return True


def test_G17_a_collection_beside_it_takes_nothing_of_a_root(store: Store) -> None:
    add(store, A, files={"file": b"x"})
    roots = store.graph.roots("directory")

    def collect(event: Event) -> None:
        if event.kind != "wait":
            if store.graph.exists(A):
                store.untag(A)
            store.gc()

    roots.create("one", A, job=Job(progress=collect))
    store.gc()
    assert roots.ids() == ["one"]
    assert store.fsck().findings == ()
    assert os.listdir(roots.get("one", job=JOB)) == ["file"]
