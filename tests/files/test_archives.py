from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from orlop.errors import Error, Invalid, NotFound, Unsafe, Unsupported, Usage
from orlop.files.docker_archive import DockerArchive
from orlop.files.oci_archive import OciArchive
from orlop.job import Job
from orlop.model import media
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.model.document import Document
from orlop.ports import Source
from tests.support.images import (
    Content,
    Hardlink,
    MadeImage,
    Symlink,
    compress,
    docker_archive_files,
    layout_files,
    make_layer,
    small_image,
    write_docker_archive,
    write_layout,
    write_oci_archive,
)


def read(source: Source, wanted: Descriptor, offset: int = 0) -> bytes:
    with source.open(wanted, offset=offset, job=Job()) as body:
        return b"".join(iter(lambda: body.read(1 << 16), b""))


def check_whole(source: Source, document: Document, image: MadeImage) -> None:
    """Config and plain layers are the image's, byte for byte, and are what their descriptors say."""
    assert document.config is not None
    assert read(source, document.config) == image.config
    for wanted, plain in zip(document.layers, image.layers, strict=True):
        content = read(source, wanted)
        assert (Digest.of(content), len(content)) == (wanted.digest, wanted.size)
        if wanted.media_type == media.DOCKER_LAYER:
            assert content == plain


@pytest.fixture
def image() -> MadeImage:
    return small_image("none")


@pytest.fixture
def files(image: MadeImage) -> dict[str, Content]:
    return docker_archive_files({"example.org/a/b:1": image})


def archive(path: Path, files: dict[str, Content]) -> DockerArchive:
    (path / "saved.tar").write_bytes(make_layer(files))
    return DockerArchive(path / "saved.tar", path)


# -- docker archives -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "example.org/a/b:1", "@0"])
def test_a_docker_archive_is_read(tmp_path: Path, image: MadeImage, files: dict[str, Content], name: str) -> None:
    with archive(tmp_path, files) as source:
        document = source.document(name)
        assert document.media_type == media.DOCKER_MANIFEST
        assert [layer.media_type for layer in document.layers] == [media.DOCKER_LAYER] * 2
        check_whole(source, document, image)
        assert source.document(str(document.digest)) == document
        assert list(source.tags()) == ["example.org/a/b:1"]


def test_the_manifest_made_is_always_the_same(tmp_path: Path, files: dict[str, Content]) -> None:
    with archive(tmp_path, files) as one:
        first = one.document("")
    with archive(tmp_path, dict(reversed(files.items()))) as other:
        assert other.document("").raw == first.raw


def test_short_names_are_the_long_ones(tmp_path: Path, image: MadeImage) -> None:
    with archive(tmp_path, docker_archive_files({"debian:12": image})) as source:
        assert source.document("docker.io/library/debian:12") == source.document("debian:12")


def test_several_images_must_be_told_apart(tmp_path: Path, image: MadeImage) -> None:
    other = small_image("none", word="other")
    with archive(tmp_path, docker_archive_files({"a:1": image, "b:1": other})) as source:
        check_whole(source, source.document("b:1"), other)
        check_whole(source, source.document("@0"), image)
        with pytest.raises(Usage, match="it has 2 images; say which: a:1, b:1"):
            source.document("")
        with pytest.raises(NotFound, match="no image is named 'c:1'; there is: a:1, b:1"):
            source.document("c:1")
        with pytest.raises(NotFound, match="no image @2"):
            source.document("@2")


def test_compressed_layer_members_are_hashed(tmp_path: Path, image: MadeImage, files: dict[str, Content]) -> None:
    packed = {
        name: compress(content, "gzip") if name.endswith("layer.tar") and isinstance(content, bytes) else content
        for name, content in files.items()
    }
    with archive(tmp_path, packed) as source:
        document = source.document("")
        assert [layer.media_type for layer in document.layers] == [media.DOCKER_LAYER_GZIP] * 2
        check_whole(source, document, image)
        assert read(source, document.layers[0], 3) == compress(image.layers[0], "gzip")[3:]


def test_docker_25_archives_are_both_kinds(tmp_path: Path, image: MadeImage) -> None:
    files: dict[str, Content] = {"blobs": None, "blobs/sha256": None, **layout_files({"1": image})}
    files["manifest.json"] = json.dumps(
        [
            {
                "Config": f"blobs/sha256/{Digest.of(image.config).encoded}",
                "RepoTags": ["example.org/a/b:1"],
                "Layers": [f"blobs/sha256/{Digest.of(layer).encoded}" for layer in image.layers],
                "LayerSources": {str(Digest.of(layer)): {"size": len(layer)} for layer in image.layers},
            }
        ]
    ).encode()
    files["repositories"] = b'{"example.org/a/b":{"1":"' + b"0" * 64 + b'"}}'
    with archive(tmp_path, files) as source:
        check_whole(source, source.document("example.org/a/b:1"), image)
    with OciArchive(tmp_path / "saved.tar", tmp_path) as layout:
        assert layout.document("1") == image.document


