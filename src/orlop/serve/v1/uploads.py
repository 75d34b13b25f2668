"""Images on their way: between `PUT json` and `PUT checksum` they are here and not in the store.

They go with the server's process. One client at a time has an image in hand; when it is heard of no more, another
may begin anew.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ...blobs.spill import Spill
from ...errors import Error
from ...model.v1 import ImageId, PayloadHasher, V1Image
from ...store import Store
from ..answer import Answer, json_answer
from .replies import Refusal, guarded, log, refusal

BEING_UPLOADED = "Image is being uploaded, retry later"
MOST = 128  # images in hand at once; each may hold a file open
STALE = 60.0  # seconds without a request until another client may take an image over
_READ = 1 << 20


@dataclass
class Upload:
    """One image. `spool` has the layer once it has come whole, `size` bytes with the payload checksum `checksum`."""

    image: V1Image
    owner: str
    touched: float
    spool: Spill | None = None
    size: int = 0
    checksum: str = ""
    busy: bool = False

    def drop(self) -> None:
        """Its layer."""
        spool, self.spool = self.spool, None
        if spool is not None:
            spool.close()


class Uploads:
    """All images in hand. Safe from any thread. `limit`: bytes of one layer."""

    def __init__(
        self, store: Store, limit: int, *, stale: float = STALE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._limit = limit
        self._stale = stale
        self._clock = clock
        self._guard = threading.Lock()
        self._all: dict[ImageId, Upload] = {}

    @property
    def limit(self) -> int:
        return self._limit

    def __contains__(self, image: ImageId) -> bool:
        with self._guard:
            return image in self._all

    def announce(self, image: V1Image, owner: str) -> None:
        """`PUT json`. 409 if another client has it in hand, 503 if there are too many."""
        with self._guard:
            there = self._all.get(image.id)
            if there is not None:
                if there.busy or not ((owner and owner == there.owner) or self._is_stale(there)):
                    raise Refusal(409, BEING_UPLOADED)
                self._all.pop(image.id).drop()
            if len(self._all) >= MOST:
                self._make_room()
            self._all[image.id] = Upload(image, owner, self._clock())

    def receive(self, image: ImageId, owner: str) -> Receiving:
        """`PUT layer`: where its bytes go. 404, 409."""
        spool = self._store.spool()
        return Receiving(self, self._take(image, owner), spool, self._limit)

    @contextmanager
    def whole(self, image: ImageId, owner: str) -> Iterator[Upload]:
        """`PUT checksum`: the image is this client's alone meanwhile. 404, 409, 400 without a layer."""
        upload = self._take(image, owner)
        try:
            if upload.spool is None:
                raise Refusal(400, "Image has no layer yet")
            yield upload
        finally:
            self.release(upload)

    def forget(self, upload: Upload) -> None:
        """It is in the store, or never will be."""
        with self._guard:
            if self._all.get(upload.image.id) is upload:
                del self._all[upload.image.id]
            upload.drop()

    def discard(self, image: ImageId) -> None:
        """It came to the store in another way."""
        with self._guard:
            upload = self._all.get(image)
            if upload is not None and not upload.busy:
                self._all.pop(image).drop()

    def release(self, upload: Upload, *, gone: bool = False) -> None:
        """Its request has ended; `gone`: and so, it seems, has the client."""
        with self._guard:
            upload.busy = False
            upload.touched = self._clock() - (self._stale if gone else 0.0)

    def _take(self, image: ImageId, owner: str) -> Upload:
        with self._guard:
            upload = self._all.get(image)
            if upload is None:
                raise Refusal(404, "Image not found")
            if upload.busy or upload.owner != owner:
                raise Refusal(409, BEING_UPLOADED)
            upload.busy = True
            return upload

    def _is_stale(self, upload: Upload) -> bool:
        return self._clock() - upload.touched >= self._stale

    def _make_room(self) -> None:
        stale = [upload for upload in self._all.values() if not upload.busy and self._is_stale(upload)]
        if not stale:
            raise Refusal(503, "Too many images are being uploaded, retry later")
        oldest = min(stale, key=lambda upload: upload.touched)
        self._all.pop(oldest.image.id).drop()


class Receiving:
    """`Incoming` of a layer: spooled and hashed as it comes."""

    def __init__(self, uploads: Uploads, upload: Upload, spool: Spill, limit: int) -> None:
        self._uploads = uploads
        self._upload = upload
        self._spool = spool
        self._limit = limit
        self._size = 0
        self._hasher = PayloadHasher(upload.image.raw)

    def write(self, data: bytes, /) -> Answer | None:
        if self._size + len(data) > self._limit:
            self.abandon()
            return refusal(413, f"more than {self._limit} bytes")
        failed = guarded("PUT layer", lambda: self._keep(data))
        if failed is not None:
            self.abandon()
        return failed

    def finish(self) -> Answer:
        return guarded("PUT layer", self._hand_over)

    def abandon(self) -> None:
        try:
            self._spool.close()
        except Error as error:  # its room is free when the server ends
            log.warning("a layer that was not taken stays for now: %s", error)
        finally:
            self._uploads.release(self._upload, gone=True)

    def _hand_over(self) -> Answer:
        try:
            self._upload.drop()  # what was sent before
            self._upload.spool, self._upload.size = self._spool, self._size
            self._upload.checksum = str(self._hasher)
        finally:
            self._uploads.release(self._upload)
        return json_answer(200, "")

    def _keep(self, data: bytes) -> None:
        self._spool.write(data, self._size)
        self._hasher.write(data)
        self._size += len(data)


class Spooled:
    """A `Readable` over a spool."""

    def __init__(self, spool: Spill, size: int) -> None:
        self._spool = spool
        self._size = size
        self._at = 0

    def read(self, size: int, /) -> bytes:
        data = self._spool.read(min(size, _READ, self._size - self._at), self._at)
        self._at += len(data)
        return data
