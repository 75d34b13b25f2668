"""Digests (OCI image-spec 1.1, descriptor.md "Digests"): a checked string and its hash."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from ..errors import Invalid

# registered algorithms; nothing else ever reaches a path or a URL (CVE-2024-3727).
_FORM = re.compile(r"(sha256):[0-9a-f]{64}|(sha512):[0-9a-f]{128}", re.ASCII)


class Digest(str):
    """`algorithm:hex`, lower case. An instance is proof of the form; `Invalid` otherwise."""

    __slots__ = ()

    def __new__(cls, text: object) -> Digest:
        if isinstance(text, Digest):
            return text
        if not isinstance(text, str) or _FORM.fullmatch(text) is None:
            raise Invalid(f"digest: expected sha256:<64 hex> or sha512:<128 hex>, got {str(text)[:80]!r}")
        return super().__new__(cls, text)

    @classmethod
    def of(cls, content: bytes, algorithm: str = "sha256") -> Digest:
        return cls(f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}")

    @property
    def algorithm(self) -> str:
        return self.partition(":")[0]

    @property
    def encoded(self) -> str:
        """The hex part."""
        return self.partition(":")[2]

    @property
    def short(self) -> str:
        """The first 12 hex digits, for people."""
        return self.encoded[:12]

    def hasher(self) -> Any:
        """A fresh hashlib object of this digest's algorithm."""
        return hashlib.new(self.algorithm)
