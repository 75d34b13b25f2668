"""What comes in is what it was called: content against its digest and size. No source and no store can skip it.

What is read back from the store is checked where it is read (`blobs.local`, `check`).
"""

from __future__ import annotations

from .errors import Mismatch
from .model.descriptor import Descriptor
from .model.digest import Digest
from .model.document import Document


class Verifier:
    """Counts and hashes what passes. `finish` raises `Mismatch` unless it was exactly the content described."""

    def __init__(self, wanted: Descriptor, origin: str) -> None:
        self._wanted = wanted
        self._origin = origin
        self._hasher = wanted.digest.hasher()
        self._size = 0

    def write(self, data: bytes, /) -> None:
        self._hasher.update(data)
        self._size += len(data)
        if self._size > self._wanted.size:
            raise Mismatch(f"{self._about}: more than the {self._wanted.size} bytes expected")

    def finish(self) -> None:
        if self._size != self._wanted.size:
            raise Mismatch(f"{self._about}: expected {self._wanted.size} bytes, got {self._size}")
        found = f"{self._wanted.digest.algorithm}:{self._hasher.hexdigest()}"
        if found != self._wanted.digest:
            raise Mismatch(f"{self._about}: its bytes have digest {found}")

    @property
    def _about(self) -> str:
        return f"blob {self._wanted.digest} from {self._origin}"


def check_document(document: Document, digest: Digest, origin: str) -> None:
    """`Mismatch` unless a document has this digest; of a signed one (schema 1), its payload."""
    found = found_digest(document, digest)
    if found != digest:
        raise Mismatch(f"manifest {digest} from {origin}: its bytes have digest {found}")


def found_digest(document: Document, digest: Digest) -> Digest:
    """`digest` itself if the document goes by it, else the one that it does go by."""
    found = Digest.of(document.raw, digest.algorithm)
    if found != digest and document.is_schema1:
        from .model import legacy  # rare, and not free to import

        found = legacy.payload_digest(document.raw)  # its signature is not part of what is named
    return found
