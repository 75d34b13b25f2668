"""The store itself as a source, for what goes out of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from .blobs.local import LocalBlobs
from .catalog.sqlite import SqliteCatalog
from .errors import Damaged, NotFound, of_system
from .images import Images
from .job import Job
from .model.descriptor import Descriptor
from .model.digest import Digest
from .model.document import Document


class Stored:
    """`ports.Source` over a store, by digests: what people type is for `images`."""

    origin = "the store"

    def __init__(self, blobs: LocalBlobs, catalog: SqliteCatalog, images: Images) -> None:
        self._blobs = blobs
        self._catalog = catalog
        self._images = images

    def document(self, reference: str) -> Document:
        wanted = self._catalog.find(Digest(reference))
        if wanted is None:
            raise NotFound(f"manifest {reference}: not in the store", hint="pull the image again")
        return self._images.stored(wanted)

    @contextmanager
    def open(self, wanted: Descriptor, *, offset: int = 0, end: int | None = None, job: Job) -> Iterator[StoredBody]:
        """The bytes of a blob as they lie there. `NotFound`."""
        with self._blobs.open(wanted.digest) as stream:
            stream.seek(offset)
            left = max(0, (wanted.size if end is None else end) - offset)
            yield StoredBody(stream, wanted.digest, offset, left, job)


@dataclass
class StoredBody:
    """`ports.Body` of a blob in the store."""

    stream: BinaryIO
    digest: Digest
    offset: int
    left: int
    job: Job
    validator: str = ""

    def read(self, size: int, /) -> bytes:
        self.job.check()
        try:
            data = self.stream.read(min(size, self.left))
        except OSError as error:
            text = f"blob {self.digest}: cannot be read: {os.strerror(error.errno or 0).lower()}"
            raise of_system(error, text, Damaged) from error
        self.left -= len(data)
        return data
