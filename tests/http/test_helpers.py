"""Credential helpers are run with care (CR09)."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from orlop.errors import Denied, Error, Invalid, Unavailable
from orlop.http.helpers import ask
from tests.support.lying import CANARY


def helper(folder: Path, script: str, name: str = "x") -> str:
    file = folder / f"docker-credential-{name}"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return str(folder)


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a b", "x;y", "x\n", "$(x)", "é"])
def test_CR09_odd_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Invalid, match="name"):
        ask(name, "reg", path=str(tmp_path))


@pytest.mark.parametrize("server", ["reg\nother", "reg other", "", "reg\0", "rég", "reg;x"])
def test_CR09_odd_hosts_do_not_reach_a_helper(tmp_path: Path, server: str) -> None:
    folder = helper(tmp_path, f"touch {tmp_path}/ran")
    with pytest.raises(Invalid, match="host"):
        ask("x", server, path=folder)
    assert not (tmp_path / "ran").exists()


def test_CR09_the_working_directory_and_relative_places_are_not_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    helper(folder, f"touch {tmp_path}/ran")
    monkeypatch.chdir(folder)
    for path in (".", "", ":", "..:here", "../here", f"{tmp_path}/none"):
        with pytest.raises(Denied, match="not found"):
            ask("x", "reg", path=path)
    assert not (tmp_path / "ran").exists()


def test_CR09_a_helper_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    folder = helper(tmp_path, f"sleep 300 & echo $! > {tmp_path}/child; wait")
    began = time.monotonic()
    with pytest.raises(Unavailable):
        ask("x", "reg", path=folder, timeout=0.5)
    assert time.monotonic() - began < 3
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 5
    while _alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_CR09_endless_output_is_cut_off(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="more than 65536 bytes"):
        ask("x", "reg", path=helper(tmp_path, "yes"))


@pytest.mark.parametrize(
    "script",
    [
        f"echo {CANARY}; exit 1",
        f"echo {CANARY} >&2; exit 1",
        f"echo {CANARY}",
        f'echo \'{{"Username":1,"Secret":"{CANARY}"}}\'',
    ],
)
def test_CR09_what_a_failed_helper_printed_is_not_shown(
    tmp_path: Path, script: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Error) as failure:
        ask("x", "reg", path=helper(tmp_path, script))
    assert CANARY not in str(failure.value)
    assert CANARY not in "".join(capfd.readouterr())


def test_a_helper_that_has_none_says_so(tmp_path: Path) -> None:
    folder = helper(tmp_path, "echo 'credentials not found in native keychain'; exit 1")
    assert ask("x", "reg", path=folder) is None


def test_a_helper_gets_the_host_on_its_input_and_get_as_its_argument(tmp_path: Path) -> None:
    folder = helper(
        tmp_path, f'echo "$*" > {tmp_path}/args; cat > {tmp_path}/in; echo \'{{"Username":"u","Secret":"s"}}\''
    )
    assert ask("x", "reg.example:5000", path=os.pathsep.join(["/none", folder])) == ("u", "s")
    assert (tmp_path / "args").read_text() == "get\n"
    assert (tmp_path / "in").read_text() == "reg.example:5000"


def test_a_helper_that_does_not_read_is_no_problem(tmp_path: Path) -> None:
    assert ask("x", "reg", path=helper(tmp_path, 'exec <&-; echo \'{"Username":"u","Secret":"s"}\'')) == ("u", "s")
