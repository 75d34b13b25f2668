"""An image of version 1 of Debian's files, over its own protocol, into today's, and back."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import skopeo
from tests.support.registries import docker_registry
from tests.support.serving import serve_store
from tests.support.stores import opened

pytestmark = [pytest.mark.peer, pytest.mark.root, pytest.mark.xdist_group("debian")]
BASE, TOP = (hashlib.sha256(word).hexdigest() for word in (b"debian", b"change"))
_RUN = ("/bin/sh", "-c", "cat /etc/os-release /etc/motd; echo written > /etc/motd; cat /etc/motd; id -u")


def _orlop(store: Path, *arguments: str, stdin: bytes = b"", **environment: str) -> bytes:
    """Run the command; it must succeed. Returns stdout."""
    bare = {"PATH": os.environ["PATH"], "HOME": str(store.parent), "ORLOP_STORE": str(store), **environment}
    command = [sys.executable, "-m", "orlop", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False, env=bare, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def _make(layout: Path, store: Path) -> dict[str, str]:
    """The layers of the image as they are there, under JSON of 2014, by the jobs; named `team/debian:12`."""
    index = json.loads((layout / "index.json").read_bytes())
    manifest = json.loads(_blob(layout, index["manifests"][0]))
    documents: dict[str, str] = {}
    parent: dict[str, str] = {}
    for id, layer in zip((BASE, TOP), manifest["layers"], strict=True):
        fields = {"id": id, **parent, "created": "2014-05-20T10:00:00Z", "docker_version": "1.0.0", "os": "linux"}
        machine = json.loads(_blob(layout, manifest["config"]))["architecture"]
        raw = json.dumps(
            {**fields, "architecture": machine, "config": {"Cmd": ["/bin/sh"], "Env": ["OLD=1"]}}, indent=3
        )
        _orlop(store, "job", "image_set", id, stdin=_blob(layout, layer), json=raw)
        documents[id], parent = raw, {"parent": id}
    _orlop(store, "job", "tag", TOP, "team/debian", "12")
    return documents


def _blob(layout: Path, descriptor: dict[str, Any]) -> bytes:
    name = str(descriptor["digest"]).replace(":", "/")
    return (layout / "blobs" / name).read_bytes()


def _is_right(out: bytes) -> None:
    assert b"Debian GNU/Linux 12" in out
    assert out.endswith(b"changed\nwritten\n0\n")


def test_an_image_of_version_1_goes_over_both_protocols_and_runs_everywhere(layout: Path, tmp_path: Path) -> None:
    made, served, fetched = (tmp_path / name for name in ("made", "served", "fetched"))
    documents = _make(layout, made)
    with serve_store(served, "--v1", "--writable") as server:
        place = f"v1://{server.address}/team/debian:12"
        _orlop(made, "push", "--insecure", server.address, "team/debian:12", place)
        _orlop(fetched, "pull", "--insecure", server.address, place)
    name = place.removeprefix("v1://")
    for id, raw in documents.items():
        assert _orlop(fetched, "job", "image_inspect", id, raw="1") == raw.encode()
        assert _orlop(fetched, "job", "image_tarlayer", id) == _orlop(made, "job", "image_tarlayer", id)
    root = Path(_orlop(fetched, "mount", name).decode().strip())
    try:
        assert "Debian GNU/Linux 12" in (root / "etc/os-release").read_text()
        assert not (root / "usr/share/doc/tar").exists()
    finally:
        _orlop(fetched, "umount", str(root))
    _is_right(_orlop(fetched, "run", name, *_RUN))
    with docker_registry(tmp_path, tmp_path / "storage") as host:
        _orlop(fetched, "copy", "--insecure", host, f"store:{name}", f"docker://{host}/team/debian:12")
        skopeo("copy", "--src-tls-verify=false", f"docker://{host}/team/debian:12", f"oci:{tmp_path}/copied:12")
        _podman_has(f"{host}/team/debian:12", tmp_path / "podman")
    back = tmp_path / "back"
    _orlop(back, "pull", f"oci:{tmp_path}/copied:12")
    _is_right(_orlop(back, "run", "localhost/copied:12", *_RUN))
    # the way back: the same IDs with the same bytes
    with opened(back) as store:
        chain = store.graph.chain(store.tags.get("localhost/copied")["12"])
        assert {node.image.id: node.image.raw.decode() for node in chain} == documents
    for folder in (made, fetched, back):
        _orlop(folder, "fsck")


def _podman_has(name: str, home: Path) -> None:
    """It pulls the image, and programs run in what it unpacked (no runtime of its own: those want cgroups)."""
    # podman takes no run root of more than 50 characters
    with tempfile.TemporaryDirectory(dir="/tmp") as run:
        podman = ["/usr/bin/podman", "--root", str(home), "--runroot", run, "--storage-driver", "vfs"]
        subprocess.run([*podman, "pull", "-q", "--tls-verify=false", name], check=True, stdout=subprocess.DEVNULL)
        mount = subprocess.run([*podman, "image", "mount", name], check=True, capture_output=True)
        try:
            root = mount.stdout.decode().strip()
            _is_right(subprocess.run(["/usr/sbin/chroot", root, *_RUN], check=True, capture_output=True).stdout)
        finally:
            subprocess.run([*podman, "image", "umount", name], check=True, stdout=subprocess.DEVNULL)
