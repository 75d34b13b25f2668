"""Names, in `index.json` of the store (OCI image-spec 1.1, image-layout.md): the one truth about tags.

Written whole, under the names lock, by rename: a name never points at anything that is not durable, and any
tool that reads OCI layouts can read the store. The SQLite catalog only follows this file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ..disk.disk import Disk
from ..disk.locks import Locks
from ..disk.session import Session
from ..errors import Damaged, Invalid, Unsupported
from ..model.descriptor import Descriptor
from ..model.digest import Digest
from ..model.limits import NAMES_BYTES
from ..model.media import OCI_INDEX
from ..model.strict_json import load_object
from ..ports import Tagged

INDEX = "index.json"
REF_NAME = "org.opencontainers.image.ref.name"
_ORIGIN = "dev.orlop.origin"
_UPDATED = "dev.orlop.updated"
_ORIGINAL = "dev.orlop.converted-from"
_PULLED = "dev.orlop.pulled"


class Names:
    """The names of a store. Small enough to be read whole: some 300 bytes each."""

    def __init__(self, disk: Disk, locks: Locks, session: Session) -> None:
        self._disk = disk
        self._locks = locks
        self._session = session
        # the last bytes that were read and what they say: looking up a hundred names reads them a hundred times
        self._last: tuple[bytes | None, dict[str, Tagged]] = (None, {})

    def all(self) -> dict[str, Tagged]:
        raw = self._disk.read(INDEX, NAMES_BYTES)
        if raw is None:
            return {}
        known, names = self._last
        if raw != known:
            names = self._parsed(raw)
            self._last = raw, names
        return dict(names)

    def _parsed(self, raw: bytes) -> dict[str, Tagged]:
        try:
            fields = load_object(raw, what=INDEX)
            return {tagged.name: tagged for tagged in _tagged(fields.get("manifests", []))}
        except Invalid as error:
            text = error.message.removeprefix(f"{INDEX}: ")
            raise Damaged(f"{self._disk.path(INDEX)}: {text}", hint="restore it from a copy") from error

    def swap(self, name: str, old: Digest | None, new: Tagged | None) -> bool:
        """See `ports.Catalog.swap`."""
        with self._locks.names():
            names = self.all()
            there = names[name].target.digest if name in names else None
            if there != old:
                return False
            if new is not None and name in names:
                new = _joined(names[name], new)
            if names.get(name) == new:
                # nothing to write; but whoever did may have been killed before it was durable
                self._disk.sync_directory("")
                return True
            if new is None:
                names.pop(name, None)
            else:
                names[name] = new
            self._write(names.values())
            return True

    def _write(self, names: Iterable[Tagged]) -> None:
        fields = {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [_fields(tagged) for tagged in sorted(names, key=lambda tagged: tagged.name)],
        }
        raw = json.dumps(fields, indent=1).encode()
        if len(raw) > NAMES_BYTES:
            # written, it could not be read any more
            text = f"{self._disk.path(INDEX)}: {len(raw)} bytes of names, at most {NAMES_BYTES} are taken"
            raise Unsupported(text, hint="remove some names, or use another --store")
        self._disk.write_file(INDEX, self._session.scratch(), raw, mode=0o600)


def _joined(old: Tagged, new: Tagged) -> Tagged:
    """Of the same index more and more may be pulled, by several processes at once; nothing of it is forgotten."""
    if old.target.digest != new.target.digest:
        return new
    pulled = {*old.pulled, *new.pulled}
    return replace(new, pulled=(new.target.digest,) if new.target.digest in pulled else tuple(sorted(pulled)))


def _fields(tagged: Tagged) -> dict[str, Any]:
    annotations = {REF_NAME: tagged.name, _ORIGIN: tagged.origin, _UPDATED: tagged.updated}
    if tagged.original:
        annotations[_ORIGINAL] = tagged.original
    if tagged.pulled:
        annotations[_PULLED] = " ".join(tagged.pulled)
    target = tagged.target
    return {
        "mediaType": target.media_type,
        "digest": str(target.digest),
        "size": target.size,
        "annotations": {key: value for key, value in annotations.items() if value},
    }


def _tagged(entries: Any) -> Iterable[Tagged]:
    if not isinstance(entries, list):
        raise Invalid("manifests is not a list")
    for fields in entries:
        descriptor = Descriptor.from_fields(fields)
        notes = descriptor.annotations
        original = notes.get(_ORIGINAL)
        if REF_NAME in notes:
            yield Tagged(
                notes[REF_NAME],
                Descriptor(descriptor.media_type, descriptor.digest, descriptor.size),
                notes.get(_ORIGIN, ""),
                notes.get(_UPDATED, ""),
                Digest(original) if original else None,
                tuple(Digest(text) for text in notes.get(_PULLED, "").split()),
            )
