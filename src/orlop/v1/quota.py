"""How many bytes of layers one fetch may bring, those that were here before included."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import NoSpace
from ..model.v1 import ImageId
from ..ports import Readable


class Quota:
    """`limit` in bytes; None and what is not positive: none. Counts each image once, whatever endpoint gave it."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit if limit is not None and limit > 0 else None
        self._counted: set[ImageId] = set()
        self.fetched = 0
        self.present = 0

    @property
    def left(self) -> int | None:
        return None if self._limit is None else self._limit - self.fetched - self.present

    def check(self, size: int) -> None:
        """`NoSpace` if so many more bytes are too many; -1 is not known."""
        if self.left is not None and size > self.left:
            raise NoSpace(
                f"quota exceeded: the layer has {size} bytes, {max(0, self.left)} of {self._limit} are left",
                hint="give it more",
            )

    def charge_present(self, identity: ImageId, size: int) -> None:
        """Count a layer that is here, if it was not counted yet. `NoSpace` if it is too much."""
        if identity not in self._counted:
            self.check(size)
            self._counted.add(identity)
            self.present += size

    def charge_fetched(self, identity: ImageId, size: int) -> None:
        """Count a layer that came."""
        self._counted.add(identity)
        self.fetched += size


class Limited:
    """A layer of which no more is read than the quota has left, and one byte: then it is `NoSpace`."""

    def __init__(self, source: Readable, quota: Quota, report: Callable[[int], None]) -> None:
        self._source = source
        self._quota = quota
        self._report = report
        self.taken = 0  # bytes so far

    def read(self, size: int, /) -> bytes:
        left = self._quota.left
        room = size if left is None else min(size, left - self.taken + 1)
        data = self._source.read(room)
        self.taken += len(data)
        if left is not None and self.taken > left:
            raise NoSpace("layer size exceeds image quota", hint="give it more")
        if data:
            self._report(self.taken)
        return data
