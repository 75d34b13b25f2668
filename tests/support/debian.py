"""A real image: Debian's own base system by debootstrap, kept in `.cache/` of the checkout between runs."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

from .images import make_image, make_layer, write_layout

CACHE = Path(__file__).parents[2] / ".cache"
_SUITE = "bookworm"
_MIRROR = "http://deb.debian.org/debian"
TAG = "12"


def debian_layout() -> Path:
    """An OCI layout with one image, tagged `TAG`: the base system, and a layer that changes it. Needs root and,
    the first time, Debian's mirror and about a minute."""
    CACHE.mkdir(exist_ok=True)
    layout = CACHE / f"{_SUITE}.layout"
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not layout.exists():
            made = CACHE / f"{_SUITE}.making"
            shutil.rmtree(made, ignore_errors=True)
            _make(made)
            made.rename(layout)
    return layout


def _make(layout: Path) -> None:
    root = CACHE / f"{_SUITE}.root"
    shutil.rmtree(root, ignore_errors=True)
    command = ["/usr/sbin/debootstrap", "--variant=minbase", _SUITE, str(root), _MIRROR]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C"})
    shutil.rmtree(root / "var/cache/apt/archives", ignore_errors=True)
    shutil.rmtree(root / "var/lib/apt/lists", ignore_errors=True)
    tar = ["/bin/tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--sort=name", "-C", str(root), "-c", "."]
    base = subprocess.run(tar, check=True, capture_output=True).stdout
    change = make_layer(
        {"etc/motd": b"changed\n", "usr/share/doc/.wh.tar": b"", "opt/.wh..wh..opq": b"", "opt/x": b"y"}
    )
    write_layout(layout, {TAG: make_image([base, change])})
    shutil.rmtree(root)
