"""The program as a process: what it imports, how soon it starts, signals, pipes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import IMAGE
from tests.support.command_line import Orlop
from tests.support.images import make_image, make_layer, write_layout

FORBIDDEN = (
    "rich",
    "asyncio",
    "ssl",
    "sqlite3",
    "json",
    "http",
    "socket",
    "logging",
    "subprocess",
    "tarfile",
    "hashlib",
)
# our own modules that the command line may import before it knows the command, and for `pull`
OURS = {"orlop", "orlop.cli", "orlop.cli.main", "orlop.errors"}
OURS_TO_PULL = OURS | {f"orlop.cli.{name}" for name in ("app", "lazy", "options", "output", "pull", "root")}


def environment(**more: str) -> dict[str, str]:
    return {"PYTHONPATH": ":".join(entry for entry in sys.path if entry), "PATH": os.defpath, **more}


def imported(code: str) -> set[str]:
    whole = f"import sys; before = set(sys.modules)\n{code}\nprint(*sorted(set(sys.modules) - before), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", whole], env=environment(), capture_output=True, text=True, check=True, timeout=30
    )
    return set(done.stderr.split())


def test_the_version_needs_next_to_nothing() -> None:
    code = "sys.argv = ['orlop', '--version']\nfrom orlop.cli.main import main\ntry: main()\nexcept SystemExit: pass"
    modules = imported(code)
    assert {name for name in modules if name.startswith("orlop")} == OURS
    assert "click" not in modules
    assert not modules & set(FORBIDDEN)
    assert len(modules) < 45, sorted(modules)


def test_building_the_pull_command_imports_nothing_heavy() -> None:
    modules = imported("from orlop.cli.main import run\nrun(['pull', '--help'])")
    assert {name for name in modules if name.startswith("orlop")} == OURS_TO_PULL
    assert not modules & set(FORBIDDEN)
    assert len(modules) < 120, sorted(modules)


def test_a_pull_from_a_layout_imports_neither_server_nor_bars(layout: Path, tmp_path: Path) -> None:
    modules = imported(
        "from orlop.cli.main import run\n"
        f"assert run(['--store', {str(tmp_path / 's')!r}, '-q', 'pull', 'oci:{layout}:one']) == 0"
    )
    assert not modules & {"rich", "asyncio", "granian", "orlop.serve", "orlop.bundle", "orlop.cli.demo"}


# Seconds of processor time, the best of five: time on the clock says little while other tests run. On an idle machine
# the version is there after 30 ms, the first question after 130 ms.
VERSION_SECONDS = 0.08
FIRST_QUESTION_SECONDS = 0.25


def test_the_version_is_told_at_once() -> None:
    command = [sys.executable, "-m", "orlop", "--version"]
    used = []
    for _ in range(5):
        process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL)
        used.append(_seconds(process))
    assert min(used) < VERSION_SECONDS


def test_a_pull_asks_its_first_question_soon(tmp_path: Path) -> None:
    used = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        for number in range(5):
            process = _pull(listening, tmp_path / str(number))
            connection, _ = listening.accept()
            process.kill()
            connection.close()
            for pipe in (process.stdout, process.stderr):
                assert pipe is not None
                pipe.close()
            used.append(_seconds(process))
    assert min(used) < FIRST_QUESTION_SECONDS


def _seconds(process: subprocess.Popen[Any]) -> float:
    """Processor time of a process that has ended or will."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    image = make_image([make_layer({"big": bytes(4_000_000)})])
    shelf = write_layout(tmp_path / "shelf", {"1": image})
    orlop = Orlop(tmp_path / "store")
    assert orlop("pull", f"oci:{shelf}:1").status == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "orlop", "-q", "export", "localhost/shelf:1"],
        env=environment(ORLOP_STORE=str(orlop.store)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 141


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_the_work_and_says_what_is_kept(tmp_path: Path, number: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, _pull(listening, tmp_path) as process:
        connection, _ = listening.accept()
        with connection:
            connection.recv(1)  # it has asked, and waits for an answer that does not come
            process.send_signal(number)
            _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "orlop: stopping; once more ends at once\n" in err
    assert "what was fetched is kept" in err
    assert "Traceback" not in err


def test_a_second_interrupt_ends_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "orlop", "pull", f"oci-archive:{pipe}"]
    told = environment(ORLOP_STORE=str(tmp_path / "store"))
    with subprocess.Popen(command, env=told, stderr=subprocess.PIPE, text=True) as process, pipe.open("wb"):
        # it has opened the pipe, and reads what does not come without looking at the job
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        # only when it has said so is another one a second one
        assert any("stopping" in line for line in iter(process.stderr.readline, ""))
        time.sleep(0.7)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 143
    assert "what was fetched is kept" not in err


def test_an_interrupt_that_comes_twice_at_once_is_one(tmp_path: Path) -> None:
    """`timeout -s INT` signals its child and then the group."""
    with socket.create_server(("127.0.0.1", 0)) as listening, _pull(listening, tmp_path) as process:
        connection, _ = listening.accept()
        with connection:
            connection.recv(1)
            process.send_signal(signal.SIGINT)
            time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.count("orlop: stopping") == 1
    assert "what was fetched is kept" in err


def _pull(listening: socket.socket, tmp_path: Path) -> subprocess.Popen[str]:
    address = f"127.0.0.1:{listening.getsockname()[1]}"
    return subprocess.Popen(
        [sys.executable, "-m", "orlop", "pull", "--insecure", address, f"docker://{address}/x"],
        env=environment(ORLOP_STORE=str(tmp_path / "store"), HOME=str(tmp_path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_results_and_messages_do_not_mix(layout: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "orlop", "--progress", "json", "pull", f"oci:{layout}:one"],
        env=environment(ORLOP_STORE=str(tmp_path / "s")),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{IMAGE.digest}\n"
    assert all(line.startswith("{") for line in done.stderr.splitlines())
