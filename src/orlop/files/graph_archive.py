"""Archives that Docker 0.6 to 1.9 saved: a directory for each image by its ID, and `repositories`.

`ID/VERSION` is "1.0", `ID/json` the image's JSON as it is, `ID/layer.tar` its layer. Later Dockers write these
beside their own; `docker_archive` reads those.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from ..errors import Invalid, Unsafe
from ..job import Job
from ..model.limits import ARCHIVE_IMAGES_BYTES, LAYOUT_INDEX_BYTES, V1_JSON_BYTES
from ..model.v1 import ImageId, V1Image
from ..streams import read_limited
from .archive import Archive
from .window import Window

REPOSITORIES = "repositories"
_LAYERS = ("layer.tar", "layer")


class GraphArchive:
    """Such an archive, plain or compressed, "-" for standard input; a context manager. `images`: parents first.

    `Invalid` if it has no image directories; every JSON is read and checked at once, no layer is.
    """

    def __init__(self, path: Path, spool: Path, *, job: Job | None = None, opened: Archive | None = None) -> None:
        self.origin = f"docker-archive:{path}"
        self._archive = opened or Archive(path, spool, job=job or Job())
        try:
            self.images = self._ordered(self._read_all())
        except BaseException:
            self._archive.close()
            raise

    def layer(self, image: ImageId) -> Window:
        """The layer of an image of the archive, a context manager. `Invalid` if it has none: it is incomplete."""
        for name in _LAYERS:
            if f"{image}/{name}" in self._archive:
                return self._archive.open(f"{image}/{name}")
        raise Invalid(f"{self.origin}: image {image.short} has no layer.tar")

    @property
    def repositories(self) -> bytes | None:
        """The file of names as it is, None if there is none."""
        return self._read(REPOSITORIES, LAYOUT_INDEX_BYTES) if REPOSITORIES in self._archive else None

    def close(self) -> None:
        """Idempotent."""
        self._archive.close()

    def __enter__(self) -> GraphArchive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read_all(self) -> dict[ImageId, V1Image]:
        images: dict[ImageId, V1Image] = {}
        total = 0
        for name in self._archive.names():
            directory, _, rest = name.partition("/")
            if rest != "json":
                continue
            image = V1Image.read(self._read(name, V1_JSON_BYTES))
            if image.id != directory:
                raise Unsafe(f"{self.origin}: {directory[:80]}/json has the ID {image.id}")
            images[image.id] = image
            total += len(image.raw)
            if total > ARCHIVE_IMAGES_BYTES:
                raise Unsafe(f"{self.origin}: more than {ARCHIVE_IMAGES_BYTES} bytes of image JSON")
        if not images and REPOSITORIES not in self._archive:
            raise Invalid(f"{self.origin}: not a docker archive: no image directories in it")
        return images

    def _ordered(self, images: dict[ImageId, V1Image]) -> tuple[V1Image, ...]:
        """Parents first; a parent that is not in the archive may be in the store."""
        ordered: dict[ImageId, V1Image] = {}
        for image in images.values():
            chain: dict[ImageId, V1Image] = {}
            at: V1Image | None = image
            while at is not None and at.id not in ordered:
                if at.id in chain:
                    raise Unsafe(f"{self.origin}: image {at.id.short} is its own ancestor")
                chain[at.id] = at
                at = images.get(at.parent) if at.parent else None
            ordered.update(reversed(chain.items()))
        return tuple(ordered.values())

    def _read(self, name: str, limit: int) -> bytes:
        with self._archive.open(name) as member:
            return read_limited(member, limit, what=f"{self.origin}: {name}")


def is_graph_archive(archive: Archive) -> bool:
    """Whether nothing newer tells of the images in it."""
    return REPOSITORIES in archive and "manifest.json" not in archive and "oci-layout" not in archive
