"""A small image made of this machine's own files, for `orlop demo`: an OCI layout of two layers."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import Unsupported
from ..model import media
from ..model.platform import Platform

PROGRAMS = ("sh", "ls", "cat")
GREETING = "Hello from an image that was never unpacked.\n"
RELEASE = "etc/os-release"
REMOVED = "etc/motd"
CREATED = "2024-01-01T00:00:00Z"
_TIME = 1_704_067_200
# `name => /path (0x...)` and `/path (0x...)`, as glibc's and musl's ldd print them
_LIBRARY = re.compile(r"(?:^|=>)\s*(/\S+) \(0x", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class DemoImage:
    """Where it is, under which tag, and what must come out of it again. `files` counts plain files."""

    layout: Path
    tag: str
    files: int
    size: int  # bytes of the compressed layers
    release: bytes


def make_image(layout: Path) -> DemoImage:
    """Write the image into the new directory `layout`. `Unsupported` if this machine has no shell."""
    release = _release()
    programs = _programs()
    lower = _layer({**programs, REMOVED: b"to be removed by the next layer\n"})
    upper = _layer({"hello.txt": GREETING.encode(), RELEASE: release, "etc/.wh.motd": b""})
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layers = [_put(blobs, gzip.compress(plain, 6, mtime=0), media.OCI_LAYER_GZIP) for plain in (lower, upper)]
    platform = Platform.of_machine(os.uname().machine)
    config = {
        "created": CREATED,
        "os": platform.os,
        "architecture": platform.architecture,
        **({"variant": platform.variant} if platform.variant else {}),
        "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [_digest(plain) for plain in (lower, upper)]},
        "history": [
            {"created": CREATED, "created_by": f"programs: {' '.join(PROGRAMS)}"},
            {"created": CREATED, "created_by": "a greeting and /etc/os-release"},
        ],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": _put(blobs, _json(config), media.OCI_CONFIG),
        "layers": layers,
    }
    named = _put(blobs, _json(manifest), media.OCI_MANIFEST)
    named["annotations"] = {"org.opencontainers.image.ref.name": "1"}
    (layout / "index.json").write_bytes(_json({"schemaVersion": 2, "manifests": [named]}))
    (layout / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
    return DemoImage(layout, "1", len(programs) + 2, sum(layer["size"] for layer in layers), release)


def _programs() -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for name in PROGRAMS:
        program = shutil.which(name, path="/bin:/usr/bin")
        if program is None:
            raise Unsupported(f"demo: this machine has no {name} in /bin or /usr/bin to make an image of")
        files[f"bin/{name}"] = Path(program).read_bytes()
        for library in _libraries(program):
            files[library.lstrip("/")] = Path(library).read_bytes()
    return files


def _libraries(program: str) -> list[str]:
    """The shared libraries and the loader of a program; none for a static one."""
    ldd = shutil.which("ldd", path="/usr/bin:/bin")
    if ldd is None:
        return []
    told = subprocess.run([ldd, program], capture_output=True, text=True, check=False)
    return _LIBRARY.findall(told.stdout)


def _release() -> bytes:
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        if Path(path).is_file():
            return Path(path).read_bytes()
    return b"NAME=unknown\n"


def _layer(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        directories = {str(parent) for name in files for parent in Path(name).parents if str(parent) != "."}
        directories |= {"proc", "sys", "dev"} if "bin" in directories else set()
        for name in sorted(directories):
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.mtime = tarfile.DIRTYPE, 0o755, _TIME
            tar.addfile(member)
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(content), 0o755 if _runs(content) else 0o644, _TIME
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def _runs(content: bytes) -> bool:
    return content.startswith((b"\x7fELF", b"#!"))


def _put(blobs: Path, content: bytes, media_type: str) -> dict[str, Any]:
    digest = _digest(content)
    (blobs / digest.partition(":")[2]).write_bytes(content)
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode()
