"""EROFS images against the only judge that counts: the running kernel."""

from __future__ import annotations

import hashlib
import io
import os
import struct
from pathlib import Path

import pytest

from orlop.erofs.format import EROFS_SUPER_OFFSET, MODE_TYPES
from orlop.erofs.writer import write_image
from orlop.errors import Invalid, Unsupported
from orlop.model.tree import Inode, Kind, Tree
from tests.support.trees import difference, expected, mounted, snapshot

IDENTITY = bytes(range(16))
SECOND = 10**9


def put(parent: Inode, name: bytes, kind: Kind, mode: int = 0o644) -> Inode:
    assert parent.children is not None
    inode = parent.children[name] = Inode(kind, mode, 0)
    if kind is Kind.DIRECTORY:
        inode.links = 2
        parent.links += 1
    return inode


def empty_tree() -> Tree:
    tree = Tree()
    tree.root.links = 2
    return tree


def image_of(tree: Tree, sizes: list[int], directory: Path) -> Path:
    path = directory / "image.erofs"
    with path.open("wb") as out:
        written = write_image(tree, sizes, out, identity=IDENTITY)
    assert written.bytes == path.stat().st_size
    assert not written.notes
    return path


def corner_tree(tar: Path) -> Tree:
    tree = empty_tree()
    tree.root.mode, tree.root.uid, tree.root.mtime_ns = 0o1755, 5, -7 * SECOND + 1
    content = os.urandom(64 << 10)
    tar.write_bytes(content)
    for number, size in enumerate((0, 1, 511, 512, 513, 4095, 4096, 4097, 20_000)):
        file = put(tree.root, b"file-%d" % size, Kind.FILE, 0o600 + number)
        file.size, file.offset = size, 512 * number
        file.uid, file.gid, file.mtime_ns = 4_294_967_294, 70_000 + number, number * SECOND + 999_999_999
    setuid = put(tree.root, b"\xff\xfe" * 127, Kind.FILE, 0o6755)
    setuid.size, setuid.offset, setuid.mtime_ns = 10, 1024, -(2**40) * SECOND
    setuid.xattrs = ((b"security.capability", b"\1\0\0\2" + bytes(16)), (b"trusted.t", b"t"), (b"user.empty", b""))
    big = put(tree.root, b"big-xattrs", Kind.FILE)
    big.size, big.offset = 700, 2048
    big.xattrs = tuple((b"user.%d" % number, os.urandom(65_535)) for number in range(3))
    for number, kind in enumerate((Kind.CHARACTER, Kind.BLOCK, Kind.FIFO, Kind.SOCKET)):
        node = put(tree.root, kind.name.encode(), kind, 0o7000 | number)
        node.xattrs = ((b"trusted.node", b"%d" % number),)
        if kind in (Kind.CHARACTER, Kind.BLOCK):
            node.major, node.minor = 4095, 1_048_575
    below = put(tree.root, b"links", Kind.DIRECTORY, 0)
    below.xattrs = ((b"user.directory", b"d" * 300),)
    for size in (1, 100, *range(400, 520, 3), 4095):
        link = put(below, b"l%d" % size, Kind.SYMLINK, 0o777)
        link.link = b"x" * size
        if size % 2:
            link.xattrs = ((b"trusted.link", b"v" * (size % 50)),)
    for parent, name in ((below, b"hard"), (tree.root, b"another")):
        assert parent.children is not None
        parent.children[name] = setuid
        setuid.links += 1
    return tree


@pytest.mark.root
def test_the_mounted_image_is_the_tree(tmp_path: Path) -> None:
    tar = tmp_path / "layer.tar"
    tree = corner_tree(tar)
    image = image_of(tree, [tar.stat().st_size], tmp_path)
    with mounted(image, [tar], tmp_path / "root") as root:
        assert difference(expected(tree, [tar]), snapshot(root)) == []


def test_the_same_tree_gives_the_same_bytes(tmp_path: Path) -> None:
    tree = corner_tree(tmp_path / "layer.tar")
    one, other = io.BytesIO(), io.BytesIO()
    write_image(tree, [64 << 10], one, identity=IDENTITY)
    write_image(tree, [64 << 10], other, identity=IDENTITY)
    assert one.getvalue() == other.getvalue()


