"""Archives of Docker 0.6 to 1.9, read: `files.graph_archive`; written: `tar.members`."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from orlop.errors import Damaged, Error, Invalid, Unsafe
from orlop.files.graph_archive import GraphArchive
from orlop.job import Job
from orlop.streams import read_limited
from orlop.tar.members import MemberWriter
from tests.support.tars import END, entry, tar

A, B, C = "a1" * 32, "b2" * 32, "c3" * 32
LAYER = tar(entry("x", data=b"x"))


def document(own: str, parent: str = "") -> bytes:
    return json.dumps({"parent": parent, "id": own}).encode()


def write(path: Path, members: dict[str, bytes]) -> Path:
    with path.open("wb") as out:
        writer = MemberWriter(out, Job())
        for name, content in members.items():
            writer.file(name, io.BytesIO(content), len(content), 0)
        writer.close()
    return path


def saved(*images: tuple[str, str]) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    for own, parent in images:
        members |= {f"{own}/VERSION": b"1.0", f"{own}/json": document(own, parent), f"{own}/layer.tar": LAYER}
    return members


def test_T12_images_are_listed_parents_first_with_their_bytes(tmp_path: Path) -> None:
    names = {"repositories": b'{"r":{"t":"%s"}}' % C.encode()}
    path = write(tmp_path / "a.tar", saved((C, B), (A, ""), (B, A)) | names)
    with GraphArchive(path, tmp_path) as archive:
        assert [image.id for image in archive.images] == [A, B, C]
        assert archive.images[2].raw == document(C, B)
        assert archive.repositories == names["repositories"]
        with archive.layer(archive.images[0].id) as layer:
            assert read_limited(layer, 1 << 20, what="layer") == LAYER


def test_T12_a_parent_may_be_elsewhere_and_names_may_be_missing(tmp_path: Path) -> None:
    with GraphArchive(write(tmp_path / "a.tar", saved((B, A))), tmp_path) as archive:
        assert [image.parent for image in archive.images] == [A]
        assert archive.repositories is None


@pytest.mark.parametrize(
    ("members", "error", "text"),
    [
        ({}, Invalid, "no image directories"),
        ({"x": b""}, Invalid, "no image directories"),
        ({f"{A}/json": document(B)}, Unsafe, "has the ID"),
        ({"../json": document(A)}, Unsafe, "has the ID"),
        ({f"{A}/json": b"{"}, Invalid, "not JSON"),
        (saved((A, B), (B, A)), Unsafe, "own ancestor"),
        (saved((A, B), (B, C), (C, A)), Unsafe, "own ancestor"),
    ],
)
def test_PA19_an_archive_that_is_not_one_is_refused(
    tmp_path: Path, members: dict[str, bytes], error: type[Error], text: str
) -> None:
    with pytest.raises(error, match=text):
        GraphArchive(write(tmp_path / "a.tar", members), tmp_path)


def test_PA19_an_image_without_its_layer_is_incomplete(tmp_path: Path) -> None:
    with GraphArchive(write(tmp_path / "a.tar", {f"{A}/json": document(A)}), tmp_path) as archive:
        with pytest.raises(Invalid, match="no layer"):
            archive.layer(archive.images[0].id)


def test_members_are_what_others_read(tmp_path: Path) -> None:
    out = io.BytesIO()
    writer = MemberWriter(out, Job())
    writer.directory(A, 10**9)
    writer.file(f"{A}/json", io.BytesIO(b"{}"), 2, 2 * 10**9)
    writer.close()
    assert writer.size == len(out.getvalue())
    assert out.getvalue().endswith(END)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as read:
        directory, file = read.getmembers()
    assert (directory.name, directory.isdir(), directory.mode, directory.mtime) == (A, True, 0o755, 1)
    assert (file.name, file.isreg(), file.mode, file.size, file.mtime) == (f"{A}/json", True, 0o644, 2, 2)


@pytest.mark.parametrize("size", [0, 1, 3])
def test_a_member_of_another_size_is_damage(size: int) -> None:
    with pytest.raises(Damaged):
        MemberWriter(io.BytesIO(), Job()).file("x", io.BytesIO(b"ab"), size, 0)
