"""Several at once: one ID, one lock, and a collection beside it all."""

from __future__ import annotations

import io
import subprocess
import threading
from pathlib import Path

import pytest

from orlop.errors import Cancelled, Conflict, NotFound
from orlop.job import Job
from orlop.store import Store
from tests.support.images import make_layer
from tests.support.stores import kill, opened, start_python
from tests.support.v1images import JOB, A, B, C, D, add, v1

REGISTER = """
import io, sys
from pathlib import Path
from orlop.errors import Conflict
from orlop.job import Job
from tests.support.images import make_layer
from tests.support.stores import opened
from tests.support.v1images import v1
with opened(Path(sys.argv[1])) as store:
    layer = io.BytesIO(make_layer({"who": sys.argv[2].encode() * 1000}))
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        store.graph.register(v1("a" * 64, comment=sys.argv[2]), layer, job=Job())
        print("won")
    except Conflict:
        print("lost")
"""
LOCK = """
import sys
from pathlib import Path
from orlop.job import Job
from orlop.model.v1 import ImageId
from tests.support.stores import opened
with opened(Path(sys.argv[1])) as store, store.graph.lock(ImageId("a" * 64), Job()):
    print("locked", flush=True)
    sys.stdin.readline()
"""


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_G03_of_many_processes_one_registers_and_the_others_are_told(store: Store, tmp_path: Path) -> None:
    processes = [start_python(REGISTER, tmp_path / "store", f"process {number}") for number in range(6)]
    assert [line(process) for process in processes] == ["ready"] * 6
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate()[0].strip() for process in processes]
    assert sorted(answers) == ["lost"] * 5 + ["won"]
    winner = f"process {answers.index('won')}"
    assert store.graph.get(A).image.comment == winner
    store.unpack(A, tmp_path / "out")
    assert (tmp_path / "out/who").read_text() == winner * 1000
    # of those who lost nothing is left
    assert store.gc().removed == ()
    assert store.fsck().findings == ()


def test_F08_the_lock_of_an_image_is_one_over_processes_and_ends_with_its_holder(store: Store, tmp_path: Path) -> None:
    holder = start_python(LOCK, tmp_path / "store")
    assert line(holder) == "locked"
    waiting, got = Job(), threading.Event()

    def wait() -> None:
        with store.graph.lock(A, JOB):
            got.set()

    thread = threading.Thread(target=wait)
    thread.start()
    with store.graph.lock(B, JOB):  # another image's is free
        assert not got.is_set()
    waiting.stop()
    with pytest.raises(Cancelled), store.graph.lock(A, waiting):
        raise AssertionError("two have it")
    kill(holder)
    thread.join()
    assert got.is_set()
    with store.graph.lock(A, JOB):
        pass
    assert not list((tmp_path / "store/locks").glob("v1-*"))


def add_child(path: Path, failures: list[NotFound]) -> None:
    with opened(path) as other:
        try:
            add(other, B, parent=A, files={"top": b"top"})
        except NotFound as error:
            failures.append(error)


def test_G05_a_parent_that_goes_meanwhile_takes_nothing_from_its_child(store: Store, tmp_path: Path) -> None:
    """Whichever is first: the child is whole, or is told that its parent is not there."""
    for number in range(8):
        add(store, A, files={"base": bytes(1000) + bytes([number])})
        failures: list[NotFound] = []
        thread = threading.Thread(target=add_child, args=(tmp_path / "store", failures))
        thread.start()
        store.graph.delete(A, job=JOB)
        store.gc()
        thread.join()
        assert store.graph.exists(B) != bool(failures)
        if not failures:
            store.unpack(B, tmp_path / f"out{number}")
            assert (tmp_path / f"out{number}/base").exists()
            store.graph.delete(B, job=JOB)
        assert store.fsck().findings == ()


def test_G02_collections_take_nothing_of_what_is_on_its_way(store: Store, tmp_path: Path) -> None:
    done = threading.Event()

    def collect() -> None:
        with opened(tmp_path / "store") as other:
            while not done.is_set():
                other.gc()

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        for number in range(15):
            for id, parent in ((A, ""), (B, A), (C, B)):
                add(store, id, parent=parent, files={"x": f"{id}{number}".encode() * 5000})
            store.graph.register(v1(D, C), io.BytesIO(make_layer({"d": b""})), job=JOB)
            assert [node.image.id for node in store.graph.chain(D)] == [A, B, C, D]
            assert store.fsck().findings == ()
            with pytest.raises(Conflict):
                add(store, D, parent=C, files={"x": b""})
            for id in (D, B, A, C):
                store.graph.delete(id, job=JOB)
    finally:
        done.set()
        thread.join()
