"""Images that mean harm, and what must hold after they were met: a named error, and the store as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from orlop.errors import Error
from orlop.model import media
from orlop.model.digest import Digest
from orlop.model.document import Document
from orlop.store import Store
from tests.support.images import MadeImage, small_image, write_layout

_TYPES = {"gzip": "+gzip", "zstd": "+zstd", "": ""}
# what says nothing about images: locks, scratch, SQLite's cache, mount records and half-done downloads
_PASSING = ("locks/", "sessions/", "catalog.db", "mounts/", "partial/")


class Blob(NamedTuple):
    """A layer as it is served; `diff_id` is what the config says of it, right or wrong."""

    content: bytes
    diff_id: Digest
    compression: str = ""


def plain(content: bytes) -> Blob:
    return Blob(content, Digest.of(content))


def served(blobs: Sequence[Blob]) -> MadeImage:
    """An image whose documents are in order, whatever its layers are."""
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": [blob.diff_id for blob in blobs]},
        }
    ).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": {"mediaType": media.OCI_CONFIG, "digest": Digest.of(config), "size": len(config)},
        "layers": [
            {
                "mediaType": media.OCI_LAYER + _TYPES[blob.compression],
                "digest": Digest.of(blob.content),
                "size": len(blob.content),
            }
            for blob in blobs
        ],
    }
    content = {Digest.of(raw): raw for raw in (config, *(blob.content for blob in blobs))}
    return MadeImage(Document(json.dumps(manifest).encode(), media.OCI_MANIFEST), content, (), config)


def kept(store: Path) -> dict[str, bytes]:
    """All files of a store that say something, with their bytes."""
    names = {str(path.relative_to(store)): path for path in store.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in sorted(names.items()) if not name.startswith(_PASSING)}


def refusal(store: Store, reference: str) -> Error | None:
    """What a pull of it was refused with, None if it was taken. Nothing but an error of the library comes out; after
    one, the store has what it had, and nothing is left of the attempt."""
    root = store.settings.store
    before = kept(root)
    refused: Error | None = None
    try:
        store.pull(reference)
    except Error as error:
        refused = error
    if refused is not None:
        after = kept(root)
        # blobs that are what their digests say may stay for the next try, and go with the next collection
        gone = {name for name in before if after.get(name) != before[name]}
        fresh = {name for name in after.keys() - before.keys() if not name.startswith(("blobs/", "derived/"))}
        assert (gone, fresh) == (set(), set()), refused
    return refused


def takes_the_good_one(store: Store, place: Path) -> None:
    """A good image can be pulled and every file of the store is in order."""
    good = small_image(word="good")
    if not place.exists():
        write_layout(place, {"good": good})
    assert store.pull(f"oci:{place}:good").digest == good.digest
    assert store.fsck().findings == ()


class Ran(NamedTuple):
    """The end of a process: its exit status, what it printed, the most memory it had (bytes)."""

    status: int
    out: str
    memory: int


_MEASURED = """
import sys
from pathlib import Path
from orlop.errors import Error
arguments = sys.argv[1:]
try:
{body}
except Error as error:
    print(type(error).__name__, error)
for line in open("/proc/self/status"):
    if line.startswith("VmHWM"):
        print("memory", int(line.split()[1]) * 1024)
"""


def run_measured(body: str, *arguments: object, timeout: float = 240) -> Ran:
    """Run Python code in a process of its own, errors of the library printed. The peak is the process's own: that of
    getrusage() would count the memory of this one, from before exec(2)."""
    code = _MEASURED.format(body="\n".join(f"    {line}" for line in body.strip().splitlines()))
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    out, _, memory = done.stdout.rpartition("memory ")
    assert done.returncode == 0, done.stderr
    return Ran(done.returncode, out, int(memory))
