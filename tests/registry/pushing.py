"""Pushing one blob to a lying registry."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from orlop.http.client import Client
from orlop.job import Job
from orlop.model import media
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.ports import Content, Readable
from orlop.registry.uploads import RegistryTarget
from orlop.settings import Network
from tests.support.lying import CANARY

CONTENT = bytes(range(251)) * 4_000
BLOB = Descriptor(media.OCI_LAYER, Digest.of(CONTENT), len(CONTENT))
LARGE = bytes(range(253)) * (160 << 10)  # more than the buffers of two sockets hold, and than two parts
LARGE_BLOB = Descriptor(media.OCI_LAYER, Digest.of(LARGE), len(LARGE))


def content_of(raw: bytes, opened: list[tuple[int, int]] | None = None) -> Content:
    @contextmanager
    def content(start: int, end: int) -> Iterator[Readable]:
        if opened is not None:
            opened.append((start, end))
        yield io.BytesIO(raw[start:end])

    return content


def push(
    host: str,
    *,
    wanted: Descriptor = BLOB,
    content: Content | None = None,
    near: str = "",
    job: Job | None = None,
    **options: Any,
) -> int:
    """Push a blob to `a/b` as a client with credentials for the host."""
    raw = {BLOB.digest: CONTENT, LARGE_BLOB.digest: LARGE}[wanted.digest]
    network = {"username": "user", "password": CANARY, "timeout": 5.0, "retries": 3, **options}
    with Client(Network(insecure=frozenset({host}), **network), named=host, base=0.01) as client:
        target = RegistryTarget(host, "a/b", client, near=near)
        return target.push(wanted, content or content_of(raw), job=job or Job(retries=3))
