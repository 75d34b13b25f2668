"""Times every way from an empty store to a usable root, in turn, each on a fresh journaled ext4 of its own.

    python -m bench.run [ROUNDS]

As root, on a quiet machine. Writes `docs/benchmarks.md`, its chart, and the table of the README. Wall seconds are of
the commands as typed, start-up included; the clock stops when they return. Then the file system is synced and the
time of that is given apart.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.registries import docker_registry

from . import small
from .bounds import bounds, steps
from .image import CACHE, TAG, layout
from .measure import compile_sources, measure
from .peers import WAYS
from .report import Figures, Findings, write
from .startup import startup


def main(rounds: int) -> None:
    compile_sources()
    source, results = layout(), {way.name: Figures() for way in WAYS}
    started = startup()
    with tempfile.TemporaryDirectory(dir=CACHE) as folder, docker_registry(Path(folder), Path(folder) / "s") as host:
        copy = ["/usr/bin/skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", f"oci:{source}:{TAG}"]
        subprocess.run([*copy, f"docker://{host}/bench:1"], check=True, stdout=subprocess.DEVNULL)
        for number in range(rounds):
            for way in WAYS:
                measure(way, host, results[way.name])
                print(f"{number + 1}/{rounds} {way.name}: {results[way.name].wall[-1]:.2f} s", flush=True)
    write(Findings(source, rounds, results, bounds(source), steps(source), started))
    small.main()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
