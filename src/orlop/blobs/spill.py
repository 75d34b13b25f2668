"""Bytes that are kept for a while: in memory as long as they are few, else in a scratch file."""

from __future__ import annotations

from ..disk.disk import Disk

_IN_MEMORY = 1 << 20


class Spill:
    """Written at its end, read anywhere. `name` is the file's, made when it is needed only."""

    def __init__(self, disk: Disk, name: str) -> None:
        self._disk = disk
        self._name = name
        self._memory = bytearray()
        self._descriptor = -1

    def write(self, data: bytes, offset: int) -> None:
        """`offset` is where the last one ended."""
        if self._descriptor < 0 and offset + len(data) <= _IN_MEMORY:
            self._memory += data
            return
        if self._descriptor < 0:
            self._descriptor = self._disk.create(self._name)
            self._disk.write(self._descriptor, memoryview(self._memory), 0)
            self._memory = bytearray()
        self._disk.write(self._descriptor, data, offset)

    def read(self, size: int, offset: int) -> bytes:
        if self._descriptor < 0:
            return bytes(self._memory[offset : offset + size])
        return self._disk.read_at(self._descriptor, size, offset)

    def close(self) -> None:
        """The bytes are gone."""
        if self._descriptor >= 0:
            self._disk.close(self._descriptor)
            self._descriptor = -1
            self._disk.remove(self._name)
