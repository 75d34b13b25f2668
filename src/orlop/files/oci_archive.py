"""OCI layouts in a tar (`oci-archive:`): the same source as the directory."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from ..job import Job
from .archive import Archive
from .layout import LayoutSource


class OciArchive(LayoutSource):
    """An OCI layout in a tar file, plain or compressed, "-" for standard input. A context manager.

    `spool`: a directory for the inflated copy of a compressed archive or a pipe. `Invalid` if it is no layout.
    """

    def __init__(self, path: Path, spool: Path, *, job: Job | None = None, opened: Archive | None = None) -> None:
        self._archive = opened or Archive(path, spool, job=job or Job())
        hint = "it is a docker-archive:" if "manifest.json" in self._archive else ""
        try:
            super().__init__(self._archive, f"oci-archive:{path}", hint=hint)
        except BaseException:
            self._archive.close()
            raise

    def close(self) -> None:
        """Idempotent."""
        self._archive.close()

    def __enter__(self) -> OciArchive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