def test_PA19_linked_layers_are_found_inside_the_archive(
    tmp_path: Path, image: MadeImage, files: dict[str, Content]
) -> None:
    """Docker 1.10 to 24 write a layer that two images share once, and a link `../<id>/layer.tar` for the other."""
    names = [name for name in files if name.endswith("layer.tar")]
    moved: dict[str, Content] = {"real/layer.tar": files[names[0]], "hard/real": files[names[1]]}
    moved |= {**files, names[0]: Symlink("../real/layer.tar"), names[1]: Hardlink("hard/real")}
    with archive(tmp_path, moved) as source:
        check_whole(source, source.document(""), image)


@pytest.mark.parametrize("target", ["/etc/passwd", "../../etc/passwd", "../../../x", "layer.tar"])
def test_PA19_links_out_of_the_archive_or_in_circles_are_refused(
    tmp_path: Path, files: dict[str, Content], target: str
) -> None:
    name = next(name for name in files if name.endswith("layer.tar"))
    with archive(tmp_path, {**files, name: Symlink(target)}) as source, pytest.raises(Unsafe):
        source.document("")


@pytest.mark.parametrize("name", ["/etc/passwd", "../../../../etc/passwd", "./manifest.json/../x", ""])
def test_PA19_names_in_the_manifest_are_members_never_paths(
    tmp_path: Path, files: dict[str, Content], name: str
) -> None:
    listed = json.loads(bytes(files["manifest.json"]))  # type: ignore[arg-type]
    listed[0]["Layers"][0] = name
    with (
        archive(tmp_path, {**files, "manifest.json": json.dumps(listed).encode()}) as source,
        pytest.raises(NotFound, match="there is no member"),
    ):
        source.document("")


def test_PA19_a_member_that_is_there_twice_is_refused(tmp_path: Path, files: dict[str, Content]) -> None:
    out = io.BytesIO(make_layer(files))
    with tarfile.open(fileobj=out, mode="a") as tar:
        member = tarfile.TarInfo("manifest.json")
        member.size = 2
        tar.addfile(member, io.BytesIO(b"[]"))
    (tmp_path / "saved.tar").write_bytes(out.getvalue())
    with pytest.raises(Unsafe, match=r"has member 'manifest.json' twice"):
        DockerArchive(tmp_path / "saved.tar", tmp_path)


def test_layers_that_the_config_does_not_count_are_refused(tmp_path: Path, files: dict[str, Content]) -> None:
    listed = json.loads(bytes(files["manifest.json"]))  # type: ignore[arg-type]
    listed[0]["Layers"].pop()
    with (
        archive(tmp_path, {**files, "manifest.json": json.dumps(listed).encode()}) as source,
        pytest.raises(Invalid, match="1 layers, but the config has 2 diff IDs"),
    ):
        source.document("")


def test_archives_of_before_docker_1_10_are_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"saved by a Docker before 1.10"):
        archive(tmp_path, {"repositories": b"{}", "x/layer.tar": b"", "x/json": b"{}"})


# -- both ------------------------------------------------------------------------------------------------


def test_an_oci_archive_is_read(tmp_path: Path) -> None:
    image = small_image()
    path = write_oci_archive(tmp_path / "a.tar", {"one": image})
    with OciArchive(path, tmp_path) as source:
        assert source.document("") == image.document
        for wanted in image.document.successors:
            assert read(source, wanted) == image.blobs[wanted.digest]
        with pytest.raises(NotFound):
            source.document("two")


def test_members_may_start_with_a_dot(tmp_path: Path) -> None:
    image = small_image()
    files = {f"./{name}": content for name, content in layout_files({"one": image}).items()}
    (tmp_path / "a.tar").write_bytes(make_layer({"./": None, **files}))
    with OciArchive(tmp_path / "a.tar", tmp_path) as source:
        assert source.document("one") == image.document


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_compressed_archives_are_inflated_once_and_leave_nothing(tmp_path: Path, image: MadeImage, kind: str) -> None:
    path = write_docker_archive(tmp_path / "saved.tar", {"a:1": image})
    raw = path.read_bytes()
    path.write_bytes(gzip.compress(raw) if kind == "gzip" else zstd.compress(raw))
    spool = tmp_path / "spool"
    spool.mkdir()
    with DockerArchive(path, spool) as source:
        assert list(spool.iterdir()) == []
        check_whole(source, source.document("a:1"), image)
    assert list(spool.iterdir()) == []


