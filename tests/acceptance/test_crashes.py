"""A pull that is killed, over and over, and many at once: nothing is fetched twice, nothing is torn."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

from orlop.blobs.partial import Partials
from orlop.disk.disk import Disk
from tests.support.images import make_image, make_layer
from tests.support.stores import opened
from tests.support.throttled import throttled

_PROCESSES = 64


def _pull(store: Path, host: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "orlop",
            "--store",
            str(store),
            "pull",
            "-q",
            "--insecure",
            host,
            f"docker://{host}/app:1",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_ST07_a_pull_killed_at_random_never_fetches_again_what_it_had(tmp_path: Path) -> None:
    layers = [make_layer({f"file{number}": os.urandom(size)}) for number, size in enumerate((6 << 20, 3 << 20, 1000))]
    image = make_image(layers)
    store, chance = tmp_path / "store", random.Random(20261125)
    kept: dict[str, int] = {}
    killed = 0
    with throttled({"1": image}, rate=2.5e6) as registry:
        while True:
            registry.starts.clear()
            process = _pull(store, registry.host)
            try:
                out, err = process.communicate(timeout=chance.uniform(0.25, 0.9))
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                killed += 1
            else:
                assert (process.returncode, err) == (0, "")
                assert out.strip() == image.digest
                break
            finally:
                for path, start in registry.starts:
                    assert start >= kept.get(path, 0), "a range that was kept came again"
            for layer in image.document.layers:
                partial = Partials(Disk(store)).kept(layer.digest) if store.exists() else 0
                there = layer.size if (store / f"blobs/sha256/{layer.digest.encoded}").exists() else partial
                path = f"/v2/app/blobs/{layer.digest}"
                assert there >= kept.get(path, 0), "what was kept is gone"
                kept[path] = there
            assert killed < 60, "it does not get on"
    assert killed >= 3
    with opened(store) as mine:
        assert mine.fsck().findings == ()
        assert mine.df().partial_bytes == 0
    assert list((store / "sessions").iterdir()) == []


def test_ST08_64_processes_make_one_download_of_each_blob(tmp_path: Path) -> None:
    layers = [make_layer({f"file{number}": os.urandom(2 << 20)}) for number in range(3)]
    image = make_image(layers)
    with throttled({"1": image}, rate=4e6) as registry:
        processes = [_pull(tmp_path / "store", registry.host) for _ in range(_PROCESSES)]
        ended = [process.communicate(timeout=200) for process in processes]
        assert [process.returncode for process in processes] == [0] * _PROCESSES, [err for _, err in ended if err][:3]
        assert {out.strip() for out, _ in ended} == {image.digest}
        for layer in image.document.layers:
            assert registry.times_asked(f"/v2/app/blobs/{layer.digest}") == 1
    with opened(tmp_path / "store") as store:
        assert store.fsck().findings == ()
        assert store.names() == [f"{registry.host}/app:1"]


def test_ST08_another_process_takes_over_from_one_that_was_killed(tmp_path: Path) -> None:
    image = make_image([make_layer({"file": os.urandom(4 << 20)})])
    layer = image.document.layers[0]
    path = f"/v2/app/blobs/{layer.digest}"
    with throttled({"1": image}, rate=2e6) as registry:
        first = _pull(tmp_path / "store", registry.host)
        while not registry.times_asked(path):
            time.sleep(0.02)
        second = _pull(tmp_path / "store", registry.host)
        time.sleep(0.8)
        first.kill()
        first.communicate()
        _, err = second.communicate(timeout=60)
        assert (second.returncode, err) == (0, "")
        assert registry.times_asked(path) == 2
        assert registry.blobs_sent(path)[-1].start > 0
    with opened(tmp_path / "store") as store:
        assert store.fsck().findings == ()


def test_a_big_layer_on_a_slow_line_comes_in_parallel_ranges(tmp_path: Path) -> None:
    layer = make_layer({"file": os.urandom(40 << 20)})
    image = make_image([layer], compression="none")
    digest = image.document.layers[0].digest
    with throttled({"1": image}, rate=6e6) as registry:
        process = _pull(tmp_path / "store", registry.host)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        sent = registry.blobs_sent(f"/v2/app/blobs/{digest}")
    assert len(sent) >= 2
    # what a stream had in flight when another took its later half is lost: far less than that half
    assert sum(each.size for each in sent) < len(layer) * 1.15
    with opened(tmp_path / "store") as store:
        assert store.fsck().findings == ()
