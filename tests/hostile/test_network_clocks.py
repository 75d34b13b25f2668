"""A clock that is wrong, and one that is set while a pull runs: nothing depends on it but what a certificate says."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.images import small_image
from tests.support.lying import Answer, Handler, Lying, Seen, challenge, serve_image
from tests.support.registries import Authority, docker_config

FAKETIME = "/usr/bin/faketime"
IMAGE = small_image()
DAYS = [-400, 400]
REAL = {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}


def orlop(folder: Path, clock: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The program under a clock that libfaketime gives it."""
    command = [FAKETIME, "-f", clock, sys.executable, "-m", "orlop", "--store", str(folder / "store"), "-v"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **REAL, **more}
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120, env=environment)


def with_tokens(registry: Lying, life: str) -> list[str]:
    """Let the registry want a token of its own, that is good for its next answer only; returns those it gave."""
    given: list[str] = []
    good: set[str] = set()

    def token(request: Seen) -> Answer:
        given.append(f"t{len(given)}")
        good.add(given[-1])
        return Answer(200, f'{{"token":"{given[-1]}",{life}}}'.encode())

    def guarded(answer: Callable[[Seen], Answer]) -> Handler:
        def handler(request: Seen) -> Answer:
            mine = request.header("authorization").removeprefix("Bearer ")
            if mine not in good:
                return challenge(f'Bearer realm="{registry.url}/token",service="s"')
            good.discard(mine)
            return answer(request)

        return handler

    registry.on("/token", token)
    for path in [path for path in registry.paths if path.startswith("/v2/")]:
        registry.on(path, guarded(registry.answer_at(path)))
    return given


@pytest.mark.parametrize("days", DAYS)
@pytest.mark.parametrize(
    "life",
    [
        '"expires_in":300,"issued_at":"2001-01-01T00:00:00Z"',
        '"expires_in":300,"issued_at":"2999-01-01T00:00:00Z"',
        '"expires_in":-1,"issued_at":"never"',
    ],
)
def test_CR14_a_wrong_clock_makes_no_token_too_old(tmp_path: Path, days: int, life: str) -> None:
    with Lying() as registry:
        serve_image(registry, IMAGE)
        given = with_tokens(registry, life)
        config = docker_config(tmp_path, registry.host)
        network = ("--insecure", registry.host, "--authfile", str(config), f"docker://{registry.host}/app:1")
        done = orlop(tmp_path, f"{days:+}d", "pull", "--jobs", "1", *network)
        assert (done.returncode, done.stdout) == (0, f"{IMAGE.digest}\n"), done.stderr
        # a new one where the last was refused, and no other
        assert len(given) == 1 + len(IMAGE.blobs)


@pytest.mark.parametrize("days", DAYS)
def test_NF13_a_wrong_clock_is_named_when_it_breaks_tls(tmp_path: Path, days: int) -> None:
    authority = Authority(tmp_path)
    day = datetime.timedelta(days=1)
    now = datetime.datetime.now(datetime.UTC)
    context = authority.server("127.0.0.1", not_before=now - 30 * day, not_after=now + 30 * day)
    with Lying(tls=context) as registry:
        serve_image(registry, IMAGE)
        date = now.strftime("%a, %d %b %Y %H:%M:%S GMT")
        registry.on("/", Answer(200, b"", (("Date", date),)))
        arguments = ("pull", "--ca-file", str(authority.file), f"docker://{registry.host}/app:1")
        done = orlop(tmp_path, f"{days:+}d", *arguments)
        assert done.returncode == 1, done.stderr
        assert f"days {'ahead of' if days > 0 else 'behind'} the server's: set it right" in done.stderr
        assert orlop(tmp_path, "+0d", *arguments).returncode == 0


@pytest.mark.parametrize("days", DAYS)
def test_CR14_a_clock_that_is_set_while_a_pull_waits_makes_it_wait_no_longer(tmp_path: Path, days: int) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0d\n")

    def sets(request: Seen) -> Answer:
        clock.write_text(f"{days:+}d\n")
        headers = (("Date", "Thu, 01 Jan 2026 00:00:00 GMT"), ("Retry-After", "Thu, 01 Jan 2026 00:00:01 GMT"))
        return Answer(503, b"", headers)

    with Lying() as registry:
        serve_image(registry, IMAGE)
        path = "/v2/app/manifests/1"
        registry.on(path, sets, registry.answer_at(path))
        environment = {"FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1"}
        library = subprocess.run([FAKETIME, "-f", "+0d", "/usr/bin/env"], capture_output=True, text=True, check=True)
        preload = next(line for line in library.stdout.splitlines() if line.startswith("LD_PRELOAD="))
        environment["LD_PRELOAD"] = preload.partition("=")[2]
        command = [sys.executable, "-m", "orlop", "--store", str(tmp_path / "store"), "pull", "--timeout", "10"]
        command += ["--insecure", registry.host, f"docker://{registry.host}/app:1"]
        environment |= {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **REAL}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
        assert (done.returncode, done.stdout) == (0, f"{IMAGE.digest}\n"), done.stderr
        first, second = (request.when for request in registry.asked(path))
        assert second - first >= 1.0
