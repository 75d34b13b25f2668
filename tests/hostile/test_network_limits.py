"""Pulls with little: few descriptors, decoders that are left in the middle, lists and layers without end."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from orlop.errors import Cancelled, Error, Invalid
from orlop.job import Job
from orlop.streams import Inflated
from tests.support.images import Compression, compress, make_image, make_layer
from tests.support.lying import Lying, serve_image
from tests.support.registries import Authority
from tests.support.soak import times
from tests.support.stores import opened
from tests.support.throttled import throttled

NOISE = random.Random(5)
IMAGE = make_image([make_layer({f"noise{number}": NOISE.randbytes(300_000)}) for number in range(8)])


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("descriptors", [32, *range(12, 31, times(6, 1))])
def test_ST05_a_pull_with_few_descriptors_comes_or_says_why(tmp_path: Path, descriptors: int, tls: bool) -> None:
    authority = Authority(tmp_path)
    with Lying(tls=authority.server("127.0.0.1") if tls else None) as registry:
        serve_image(registry, IMAGE)
        store = tmp_path / "store"
        arguments = ["--ca-file", str(authority.file)] if tls else ["--insecure", registry.host]
        command = [sys.executable, "-m", "orlop", "--store", str(store), "--progress", "none", "pull", "--retry", "1"]
        command += [*arguments, f"docker://{registry.host}/app:1"]
        limited = ["/bin/bash", "-c", f'ulimit -n {descriptors}; exec "$@"', "bash", *command]
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        done = subprocess.run(limited, capture_output=True, text=True, timeout=120, env=environment)
        if done.returncode:
            assert descriptors < 32, done.stderr
            assert "Traceback" not in done.stderr, done.stderr
            # what could not be cleared away is said in a line of its own
            assert [line.partition(": ")[0] for line in done.stderr.splitlines()].count("orlop") == 1, done.stderr
            assert "too many open files" in done.stderr
            assert subprocess.run(command, capture_output=True, timeout=120, env=environment).returncode == 0
        with opened(store) as mine:
            assert mine.fsck().findings == ()
            assert [image.digest for image in mine.images()] == [IMAGE.digest]


class Halting:
    """Gives some bytes, then fails or never ends."""

    def __init__(self, content: bytes, error: Error | None) -> None:
        self._content = content
        self._error = error
        self.reads = 0

    def read(self, size: int, /) -> bytes:
        self.reads += 1
        data, self._content = self._content[: min(size, 5000)], self._content[min(size, 5000) :]
        if not data and self._error:
            raise self._error
        return data


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_RX05_a_decoder_left_in_the_middle_holds_nothing_up(compression: Compression) -> None:
    packed = compress(NOISE.randbytes(200_000) + bytes(3 << 20), compression)
    for cut in range(0, len(packed) - 1, len(packed) // 40):
        half = Inflated(Halting(packed[:cut], Cancelled("stopped")))
        with pytest.raises(Cancelled):
            while half.read(1 << 16):
                pass
        left = Inflated(Halting(packed, None))
        left.read(1000)  # and nothing more: no thread, no lock, nothing to close
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("orlop")] == []


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_RX05_a_pull_stopped_or_broken_in_the_middle_of_a_layer_ends(tmp_path: Path, compression: Compression) -> None:
    good = make_image([make_layer({"noise": NOISE.randbytes(4 << 20)})], compression=compression)
    broken = make_image([b"\xff" * 512 + NOISE.randbytes(4 << 20)], compression=compression)
    with throttled({"good": good, "broken": broken}, rate=8 << 20) as registry:
        with opened(tmp_path / "store", insecure=[registry.host]) as store:
            job = Job(progress=lambda event: job.stop() if event.kind == "progress" and event.done > 1 << 20 else None)
            with pytest.raises(Cancelled):
                store.pull(f"docker://{registry.host}/app:good", job=job)
            with pytest.raises(Invalid, match="tar header"):
                store.pull(f"docker://{registry.host}/app:broken")
            assert [thread.name for thread in threading.enumerate() if thread.name.startswith("orlop")] == []
            assert store.pull(f"docker://{registry.host}/app:good").digest == good.digest
            assert store.fsck().findings == ()
