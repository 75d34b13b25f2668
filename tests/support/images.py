"""Small images for tests, the same bytes every time, and the forms in which images lie on disk."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from backports import zstd

from orlop.model import media
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.document import Document
from orlop.model.platform import Platform

Compression = Literal["gzip", "zstd", "none"]
REF_NAME = "org.opencontainers.image.ref.name"
_SUFFIX = {"gzip": ("+gzip", ".gzip"), "zstd": ("+zstd", ".zstd"), "none": ("", "")}


@dataclass(frozen=True)
class Symlink:
    target: str


@dataclass(frozen=True)
class Hardlink:
    target: str


Content = bytes | Symlink | Hardlink | None


def make_layer(files: Mapping[str, Content]) -> bytes:
    """A plain tar. A value of bytes is a file, None a directory, `Symlink` and `Hardlink` what they say; names
    such as `.wh.gone` make whiteouts. Owner 0:0, mode 0644 (directories 0755), time 1,600,000,000."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.mtime = 1_600_000_000
            member.mode = 0o644
            if content is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(content, Symlink):
                member.type, member.linkname, member.mode = tarfile.SYMTYPE, content.target, 0o777
            elif isinstance(content, Hardlink):
                member.type, member.linkname = tarfile.LNKTYPE, content.target
            else:
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


def compress(plain: bytes, compression: Compression) -> bytes:
    """The same bytes in, the same bytes out: no time and no name in the gzip header."""
    if compression == "gzip":
        return gzip.compress(plain, compresslevel=6, mtime=0)
    return zstd.compress(plain) if compression == "zstd" else plain


@dataclass(frozen=True)
class MadeImage:
    """A manifest or an index with every blob and document below it (itself not among them)."""

    document: Document
    blobs: Mapping[Digest, bytes]  # configs and layers
    documents: tuple[Document, ...] = ()  # manifests of an index
    config: bytes = b""
    layers: tuple[bytes, ...] = field(default=(), repr=False)  # plain tars, base first

    @property
    def digest(self) -> Digest:
        return self.document.digest


def make_image(
    layers: Sequence[bytes],
    *,
    config: Mapping[str, Any] | None = None,
    compression: Compression = "gzip",
    docker: bool = False,
    platform: str = "linux/amd64",
    annotations: Mapping[str, str] | None = None,
) -> MadeImage:
    """An image of plain layer tars. `config` is laid over the default config (keys as in config.md)."""
    where = Platform.parse(platform)
    oci, dockers = _SUFFIX[compression]
    fields: dict[str, Any] = {
        "created": "2020-09-13T12:26:40Z",
        "architecture": where.architecture,
        "os": where.os,
        **({"variant": where.variant} if where.variant else {}),
        "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/usr/bin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(layer)) for layer in layers]},
        "history": [{"created": "2020-09-13T12:26:40Z", "created_by": f"layer {i}"} for i in range(len(layers))],
    }
    raw_config = _json({**fields, **(config or {})})
    packed = [compress(layer, compression) for layer in layers]
    layer_type = media.DOCKER_LAYER + dockers if docker else media.OCI_LAYER + oci
    manifest_type = media.DOCKER_MANIFEST if docker else media.OCI_MANIFEST
    config_type = media.DOCKER_CONFIG if docker else media.OCI_CONFIG
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": manifest_type,
        "config": _descriptor(config_type, raw_config).fields,
        "layers": [_descriptor(layer_type, blob).fields for blob in packed],
    }
    if annotations:
        manifest["annotations"] = dict(annotations)
    blobs = {Digest.of(blob): blob for blob in [raw_config, *packed]}
    return MadeImage(Document(_json(manifest), manifest_type), blobs, (), raw_config, tuple(layers))


def make_index(images: Mapping[str, MadeImage], *, docker: bool = False) -> MadeImage:
    """An index (a Docker manifest list if `docker`) over images by platform, in order."""
    children = []
    for platform, image in images.items():
        where = Platform.parse(platform)
        child = image.document.descriptor
        children.append(Descriptor(child.media_type, child.digest, child.size, platform=where).fields)
    media_type = media.DOCKER_LIST if docker else media.OCI_INDEX
    raw = _json({"schemaVersion": 2, "mediaType": media_type, "manifests": children})
    blobs = {digest: blob for image in images.values() for digest, blob in image.blobs.items()}
    return MadeImage(Document(raw, media_type), blobs, tuple(image.document for image in images.values()))


def small_image(compression: Compression = "gzip", *, docker: bool = False, word: str = "hello") -> MadeImage:
    """Two layers: a few files, a directory, links; then a changed file and a whiteout."""
    base = make_layer(
        {
            "bin": None,
            "bin/tool": b"#!/bin/sh\necho " + word.encode() + b"\n",
            "etc": None,
            "etc/motd": word.encode() + b"\n",
            "etc/gone": b"to be removed\n",
            "etc/alias": Symlink("motd"),
            "etc/hard": Hardlink("etc/motd"),
        }
    )
    top = make_layer({"etc/motd": b"changed\n", "etc/.wh.gone": b"", "big": word.encode() * 40_000})
    return make_image([base, top], compression=compression, docker=docker)


def layout_files(images: Mapping[str, MadeImage]) -> dict[str, bytes]:
    """The files of an OCI layout by name. A key is the tag (`org.opencontainers.image.ref.name`), "" for none."""
    files: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
    entries = []
    for name, image in images.items():
        entry = image.document.descriptor.fields
        if name:
            entry["annotations"] = {REF_NAME: name}
        entries.append(entry)
        for document in (image.document, *image.documents):
            files[blob_name(document.digest)] = document.raw
        files.update({blob_name(digest): blob for digest, blob in image.blobs.items()})
    files["index.json"] = _json({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": entries})
    return files


def blob_name(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.encoded}"


def write_layout(path: Path, images: Mapping[str, MadeImage]) -> Path:
    """An OCI layout directory at `path`, which is made. Returns `path`."""
    for name, content in layout_files(images).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def write_oci_archive(path: Path, images: Mapping[str, MadeImage]) -> Path:
    """The same as a tar."""
    path.write_bytes(make_layer(dict(layout_files(images))))
    return path


def docker_archive_files(images: Mapping[str, MadeImage]) -> dict[str, Content]:
    """The members of a `docker save` archive as Docker 1.10 to 24 write it: plain layer tars. Keys are RepoTags."""
    files: dict[str, Content] = {}
    listed = []
    for name, image in images.items():
        config_name = f"{Digest.of(image.config).encoded}.json"
        files[config_name] = image.config
        names = []
        for layer in image.layers:
            member = f"{Digest.of(layer).encoded}/layer.tar"
            files[member] = layer
            names.append(member)
        listed.append({"Config": config_name, "RepoTags": [name] if name else None, "Layers": names})
    files["manifest.json"] = _json(listed)
    return files


def write_docker_archive(path: Path, images: Mapping[str, MadeImage]) -> Path:
    """A `docker save` archive. Returns `path`."""
    path.write_bytes(make_layer(docker_archive_files(images)))
    return path


def _descriptor(media_type: str, content: bytes) -> Descriptor:
    return Descriptor(media_type, Digest.of(content), len(content))


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