@pytest.mark.root
def test_listings_of_every_size_around_a_block_are_whole(tmp_path: Path) -> None:
    tree = empty_tree()
    for size in range(480, 545):
        directory = put(tree.root, b"d%d" % size, Kind.DIRECTORY, 0o755)
        left = size - 27  # what "." and ".." take
        while left > 0:
            name = min(left - 12, 60) if left >= 24 else left - 12
            if left - 12 - name < 13 and left - 12 - name > 0:
                name -= 13
            put(directory, b"%0*d" % (max(name, 4), left), Kind.FIFO)
            left -= 12 + max(name, 4)
    with mounted(image_of(tree, [], tmp_path), [], tmp_path / "root") as root:
        assert difference(expected(tree, []), snapshot(root)) == []


@pytest.mark.root
def test_names_sort_before_and_after_the_dots(tmp_path: Path) -> None:
    tree = empty_tree()
    for byte in set(range(1, 256)) - {ord("/"), ord(".")}:
        put(tree.root, bytes((byte,)), Kind.FIFO)
    for name in (b"...", b".-", b".0", b"a" * 255, b"a" * 254 + b"b"):
        put(tree.root, name, Kind.FIFO)
    with mounted(image_of(tree, [], tmp_path), [], tmp_path / "root") as root:
        assert difference(expected(tree, []), snapshot(root)) == []


@pytest.mark.root
def test_a_directory_of_100000_entries_can_be_listed_and_searched(tmp_path: Path) -> None:
    tree = empty_tree()
    many = put(tree.root, b"many", Kind.DIRECTORY, 0o755)
    shared = put(many, b"00000", Kind.FILE)
    assert many.children is not None
    for number in range(1, 100_000):
        many.children[b"%05d" % number] = shared
    shared.links = 100_000
    with mounted(image_of(tree, [], tmp_path), [], tmp_path / "root") as root:
        names = os.listdir(root / "many")
        assert sorted(names) == [f"{number:05}" for number in range(100_000)]
        assert {os.stat(root / "many" / name).st_nlink for name in names[::97]} == {100_000}
        assert not (root / "many" / "100000").exists()


@pytest.mark.root
@pytest.mark.parametrize("size", [5 << 30, (1 << 40) + 4096], ids=["5 GiB", "over 1 TiB, two chunks"])
def test_files_past_every_boundary_are_read_where_they_stand(tmp_path: Path, size: int) -> None:
    tar = tmp_path / "layer.tar"
    places = [0, (4 << 30) - 3, size - 7] + ([(1 << 40) - 3] if size > 1 << 40 else [])
    with tar.open("wb") as out:
        out.truncate(1024 + size)
        for place in places:
            out.seek(1024 + place)
            out.write(b"here %d" % (place % 7))
    tree = empty_tree()
    file = put(tree.root, b"file", Kind.FILE)
    file.size, file.offset = size, 1024
    file.xattrs = ((b"user.x", b"y"),) if size % 3 else ()
    with mounted(
        image_of(tree, [tar.stat().st_size + -tar.stat().st_size % 512], tmp_path), [tar], tmp_path / "r"
    ) as root:
        assert (root / "file").stat().st_size == size
        with (root / "file").open("rb") as stream:
            for place in places:
                stream.seek(place)
                assert stream.read(6) == b"here %d" % (place % 7)


@pytest.mark.root
def test_140_layers_are_one_mount_without_loop_devices(tmp_path: Path) -> None:
    tree, tars = empty_tree(), []
    for number in range(140):
        tar = tmp_path / f"{number}-{'x' * 200}.tar"
        tar.write_bytes(bytes(512 * number) + b"%0512d" % number)
        tars.append(tar)
        file = put(tree.root, b"%d" % number, Kind.FILE)
        file.size, file.offset, file.layer = 512, 512 * number, number
    image = image_of(tree, [tar.stat().st_size for tar in tars], tmp_path)
    loops = sorted(Path("/sys/block").glob("loop*/loop"))
    with mounted(image, tars, tmp_path / "root") as root:
        assert sorted(Path("/sys/block").glob("loop*/loop")) == loops
        assert difference(expected(tree, tars), snapshot(root)) == []


@pytest.mark.root
def test_an_empty_tree_without_layers_can_be_mounted(tmp_path: Path) -> None:
    with mounted(image_of(empty_tree(), [], tmp_path), [], tmp_path / "root") as root:
        assert os.listdir(root) == []
        assert root.stat().st_ino != 0


