"""A plain tar in the store as a seekable file, without the padding behind it."""

from __future__ import annotations

import io
import os
from typing import BinaryIO

from ..errors import Damaged, of_system

EMPTY = bytes(1024)  # an empty tar: what an image without a layer gives out as one


class PlainLayer(io.RawIOBase):
    """The first `size` bytes of `file`, which it closes."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        super().__init__()
        self._file = file
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        left = max(0, self._size - self._at)
        wanted = left if size < 0 else min(size, left)
        try:
            data = os.pread(self._file.fileno(), wanted, self._at)
        except OSError as error:
            text = f"plain layer: cannot be read: {os.strerror(error.errno or 0).lower()}"
            raise of_system(error, text, Damaged) from error
        self._at += len(data)
        return data

    def close(self) -> None:
        self._file.close()
        super().close()
