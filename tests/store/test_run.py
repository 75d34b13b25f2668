"""Running: what a killed `orlop run` leaves is cleared, once its container has ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orlop.rootfs.mountinfo import mounts
from tests.support.images import make_image, write_layout
from tests.support.programs import make_root
from tests.support.stores import opened


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    root = make_root(tmp_path / "root", "sh", "sleep", "cat")
    plain = subprocess.run(["/bin/tar", "-C", str(root), "-c", "."], check=True, capture_output=True).stdout
    return write_layout(tmp_path / "layout", {"1": make_image([plain])})


def _run(store: Path, *command: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "orlop", "-q", "--store", str(store), "run", "localhost/layout:1", *command]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)


def _below(path: Path) -> list[Path]:
    return [mount.target for mount in mounts() if str(mount.target).startswith(f"{path}/")]


@pytest.mark.root
@pytest.mark.peer
def test_ST07_a_killed_run_neither_locks_the_store_nor_leaves_mounts(tmp_path: Path, layout: Path) -> None:
    place = tmp_path / "store"
    with opened(place) as store:
        store.pull(f"oci:{layout}:1")
    script = "echo ready; sleep 4; cat /etc/passwd > /etc/copy && echo still here > /proc/1/fd/1"
    with _run(place, "/bin/sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.kill()
        process.wait()
        with opened(place) as store:  # the container lives, and has its root
            assert store.names() == ["localhost/layout:1"]
            assert store.gc().removed == ()
            assert len(_below(place)) == 2
        assert process.stdout.readline() == "still here\n"
    deadline = time.monotonic() + 20
    while _below(place) and time.monotonic() < deadline:
        time.sleep(0.2)
        with opened(place):
            pass
    assert _below(place) == []
    assert list((place / "sessions").iterdir()) == []


@pytest.mark.root
@pytest.mark.peer
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_container_and_everything_is_undone(tmp_path: Path, layout: Path, number: int) -> None:
    place = tmp_path / "store"
    with opened(place) as store:
        store.pull(f"oci:{layout}:1")
    script = "trap 'exit 9' TERM INT; echo ready; while :; do sleep 0.1; done"
    with _run(place, "/bin/sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, number)
        assert process.wait(timeout=30) == 9
    assert _below(place) == []
    assert list((place / "sessions").iterdir()) == []
