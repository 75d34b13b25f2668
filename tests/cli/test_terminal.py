"""What people see: the program in a real terminal."""

from __future__ import annotations

import io
import os
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.rootfs.mountinfo import mounts
from tests.support.images import make_image, make_layer, write_layout
from tests.support.processes import wait_for_process, wait_until_idle
from tests.support.programs import make_root
from tests.support.terminal import Terminal, terminal
from tests.support.throttled import Throttled, throttled

PROGRAM = [sys.executable, "-m", "orlop"]


@pytest.fixture(scope="module")
def registry() -> Iterator[Throttled]:
    """`app:big` has three layers, each of which takes a minute."""
    image = make_image([make_layer({"noise": os.urandom(60 << 20)}) for _ in range(3)], compression="none")
    with throttled({"big": image}, rate=1 << 20) as server:
        yield server


def environment(place: Path) -> dict[str, str]:
    return {
        "PYTHONPATH": ":".join(entry for entry in sys.path if entry),
        "HOME": str(place),
        "ORLOP_STORE": str(place / "store"),
    }


def pulling(registry: Throttled) -> list[str]:
    return [*PROGRAM, "pull", "--insecure", registry.host, f"docker://{registry.host}/app:big"]


def bars(lines: list[str]) -> list[str]:
    return [line for line in lines if "MB" in line and "━" in line]


def drawn(opened: Terminal) -> list[str]:
    return opened.wait(lambda lines: len(bars(lines)) >= 4 and any("total 0/3" in line for line in lines))


@pytest.mark.peer
@pytest.mark.parametrize("columns", [80, 40])
def test_an_interrupted_pull_takes_its_bars_away(registry: Throttled, tmp_path: Path, columns: int) -> None:
    with terminal(pulling(registry), environment(tmp_path), columns=columns) as opened:
        drawn(opened)
        opened.press("C-c")
        lines = opened.wait_for("ended 130")
    assert bars(lines) == []
    told = "orlop: stopped before it was done; what was fetched is kept; run it again to go on"
    assert "".join(lines).replace(" ", "") == f"{told}ended 130".replace(" ", "")


@pytest.mark.peer
def test_a_pull_that_does_not_stop_says_what_a_second_interrupt_does(tmp_path: Path) -> None:
    """Opening a pipe that nobody writes to waits without looking at the job, until it is overdue."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with terminal([*PROGRAM, "pull", f"oci-archive:{pipe}"], environment(tmp_path)) as opened:
        wait_until_idle(wait_for_process("pull", f"oci-archive:{pipe}"))
        opened.press("C-c")
        opened.wait_for("orlop: stopping; once more ends at once")
        time.sleep(0.6)  # what comes sooner is an echo of the first
        opened.press("C-c")
        lines = opened.wait(lambda lines: any("ended" in line for line in lines))
    assert lines[-1] == "ended 130"


@pytest.mark.peer
def test_a_pull_goes_on_with_what_was_fetched(registry: Throttled, tmp_path: Path) -> None:
    with terminal(pulling(registry), environment(tmp_path)) as opened:
        opened.wait(lambda lines: len(bars(lines)) == 4 and not any(" 0.0/" in line for line in lines))
        opened.press("C-c")
        opened.wait_for("ended 130")
    registry.starts.clear()
    with terminal(pulling(registry), environment(tmp_path)) as opened:
        opened.wait(lambda _: sum(start > 0 for path, start in registry.starts if "/blobs/" in path) == 3)


def with_shell(place: Path) -> str:
    """A reference to an image with sh and sleep."""
    root, packed = make_root(place / "root", "sleep", "sh"), io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(root, arcname=".")
    return f"oci:{write_layout(place / 'shelf', {'1': make_image([packed.getvalue()])})}:1"


@pytest.mark.root
@pytest.mark.peer
def test_a_command_that_heeds_no_signal_is_killed_by_the_second(tmp_path: Path) -> None:
    running = [*PROGRAM, "run", with_shell(tmp_path), "sh", "-c", "echo begun; exec sleep 600"]
    with terminal(running, environment(tmp_path)) as opened:
        opened.wait_for("begun")
        for _ in range(60):
            opened.press("C-c")
            time.sleep(0.7)  # what comes sooner is an echo of the first
            if any("ended" in line for line in opened.screen()):
                break
        lines = opened.screen()
    assert lines[-2].endswith("note: asked twice: the command is killed")
    assert lines[-1] == "ended 130"
    assert not [mount for mount in mounts() if str(mount.target).startswith(str(tmp_path))]


@pytest.mark.root
@pytest.mark.peer
def test_one_interrupt_is_the_commands_own(tmp_path: Path) -> None:
    script = "trap 'echo heeded; exit 9' INT; echo begun; while :; do sleep 0.1; done"
    with terminal([*PROGRAM, "run", with_shell(tmp_path), "sh", "-c", script], environment(tmp_path)) as opened:
        opened.wait_for("begun")
        opened.press("C-c")
        lines = opened.wait_for("ended 9")
    assert "heeded" in lines[-2]


@pytest.mark.peer
def test_a_plan_fits_the_terminal_and_counts_what_was_kept(registry: Throttled, tmp_path: Path) -> None:
    with terminal(pulling(registry), environment(tmp_path)) as opened:
        opened.wait(lambda lines: len(bars(lines)) == 4 and not any(" 0.0/" in line for line in lines))
        opened.press("C-c")
        opened.wait_for("ended 130")
    with terminal([*pulling(registry), "--dry-run"], environment(tmp_path), columns=100) as opened:
        lines = opened.wait_for("ended 0")
    assert lines[0].split() == ["BLOB", "SIZE", "KEPT"]
    assert max(len(line) for line in lines[:4]) < 40
    assert " here already" in lines[4]
    assert " 0 B here already" not in lines[4]


@pytest.mark.peer
@pytest.mark.parametrize(("columns", "speed"), [(80, True), (60, True), (59, False), (40, False), (30, False)])
def test_a_bar_is_a_line_however_narrow_the_terminal(
    registry: Throttled, tmp_path: Path, columns: int, speed: bool
) -> None:
    with terminal(pulling(registry), environment(tmp_path), columns=columns) as opened:
        lines = drawn(opened)
    assert len(lines) == len(bars(lines)) == 4, lines
    assert max(len(line) for line in lines) <= columns - 2  # ^C has room
    for line in lines:
        assert bool(line.rpartition(" MB")[2]) == speed
        assert "…" not in line
        assert line.rpartition("━")[2].strip().partition("/")[2]