def test_a_truncated_compressed_archive_is_refused(tmp_path: Path, image: MadeImage) -> None:
    path = write_docker_archive(tmp_path / "saved.tar", {"a:1": image})
    path.write_bytes(gzip.compress(path.read_bytes())[:-30])
    with pytest.raises(Invalid, match="ends early"):
        DockerArchive(path, tmp_path)


@pytest.mark.parametrize("pack", [lzma.compress, bz2.compress])
def test_archives_of_old_compressions_are_read(
    tmp_path: Path, image: MadeImage, pack: Callable[[bytes], bytes]
) -> None:
    write_docker_archive(tmp_path / "plain.tar", {"a:1": image})
    (tmp_path / "a.tar").write_bytes(pack((tmp_path / "plain.tar").read_bytes()))
    with DockerArchive(tmp_path / "a.tar", tmp_path) as archive:
        check_whole(archive, archive.document(""), image)


@pytest.fixture
def pipe(tmp_path: Path, image: MadeImage) -> Iterator[Path]:
    path = write_docker_archive(tmp_path / "saved.tar", {"a:1": image})
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with subprocess.Popen(["/bin/sh", "-c", 'cat "$0" > "$1"', str(path), str(fifo)]):
        yield fifo


def test_a_pipe_is_spooled(tmp_path: Path, image: MadeImage, pipe: Path) -> None:
    with DockerArchive(pipe, tmp_path) as source:
        check_whole(source, source.document(""), image)


def test_a_dash_is_standard_input(tmp_path: Path, image: MadeImage) -> None:
    path = write_docker_archive(tmp_path / "saved.tar", {"a:1": image})
    code = (
        "import sys; from pathlib import Path; from orlop.files.docker_archive import DockerArchive\n"
        "with DockerArchive(Path('-'), Path(sys.argv[1])) as source: print(source.document('').config.digest)"
    )
    with path.open("rb") as stdin:
        run = [sys.executable, "-c", code, str(tmp_path)]
        environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
        out = subprocess.run(run, stdin=stdin, stdout=subprocess.PIPE, check=True, env=environment).stdout
    assert out.decode().strip() == Digest.of(image.config)


def test_the_wrong_kind_is_told(tmp_path: Path, image: MadeImage) -> None:
    docker = write_docker_archive(tmp_path / "docker.tar", {"a:1": image})
    with pytest.raises(Invalid, match=r"not an OCI layout: .*; it is a docker-archive:"):
        OciArchive(docker, tmp_path)
    oci = write_oci_archive(tmp_path / "oci.tar", {"a": image})
    with pytest.raises(Invalid, match=r"no manifest.json; it is an oci-archive:"):
        DockerArchive(oci, tmp_path)
    (tmp_path / "plain.tar").write_bytes(make_layer({"a": b"b"}))
    with pytest.raises(Invalid, match="not a docker archive: there is no manifest"):
        DockerArchive(tmp_path / "plain.tar", tmp_path)
    for text in (b"hello\n" * 200, b"7" * 600):
        (tmp_path / "text").write_bytes(text)
        with pytest.raises(Invalid, match=r"/text: not a tar archive$"):
            DockerArchive(tmp_path / "text", tmp_path)
    (tmp_path / "text").write_bytes(make_layer({"a": b"b"})[:1024] + b"hello\n" * 200)
    with pytest.raises(Invalid, match=r"tar header at byte [0-9]+: a number is not of octal digits$"):
        DockerArchive(tmp_path / "text", tmp_path)
    with pytest.raises(Invalid, match="is a directory, expected a tar; for a layout directory, use oci:"):
        DockerArchive(tmp_path, tmp_path)
    with pytest.raises(NotFound):
        DockerArchive(tmp_path / "missing", tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["Config", "RepoTags", "Layers"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(
    manifest=JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=20), config=st.binary(max_size=9)
)
def test_any_manifest_json_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, manifest: bytes, config: bytes
) -> None:
    with (
        pytest.raises(Error),
        archive(tmp_path_factory.mktemp("a"), {"manifest.json": manifest, "0": config}) as source,
    ):
        source.document("")


@pytest.mark.peer
@pytest.mark.parametrize("transport", ["docker-archive", "oci-archive"])
def test_archives_that_skopeo_wrote_are_read(tmp_path: Path, image: MadeImage, transport: str) -> None:
    source = write_layout(tmp_path / "source", {"one": image})
    target = f"{transport}:{tmp_path}/saved.tar:example.org/a/b:1"
    subprocess.run(["/usr/bin/skopeo", "copy", "-q", f"oci:{source}:one", target], check=True)
    kind = DockerArchive if transport == "docker-archive" else OciArchive
    with kind(tmp_path / "saved.tar", tmp_path) as read_back:
        assert list(read_back.tags()) == ["example.org/a/b:1"]
        document = read_back.document("example.org/a/b:1")
        check_whole(read_back, document, image)
