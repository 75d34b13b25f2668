"""The program as a process: what it imports, how soon it starts, signals, pipes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import IMAGE
from tests.support.command_line import Orlop
from tests.support.images import make_image, make_layer, write_layout
from tests.support.processes import wait_until_idle


def environment(**more: str) -> dict[str, str]:
    return {"PYTHONPATH": ":".join(entry for entry in sys.path if entry), "PATH": os.defpath, **more}


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
    with subprocess.Popen(command, env=told, stderr=subprocess.PIPE, text=True) as process:
        # it opens a pipe that nobody writes to, which no job can end
        wait_until_idle(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        # only when it has said so is another one a second one
        assert any("stopping" in line for line in iter(process.stderr.readline, ""))
        time.sleep(0.7)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 143
    assert "what was fetched is kept" not in err


def test_an_interrupt_ends_the_wait_for_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for _ in range(5):
        command = [sys.executable, "-m", "orlop", "pull", f"oci-archive:{pipe}"]
        told = environment(ORLOP_STORE=str(tmp_path / "store"))
        with subprocess.Popen(command, env=told, stderr=subprocess.PIPE, text=True) as process, pipe.open("wb"):
            process.send_signal(signal.SIGINT)  # as it comes back from opening
            _, err = process.communicate(timeout=60)
        assert (process.returncode, "stopping" in err) == (130, True), err


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
