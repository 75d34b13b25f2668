"""The lower bound: the work that no way around leads past, each part measured alone."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from orlop.job import Job
from orlop.materialise import chain_of
from orlop.rootfs.erofs import ErofsDriver
from orlop.settings import Network, Settings
from orlop.store import Store
from orlop.streams import CHUNK, Inflated

from .disk import fresh_disk
from .image import TAG


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


def steps(layout: Path) -> dict[str, float]:
    """Wall seconds of what cannot be shared out among processors, or waits for the disk."""
    biggest = max(_layers(layout), key=lambda blob: blob.stat().st_size)
    inflated = _wall(_hash_and_inflate, biggest)
    plain = sum(_drain(_plain(blob)) for blob in _layers(layout))
    with fresh_disk() as place:
        readied = _ready(layout, place)
    with fresh_disk() as place:
        written = _wall(_write, place / "plain", plain, sync=True)
    return {
        "mount: the biggest layer hashed and inflated, one gzip stream": inflated,
        "mount: after the last layer, the merge and the EROFS image": readied,
        f"unpack: {plain / 1e9:.2f} GB, the plain layers' size, written to this disk and synced": written,
    }


def _ready(layout: Path, place: Path) -> float:
    settings = Settings(store=place / "store", network=Network(home=place), durability="none")
    job = Job()
    with Store(settings) as store:
        image = store.image(store.pull(f"oci:{layout}:{TAG}").name)
        store._parts.derived.discard([("erofs", chain_of(image.config.diff_ids))])
        with store._parts.materialise.stack(image, job) as stack:
            return _wall(ErofsDriver(store._parts.derived).prepare, stack, job=job)


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


def _wall(work: Callable[..., object], *arguments: Any, **named: Any) -> float:
    started = time.monotonic()
    work(*arguments, **named)
    return time.monotonic() - started


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


class _Hashed:
    def __init__(self, file: Path) -> None:
        self._chunks = _read(file)
        self._hasher = hashlib.sha256()

    def read(self, _size: int, /) -> bytes:
        data = next(self._chunks, b"")
        self._hasher.update(data)
        return data


def _hash_and_inflate(file: Path) -> None:
    inflated = Inflated(_Hashed(file))
    while inflated.read(CHUNK):
        pass


def _drain(chunks: Iterable[bytes]) -> int:
    return sum(len(chunk) for chunk in chunks)


def _write(target: Path, size: int, *, sync: bool = False) -> None:
    chunk = bytes(CHUNK)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        for at in range(0, size, CHUNK):
            os.pwrite(descriptor, chunk[: size - at], at)
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
