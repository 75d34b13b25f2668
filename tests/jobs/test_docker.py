"""T12: Debian's Docker 20.10 loads what `image_export` wrote, and what it saves is loaded here."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orlop.model.tree import Kind
from orlop.store import Store
from tests.support.docker_engine import Docker, docker
from tests.support.images import Hardlink, Symlink, make_layer
from tests.support.stores import opened
from tests.support.tars import entry, tar
from tests.support.v1images import JOB, A, B, C, add, v1

from .running import run

pytestmark = [pytest.mark.peer, pytest.mark.root, pytest.mark.xdist_group("docker")]
_CONFIG = {"Cmd": ["/bin/app", "x"], "Env": ["A=1", "B=b c"], "WorkingDir": "/srv", "Volumes": {"/data": {}}}
_FIELDS: dict[str, Any] = {
    "architecture": "amd64",
    "os": "linux",
    "docker_version": "1.2.0",
    "author": "somebody",
    "comment": "a comment",
    "config": _CONFIG,
}
# what Docker puts into every container by itself
_OWN = {
    "dev",
    "proc",
    "sys",
    "etc",
    "etc/hosts",
    "etc/hostname",
    "etc/resolv.conf",
    "etc/mtab",
    ".dockerenv",
    "data",
    "srv",
}


@pytest.fixture(scope="module")
def engine() -> Iterator[Docker]:
    with docker() as running:
        yield running


@pytest.fixture
def family(store: Store) -> Store:
    """A <- B (no layer) <- C, `app:1`: files, links, modes, owners, a whiteout, an opaque directory."""
    base = {
        "bin/": None,
        "bin/app": b"#!/bin/sh\n",
        "old": b"old",
        "hidden/": None,
        "hidden/x": b"x",
        "name": Symlink("bin/app"),
        "same": Hardlink("bin/app"),
    }
    store.graph.register(v1(A, **_FIELDS), io.BytesIO(make_layer(base)), job=JOB)
    add(store, B, A, None, **_FIELDS)
    top = tar(
        entry(".wh.old", data=b""),
        entry("hidden/.wh..wh..opq", data=b""),
        entry("hidden/y", data=b"y", mode=0o4750, uid=7, gid=8),
        # where parents are missing, Docker makes them with another mode
        entry("long", Kind.DIRECTORY),
        entry("long/" + "n" * 90, Kind.DIRECTORY, mode=0o1777),
        entry("long/" + "n" * 90 + "/" + "m" * 90, data=b"z"),
    )
    store.graph.register(v1(C, B, **_FIELDS), io.BytesIO(top), job=JOB)
    store.tags.set("app", "1", C, force=False)
    return store


def listing(archive: bytes) -> dict[str, tuple[Any, ...]]:
    """What a tar of files holds, without what Docker made itself."""
    found: dict[str, tuple[Any, ...]] = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as read:
        for member in read.getmembers():
            name = member.name.removeprefix("./").rstrip("/")
            if name in ("", ".") or name in _OWN or name.split("/")[0] in ("dev", "proc", "sys"):
                continue
            file = read.extractfile(member) if member.isreg() or member.islnk() else None
            kind = "file" if file else {tarfile.DIRTYPE: "directory", tarfile.SYMTYPE: "link"}[member.type]
            content = file.read() if file else member.linkname.encode()
            found[name] = (kind, member.mode & 0o7777, member.uid, member.gid, content)
    return found


def ours(store: Store, name: str) -> bytes:
    out = io.BytesIO()
    store.export(name, out)
    return out.getvalue()


def test_T12_docker_20_10_loads_what_image_export_wrote(family: Store, engine: Docker) -> None:
    ran = run(family, "image_export", "app:1")
    assert ran.status == 0
    engine("load", stdin=ran.out)
    told, known = engine.inspect("app:1"), run(family, "image_inspect", "app:1").rows
    for field in ("Comment", "Author", "Architecture", "Os", "DockerVersion", "Created"):
        assert told[field] == known[field]
    for field, value in _CONFIG.items():
        assert told["Config"][field] == value
    expected = [str(node.diff_id) for node in family.graph.chain(C) if node.diff_id]
    empty = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
    assert [layer for layer in told["RootFS"]["Layers"] if layer != empty] == expected
    theirs = listing(engine.tree("app:1"))
    assert theirs == listing(ours(family, "app:1"))
    assert {"bin/app", "hidden/y", "name", "same"} <= set(theirs)
    assert "hidden/x" not in theirs


def test_T12_what_docker_20_10_saves_is_loaded(family: Store, engine: Docker, tmp_path: Path) -> None:
    engine("load", stdin=run(family, "image_export", "app:1").out)
    engine("tag", "app:1", "saved:2")
    with opened(tmp_path / "other") as other:
        assert run(other, "load", stdin=engine("save", "saved:2")).error == ""
        _is_the_same(other, engine)


def _is_the_same(store: Store, engine: Docker) -> None:
    image = store.image("saved:2")
    told = engine.inspect("saved:2")
    assert image.manifest.config is not None
    assert str(image.manifest.config.digest) == told["Id"]
    assert [str(digest) for digest in image.config.diff_ids] == told["RootFS"]["Layers"]
    assert json.loads(image.config.raw)["config"]["Env"] == _CONFIG["Env"]
    assert listing(ours(store, "saved:2")) == listing(engine.tree("saved:2"))
