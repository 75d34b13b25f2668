"""OCI image layouts (image-spec 1.1, image-layout.md) as sources: the directory, and what an archive shares with it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from ..errors import Invalid, NotFound, Unsafe, Usage
from ..job import Job
from ..model import media
from ..model.descriptor import Descriptor
from ..model.digest import Digest
from ..model.document import Document
from ..model.limits import KIB, LAYOUT_INDEX_BYTES, MANIFEST_BYTES
from ..model.strict_json import load_object
from ..ports import Body
from ..streams import read_limited
from .window import Window, foreign

REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"
_MARK = "oci-layout"
_MARK_BYTES = 64 * KIB
_SHOWN = 20  # names in one error line


class Members(Protocol):
    """Files by their exact names: a directory or a tar."""

    def open(self, name: str) -> Window:
        """`NotFound` if there is no such file; leaving the window's context releases it."""


class LayoutSource:
    """A `Source` and `Lists` over the members of an OCI layout. `Invalid` at once if they are none.

    The index is read anew for each call, so that a layout may grow while it is open.
    """

    def __init__(self, members: Members, origin: str, *, hint: str = "") -> None:
        self._members = members
        self.origin = origin
        try:
            raw = self._read(_MARK, _MARK_BYTES)
        except NotFound:
            raise Invalid(f"{origin}: not an OCI layout: there is no {_MARK} file", hint=hint) from None
        version = load_object(raw, what=f"{origin}: {_MARK}").get("imageLayoutVersion")
        if not isinstance(version, str) or not version.startswith("1."):
            raise Invalid(f"{origin}: image layout version {str(version)[:40]!r}, expected 1.x")

    def entries(self) -> tuple[Descriptor, ...]:
        """The descriptors of `index.json`, in order."""
        fields: Any = load_object(self._read("index.json", LAYOUT_INDEX_BYTES), what=f"{self.origin}: index.json")
        listed = fields.get("manifests")
        if not isinstance(listed, list):
            raise Invalid(f"{self.origin}: index.json: manifests is missing or not a list")
        return tuple(Descriptor.from_fields(item) for item in listed)

    def document(self, reference: str) -> Document:
        """`reference`: a tag (either annotation of `names_of`), a digest, or "" for the only entry.

        `NotFound`; `Usage` lists the names when "" or a name fits several entries.
        """
        if ":" in reference and reference.partition(":")[0] in ("sha256", "sha512"):
            digest = Digest(reference)
            known = next((entry for entry in self.entries() if entry.digest == digest), None)
            return self._load(digest, known.media_type if known else "")
        wanted = self.resolve(reference)
        return self._load(wanted.digest, wanted.media_type)

    def resolve(self, reference: str) -> Descriptor:
        """What the index says of a name; errors as of `document`."""
        entries = self.entries()
        fitting = [entry for entry in entries if not reference or reference in names_of(entry)]
        if not fitting:
            what = f"no image is named {reference[:140]!r}" if reference else "there are no images in it"
            raise NotFound(f"{self.origin}: {what}", hint=_names(entries))
        if len({entry.digest for entry in fitting}) > 1:
            asked = f"{reference[:140]!r} names" if reference else "it has"
            raise Usage(f"{self.origin}: {asked} {len(fitting)} images", hint=_names(fitting, "say which"))
        return fitting[0]

    def open(
        self, wanted: Descriptor, *, offset: int = 0, end: int | None = None, job: Job
    ) -> AbstractContextManager[Body]:
        """The bytes of a blob, unverified."""
        return self._members.open(_blob(wanted.digest)).narrow(offset, end, job)

    def size(self, digest: Digest) -> int:
        """Bytes of a blob. `NotFound`."""
        with self._members.open(_blob(digest)) as window:
            return window.size

    def tags(self) -> Iterator[str]:
        """Names as `document` takes them, in the order of the index, each once."""
        yield from dict.fromkeys(names[0] for entry in self.entries() if (names := names_of(entry)))

    def _load(self, digest: Digest, media_type: str) -> Document:
        raw = self._read(_blob(digest), MANIFEST_BYTES)
        document = Document(raw, media_type) if media_type in media.DOCUMENTS else Document.read(raw, media_type)
        return document.under(digest)

    def _read(self, name: str, limit: int) -> bytes:
        with self._members.open(name) as window:
            return read_limited(window, limit, what=f"{self.origin}: {name}")


class Layout(LayoutSource):
    """An OCI layout directory."""

    def __init__(self, path: Path) -> None:
        if not os.path.lexists(path):
            raise NotFound(f"oci:{path}: no such directory")
        super().__init__(Directory(path), f"oci:{path}")


class Directory:
    """The files below a directory. Symbolic links below it are not followed: `Unsafe` (PA20)."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self, name: str) -> Window:
        """A window over the whole file, which owns its descriptor."""
        what = str(self._path / name)
        *directories, last = name.split("/")
        try:
            at = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except NotADirectoryError:
            raise Invalid(
                f"{self._path}: not a directory", hint="for a tar, use oci-archive: or docker-archive:"
            ) from None
        except OSError as error:
            raise foreign(error, str(self._path)) from error
        try:
            for part in directories:
                below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
                os.close(at)
                at = below
            # NONBLOCK: a fifo in place of a blob must not hang the open
            fd = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
        except OSError as error:
            raise foreign(error, what) from error
        finally:
            os.close(at)
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise Unsafe(f"{what}: not a regular file")
        return Window(fd, 0, status.st_size, what=what, owned=True)


def names_of(entry: Descriptor) -> tuple[str, ...]:
    """The names of an entry: the specification's, then containerd's; the first is the one to show."""
    given = (entry.annotations.get(REF_NAME, ""), entry.annotations.get(CONTAINERD_NAME, ""))
    return tuple(dict.fromkeys(name for name in given if name))


def _blob(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.encoded}"


def _names(entries: tuple[Descriptor, ...] | list[Descriptor], verb: str = "there is") -> str:
    shown = [names[0] if (names := names_of(entry)) else str(entry.digest) for entry in entries[:_SHOWN]]
    more = f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
    return f"{verb}: {', '.join(shown)}{more}" if shown else ""
