"""Cuts the power of a machine some time after a tool told success, and looks at what is left of what it did.

    python -m bench.powercut [CUTS [SECONDS]]

As root, with Debian's user-mode-linux. One image of two layers with 200 files of 3,000 bytes, on ext4 with its
defaults. Prints a table; `docs/reliability.md` has the last one. Lost is what is not there, torn what has other bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.images import make_image, make_layer, write_layout
from tests.support.uml import machine, mounted

from orlop.settings import Network, Settings
from orlop.store import Store

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Tool:
    """`command` works at `{place}`, from the layout `{layout}`; `fault` says what is wrong there, "" if nothing."""

    name: str
    command: str
    fault: Callable[[Path, Files], str]


def _files(root: Path, files: Files) -> str:
    if not root.is_dir():
        return "nothing there"
    wrong = sum(not (root / name).is_file() or (root / name).read_bytes() != files[name] for name in files)
    return f"{wrong} of {len(files)} files wrong" if wrong else ""


def _store(place: Path, files: Files) -> str:
    with Store(Settings(store=place / "store", network=Network(home=place))) as store:
        if store.names() != ["localhost/layout:one"]:
            return "name lost"
        if findings := store.fsck().findings:
            return findings[0].text
        store.unpack("localhost/layout:one", place / "tree")
    return _files(place / "tree", files)


def _unpacked(place: Path, files: Files) -> str:
    return _files(place / "tree", files)


def _layout(place: Path, _files: Files) -> str:
    root = place / "layout"
    try:
        index = json.loads((root / "index.json").read_bytes())
        wanted = [index["manifests"][0]["digest"]]
        manifest = json.loads((root / "blobs/sha256" / wanted[0][7:]).read_bytes())
        wanted += [manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])]
        for digest in wanted:
            if hashlib.sha256((root / "blobs/sha256" / digest[7:]).read_bytes()).hexdigest() != digest[7:]:
                return f"{digest[:15]} torn"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name[:15]} lost"
    except ValueError:
        return "JSON torn"
    return ""


def _vfs(place: Path, files: Files) -> str:
    found = [_files(layer, files) for layer in (place / "podman/vfs/dir").glob("*")]
    return min(found, default="nothing there", key=len)


def _podman(place: Path, files: Files) -> str:
    images = place / "podman/vfs-images/images.json"
    if not images.is_file() or not images.read_bytes():
        return "name lost"
    return _vfs(place, files)


ORLOP = f"PYTHONPATH='{os.pathsep.join(sys.path)}' {sys.executable} -m orlop"
PODMAN = "podman --root {place}/podman --runroot /run/podman --storage-driver vfs"
TOOLS = [
    Tool("orlop pull", f"{ORLOP} --store {{place}}/store pull -q oci:{{layout}}:one", _store),
    Tool(
        "orlop pull, unpack",
        f"{ORLOP} --store {{place}}/store pull -q oci:{{layout}}:one && "
        f"{ORLOP} --store {{place}}/store unpack -q localhost/layout:one {{place}}/tree",
        _unpacked,
    ),
    Tool("skopeo copy, to an OCI layout", "skopeo copy -q oci:{layout}:one oci:{place}/layout:one", _layout),
    Tool(
        "umoci unpack",
        "umoci unpack --image {layout}:one {place}/bundle && ln -s bundle/rootfs {place}/tree",
        _unpacked,
    ),
    Tool("podman pull, vfs", f"{PODMAN} pull -q oci:{{layout}}:one", _podman),
]


def cut(tool: Tool, layout: Path, files: Files, seconds: float) -> str:
    """What is wrong after one cut."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = tool.command.format(place=folder / "place", layout=layout)
        script = f"({command}) >/dev/null || exit 1\necho 'acknowledged: it'\nsleep 1000\n"
        with machine(folder, script) as running:
            running.wait(1)
            time.sleep(seconds)
            running.cut()
            with mounted(running) as place:
                return tool.fault(place, files)


def main(cuts: int = 30, seconds: float = 0.3) -> None:
    chance = random.Random(1)
    halves = [{f"{word}{number}": chance.randbytes(3000) for number in range(100)} for word in "ab"]
    image = make_image([make_layer(half) for half in halves])
    files = {**halves[0], **halves[1]}
    print(f"| tool | damaged, of {cuts} cuts {seconds} s after success | what was left, for example |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        layout = write_layout(Path(name) / "layout", {"one": image})
        for tool in TOOLS:
            faults = [fault for _ in range(cuts) if (fault := cut(tool, layout, files, seconds))]
            print(f"| {tool.name} | {len(faults)} | {faults[0] if faults else 'all of it'} |", flush=True)


if __name__ == "__main__":
    main(*(kind(text) for kind, text in zip((int, float), sys.argv[1:], strict=False)))
