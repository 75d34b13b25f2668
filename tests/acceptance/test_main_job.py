"""The main job on a real image: from every kind of source to a running root file system."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from orlop.model.digest import Digest
from tests.acceptance.conftest import skopeo
from tests.support.debian import TAG
from tests.support.lying import CANARY
from tests.support.registries import NAME, USER, Authority, TokenServer, docker_registry, tinyproxy
from tests.support.stranger import Stranger
from tests.support.trees import Snapshot, snapshot

pytestmark = [pytest.mark.peer, pytest.mark.root, pytest.mark.xdist_group("debian")]


def _orlop(store: Path, *arguments: str, environment: dict[str, str] | None = None) -> str:
    """Run the command; it must succeed. Returns stdout. Nothing of this machine's settings reaches it."""
    bare = {"PATH": os.environ["PATH"], "HOME": str(store.parent), **(environment or {})}
    command = [sys.executable, "-m", "orlop", "--store", str(store), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=bare, timeout=120)
    assert done.returncode == 0, done.stderr
    assert CANARY not in done.stdout + done.stderr
    return done.stdout


def _runs(store: Path, reference: str, *options: str, environment: dict[str, str] | None = None) -> None:
    """Pull, mount and look, run and look, and leave nothing mounted."""
    digest = _orlop(store, "pull", *options, reference, environment=environment).strip()
    assert Digest(digest)
    name = _orlop(store, "images", "-q").split()[0]
    with _mounted(store, name) as root:
        assert "Debian GNU/Linux 12" in (root / "etc/os-release").read_text()
        assert (root / "etc/motd").read_text() == "changed\n"
        assert not (root / "usr/share/doc/tar").exists()
    out = _orlop(store, "run", name, "/bin/sh", "-c", "cat /etc/os-release; echo written > /etc/motd; cat /etc/motd")
    assert "Debian GNU/Linux 12" in out
    assert out.endswith("written\n")
    assert str(store) not in Path("/proc/self/mountinfo").read_text()
    assert _orlop(store, "fsck", "--json").count('"kind"') == 0


@contextmanager
def _mounted(store: Path, name: str, *options: str) -> Iterator[Path]:
    root = Path(_orlop(store, "mount", *options, name).strip())
    try:
        yield root
    finally:
        _orlop(store, "umount", str(root))


def test_from_docker_registry(registry: str, tmp_path: Path) -> None:
    _runs(tmp_path / "store", f"docker://{registry}/debian:12", "--insecure", registry)


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "docker-archive"])
def test_from_files_that_skopeo_wrote(layout: Path, tmp_path: Path, transport: str) -> None:
    target = (
        f"{transport}:{tmp_path}/image:debian:12"
        if transport == "docker-archive"
        else f"{transport}:{tmp_path}/image:x"
    )
    skopeo("copy", f"oci:{layout}:{TAG}", target)
    _runs(tmp_path / "store", target)


def test_from_a_registry_with_tokens(storage: Path, tmp_path: Path) -> None:
    with TokenServer(tmp_path) as tokens, docker_registry(tmp_path, storage, auth=tokens.auth) as host:
        options = ("--insecure", host, "--creds", f"{USER}:{CANARY}")
        _runs(tmp_path / "store", f"docker://{host}/debian:12", *options)
        assert tokens.server.asked("/token")


def test_from_a_registry_with_tls_under_a_private_authority(storage: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with docker_registry(tmp_path, storage, tls=authority.issue("127.0.0.1")) as host:
        _runs(tmp_path / "store", f"docker://{host}/debian:12", "--ca-file", str(authority.file))


def test_from_behind_a_proxy(storage: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with ExitStack() as servers:
        plain = servers.enter_context(docker_registry(tmp_path, storage, named=True))
        secure = servers.enter_context(docker_registry(tmp_path, storage, tls=authority.issue(NAME), named=True))
        proxy = servers.enter_context(tinyproxy(tmp_path, login=f"{USER}:{CANARY}"))
        url = f"http://{USER}:{CANARY}@{proxy}"
        environment = {"http_proxy": url, "https_proxy": url}
        _runs(tmp_path / "a", f"docker://{plain}/debian:12", "--insecure", plain, environment=environment)
        ca = ("--ca-file", str(authority.file))
        _runs(tmp_path / "b", f"docker://{secure}/debian:12", *ca, environment=environment)
        log = (tmp_path / f"tinyproxy-{proxy.rpartition(':')[2]}.log").read_text()
        assert plain in log
        assert secure in log


@pytest.fixture(scope="module")
def as_umoci_unpacks(layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    folder = tmp_path_factory.mktemp("umoci")
    command = ["/usr/bin/umoci", "unpack", "--image", f"{layout}:{TAG}", str(folder / "bundle")]
    subprocess.run(command, check=True, capture_output=True)
    return snapshot(folder / "bundle/rootfs")


@pytest.mark.parametrize("driver", ["erofs", "overlay", "directory"])
def test_a_mount_is_what_umoci_unpacks(layout: Path, tmp_path: Path, as_umoci_unpacks: Snapshot, driver: str) -> None:
    _orlop(tmp_path / "store", "pull", f"oci:{layout}:{TAG}")
    with _mounted(tmp_path / "store", f"localhost/bookworm-layout:{TAG}", "--driver", driver) as root:
        ours = snapshot(root)
    if driver == "overlay":  # how many names a directory has is not what an overlay says
        ours = {path: node._replace(links=as_umoci_unpacks[path].links) for path, node in ours.items()}
    assert ours == as_umoci_unpacks


def test_an_unpacked_tree_is_what_umoci_unpacks(layout: Path, tmp_path: Path, as_umoci_unpacks: Snapshot) -> None:
    _orlop(tmp_path / "store", "unpack", f"oci:{layout}:{TAG}", str(tmp_path / "tree"))
    assert snapshot(tmp_path / "tree") == as_umoci_unpacks


def test_not_root_unpacks_and_keeps_the_owners_aside(layout: Path, stranger: Stranger) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="orlop-") as home:
        os.chown(home, stranger.uid, stranger.uid)
        source = Path(shutil.copytree(layout, f"{home}/layout"))
        arguments = ["--store", f"{home}/store", "unpack", f"oci:{source}:{TAG}", f"{home}/tree"]
        done = stranger("-m", "orlop", *arguments, environment={"HOME": home})
        assert done.returncode == 0, done.stderr
        assert "ownership" in done.stderr
        record = Path(home, "tree.ownership.jsonl").read_text()
        assert '"path": "etc/shadow", "type": "file", "uid": 0, "gid": 42, "mode": "0640"' in record
        assert Path(home, "tree/etc/os-release").exists()