def test_the_most_layers_keep_the_root_within_16_bits() -> None:
    out = io.BytesIO()
    tree = empty_tree()
    tree.root.xattrs = ((b"user.large", bytes(60_000)),)
    write_image(tree, [512] * 65_535, out, identity=IDENTITY)
    image = out.getvalue()
    (root_nid,) = struct.unpack_from("<H", image, EROFS_SUPER_OFFSET + 14)
    (meta_block,) = struct.unpack_from("<I", image, EROFS_SUPER_OFFSET + 40)
    (mode,) = struct.unpack_from("<H", image, meta_block * 512 + root_nid * 32 + 4)
    assert mode == MODE_TYPES[Kind.DIRECTORY] | 0o755


def test_more_layers_than_the_format_holds_are_refused() -> None:
    with pytest.raises(Unsupported, match="65536 layers"):
        write_image(empty_tree(), [512] * 65_536, io.BytesIO(), identity=IDENTITY)


def test_attributes_that_erofs_cannot_hold_are_left_out_and_said() -> None:
    tree = empty_tree()
    tree.root.xattrs = ((b"btrfs.compression", b"zstd"), (b"user.", b"no name"), (b"user.kept", b"1"))
    out = io.BytesIO()
    written = write_image(tree, [], out, identity=IDENTITY)
    assert len(written.notes) == 2
    assert "btrfs.compression" in written.notes[0]
    assert b"kept" in out.getvalue()


def test_too_many_attributes_for_one_inode_are_refused() -> None:
    tree = empty_tree()
    tree.root.xattrs = tuple((b"user.%d" % number, bytes(65_535)) for number in range(5))
    with pytest.raises(Unsupported, match="xattrs"):
        write_image(tree, [], io.BytesIO(), identity=IDENTITY)


@pytest.mark.parametrize(
    ("offset", "size", "layer"),
    [(0, 4097, 0), (512, 4096, 0), (1, 10, 0), (0, 10, 1), (0, 10, -1), (4096, 1, 0), (-512, 10, 0)],
)
def test_data_outside_of_its_tar_is_refused(offset: int, size: int, layer: int) -> None:
    tree = empty_tree()
    file = put(tree.root, b"file", Kind.FILE)
    file.offset, file.size, file.layer = offset, size, layer
    with pytest.raises(Invalid, match="outside of its tar"):
        write_image(tree, [4096], io.BytesIO(), identity=IDENTITY)


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"/", b"a\0b", b"n" * 256])
def test_EX09_names_that_are_no_names_are_refused(name: bytes) -> None:
    tree = empty_tree()
    put(tree.root, name, Kind.FIFO)
    with pytest.raises(Invalid):
        write_image(tree, [], io.BytesIO(), identity=IDENTITY)


@pytest.mark.parametrize("target", [b"", b"x" * 4096])
def test_symlinks_that_linux_cannot_make_are_refused(target: bytes) -> None:
    tree = empty_tree()
    put(tree.root, b"link", Kind.SYMLINK).link = target
    with pytest.raises(Invalid, match="symlink"):
        write_image(tree, [], io.BytesIO(), identity=IDENTITY)


@pytest.mark.parametrize(("field", "value"), [("uid", 1 << 32), ("gid", -1), ("mtime_ns", (1 << 63) * SECOND)])
def test_EX19_EX20_numbers_out_of_range_are_refused_never_wrapped(field: str, value: int) -> None:
    tree = empty_tree()
    setattr(tree.root, field, value)
    with pytest.raises(Invalid, match="out of range"):
        write_image(tree, [], io.BytesIO(), identity=IDENTITY)


def test_sizes_and_identities_of_the_wrong_form_are_refused() -> None:
    with pytest.raises(Invalid, match="512-byte blocks"):
        write_image(empty_tree(), [100], io.BytesIO(), identity=IDENTITY)
    with pytest.raises(Invalid, match="16 bytes"):
        write_image(empty_tree(), [], io.BytesIO(), identity=b"short")


@pytest.mark.root
def test_the_image_does_not_change_the_tars(tmp_path: Path) -> None:
    tar = tmp_path / "layer.tar"
    tree = corner_tree(tar)
    before = hashlib.sha256(tar.read_bytes()).digest()
    with mounted(image_of(tree, [tar.stat().st_size], tmp_path), [tar], tmp_path / "root") as root:
        snapshot(root)
        with pytest.raises(OSError, match="Read-only"):
            (root / "new").touch()
    assert hashlib.sha256(tar.read_bytes()).digest() == before
