"""What is measured: each way from an empty store to a usable root, as the commands a person would type."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_ORLOP = [sys.executable, "-m", "orlop", "-q"]


@dataclass(frozen=True)
class Way:
    """`run(place, host)` does the work below the empty directory `place`; `clean` undoes what outlives it."""

    name: str
    run: Callable[[Path, str], None]
    clean: Callable[[Path], None]


def _call(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _orlop(place: Path, *arguments: str) -> None:
    _call(*_ORLOP, "--store", str(place / "store"), *arguments)


def _mount(place: Path, host: str) -> None:
    _orlop(place, "mount", "--insecure", host, f"docker://{host}/bench:1", str(place / "root"))
    _call("/usr/sbin/chroot", str(place / "root"), "/bin/true")


def _unmount(place: Path) -> None:
    _orlop(place, "umount", str(place / "root"))


def _unpack(place: Path, host: str) -> None:
    _orlop(place, "unpack", "--insecure", host, f"docker://{host}/bench:1", str(place / "root"))


def _unpack_unsynced(place: Path, host: str) -> None:
    """As the peers do it: written out whenever the kernel likes."""
    _orlop(place, "unpack", "--durability", "none", "--insecure", host, f"docker://{host}/bench:1", str(place / "root"))


def _umoci(place: Path, host: str) -> None:
    _call("/usr/bin/skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", f"docker://{host}/bench:1",
          f"oci:{place}/layout:1")  # fmt: skip
    _call("/usr/bin/umoci", "unpack", "--image", f"{place}/layout:1", f"{place}/bundle")


def _podman(place: Path, host: str) -> None:
    _call("/usr/bin/podman", "--root", f"{place}/root", "--runroot", f"{place}/run", "pull", "--tls-verify=false",
          f"{host}/bench:1")  # fmt: skip


def _unshare(place: Path) -> None:
    subprocess.run(["/usr/bin/umount", "-q", f"{place}/root/overlay"], check=False)


def _containerd(place: Path, host: str) -> None:
    config = place / "config.toml"
    lines = [
        "version = 2",
        f'root = "{place}/root"',
        f'state = "{place}/state"',
        'disabled_plugins = ["io.containerd.grpc.v1.cri"]',
        "[grpc]",
        f'address = "{place}/socket"',
    ]
    config.write_text("\n".join(lines) + "\n")
    daemon = subprocess.Popen(["/usr/bin/containerd", "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        while not (place / "socket").exists():
            time.sleep(0.01)
        _call("/usr/bin/ctr", "-a", f"{place}/socket", "image", "pull", "--plain-http", f"{host}/bench:1")
    finally:
        daemon.terminate()
        daemon.wait()


def _nothing(_place: Path) -> None:
    pass


WAYS = (
    Way("orlop mount", _mount, _unmount),
    Way("orlop unpack", _unpack, _nothing),
    Way("orlop unpack, unsynced", _unpack_unsynced, _nothing),
    Way("podman pull", _podman, _unshare),
    Way("containerd, ctr image pull", _containerd, _nothing),
    Way("skopeo copy + umoci unpack", _umoci, _nothing),
)
