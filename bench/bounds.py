"""The lower bound: the work that no way around leads past, each part measured alone, in CPU seconds."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from orlop.streams import CHUNK, Inflated

from .disk import fresh_disk


def bounds(layout: Path) -> dict[str, float]:
    """CPU seconds by part: hash both forms, inflate, write both to a fresh file system."""
    blobs = _layers(layout)
    sizes = [_drain(_plain(blob)) for blob in blobs]  # and the blobs are in the page cache now
    packed = sum(_cost(_hash, _read(blob)) for blob in blobs)
    inflate = sum(_cost(_drain, _plain(blob)) for blob in blobs)
    hashed = sum(_cost(_hash, _plain(blob)) for blob in blobs)
    with fresh_disk() as place:
        written = sum(_cost(_write, place / blob.name, blob.stat().st_size) for blob in blobs)
        written += sum(_cost(_write, place / f"{blob.name}.tar", size) for blob, size in zip(blobs, sizes, strict=True))
    return {
        "sha256 of the layers": packed,
        "inflating them (isal)": inflate,
        "sha256 of the plain layers": max(0.0, hashed - inflate),
        "writing both": written,
    }


def _layers(layout: Path) -> list[Path]:
    (entry,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    manifest = json.loads(_blob(layout, entry["digest"]).read_bytes())
    return [_blob(layout, layer["digest"]) for layer in manifest["layers"]]


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


def _cost(work: Callable[..., object], *arguments: object) -> float:
    started = time.process_time()
    work(*arguments)
    return time.process_time() - started


def _read(file: Path) -> Iterator[bytes]:
    with file.open("rb", buffering=0) as stream:
        while data := stream.read(CHUNK):
            yield data


def _plain(file: Path) -> Iterator[bytes]:
    with file.open("rb", buffering=0) as stream:
        inflated = Inflated(stream)
        while data := inflated.read(CHUNK):
            yield data


def _hash(chunks: Iterable[bytes]) -> None:
    hasher = hashlib.sha256()
    for chunk in chunks:
        hasher.update(chunk)


def _drain(chunks: Iterable[bytes]) -> int:
    return sum(len(chunk) for chunk in chunks)


def _write(target: Path, size: int) -> None:
    chunk = bytes(CHUNK)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        for at in range(0, size, CHUNK):
            os.pwrite(descriptor, chunk[: size - at], at)
    finally:
        os.close(descriptor)
