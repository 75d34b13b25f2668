"""The image that is measured: real software in three gzip layers, kept in `.cache/` as an OCI layout.

A Debian base by debootstrap, numpy, scipy and pandas by pip, a node_modules tree by npm: about 1 GB plain.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

CACHE = Path(__file__).parents[1] / ".cache"
LAYOUT = CACHE / "bench.layout"
TAG = "bench"
_MIRROR = "http://deb.debian.org/debian"
_PYTHON = ("numpy", "scipy", "pandas", "scikit-learn", "matplotlib")
_NODE = (
    "webpack@5",
    "typescript@5",
    "eslint@9",
    "@babel/core@7",
    "@babel/preset-env@7",
    "react@19",
    "rxjs@7",
    "antd@5",
)
_TAR = ("/bin/tar", "--numeric-owner", "--xattrs", "--sort=name", "--exclude=./proc/*", "--exclude=./sys/*")


def layout() -> Path:
    """The layout, made at the first call: some minutes, and the package registries."""
    if not LAYOUT.exists():
        making = CACHE / "bench.making"
        shutil.rmtree(making, ignore_errors=True)
        (making / "layout/blobs/sha256").mkdir(parents=True)
        write(making / "layout", [_base(making / "base"), _python(making / "python"), _node(making / "node")])
        (making / "layout").rename(LAYOUT)
        shutil.rmtree(making)
    return LAYOUT


def _base(root: Path) -> Path:
    command = ["/usr/sbin/debootstrap", "--variant=minbase", "bookworm", str(root), _MIRROR]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return root


def _python(root: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(root / "opt/python"), *_PYTHON]
    subprocess.run(pip, check=True)
    return root


def _node(root: Path) -> Path:
    (root / "opt/node").mkdir(parents=True)
    (root / "opt/node/package.json").write_text("{}")
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("npm: not found; `make bench` installs it")
    options = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    subprocess.run([npm, "install", *options, *_NODE], check=True, cwd=root / "opt/node", stdout=subprocess.DEVNULL)
    return root


def write(target: Path, roots: list[Path]) -> None:
    """An image of these trees, a gzip layer each, into a directory with `blobs/sha256` in it."""
    layers: list[dict[str, Any]] = []
    diff_ids: list[str] = []
    for root in roots:
        plain = subprocess.run([*_TAR, "-C", str(root), "-c", "."], check=True, capture_output=True).stdout
        diff_ids.append(f"sha256:{hashlib.sha256(plain).hexdigest()}")
        packed = gzip.compress(plain, 6, mtime=0)
        layers.append(_blob(target, packed, "application/vnd.oci.image.layer.v1.tar+gzip"))
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _blob(target, json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": layers,
    }
    entry = _blob(target, json.dumps(manifest).encode(), manifest["mediaType"])
    entry["annotations"] = {"org.opencontainers.image.ref.name": TAG}
    (target / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (target / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')


def _blob(target: Path, content: bytes, media_type: Any) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    (target / "blobs/sha256" / digest).write_bytes(content)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}
