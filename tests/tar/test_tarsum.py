"""Docker's checksum of layers, to the sums that its own tests have: `tar.tarsum`."""

from __future__ import annotations

import io
import tarfile
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import Error, Invalid, Unsafe
from orlop.tar.tarsum import TarSum, tarsum
from tests.support import docker_layers as layers
from tests.support.tars import END, GNU, entry, extension, gnu_long, header, pad, pax, tar

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def of(layer: bytes, raw_json: bytes = b"", label: str = "tarsum+sha256") -> str:
    return tarsum(io.BytesIO(layer), raw_json, label=label)


@pytest.mark.parametrize(
    ("layer", "raw_json", "text"),
    [
        (
            layers.sudoers_layer(),
            layers.SUDOERS_JSON,
            "tarsum+sha256:e58fcf7418d4390dec8e8fb69d88c06ec07039d651fedd3aa72af9972e7d046b",
        ),
        (
            layers.sudoers_layer(),
            layers.SUDOERS_JSON,
            "tarsum.dev+sha256:486b86e25c4db4551228154848bc4663b15dd95784b1588980f4ba1cb42e83e9",
        ),
        (
            layers.sudoers_layer(),
            layers.SUDOERS_JSON,
            "tarsum.v1+sha256:486b86e25c4db4551228154848bc4663b15dd95784b1588980f4ba1cb42e83e9",
        ),
        (
            layers.xattr_layer(),
            layers.XATTR_JSON,
            "tarsum+sha256:e86f81a4d552f13039b1396ed03ca968ea9717581f9577ef1876ea6ff9b38c98",
        ),
        (
            layers.xattr_layer(),
            layers.XATTR_JSON,
            "tarsum.dev+sha256:6235cd3a2afb7501bac541772a3d61a3634e95bc90bb39a4676e2cb98d08390d",
        ),
        (
            layers.base_layer(),
            layers.BASE_JSON,
            "tarsum+sha256:ac672ee85da9ab7f9667ae3c32841d3e42f33cc52c273c23341dabba1c8b0c8b",
        ),
        (
            layers.sized_layer(),
            b"",
            "tarsum+sha256:8bf12d7e67c51ee2e8306cba569398b1b9f419969521a12ffb9d8875e8836738",
        ),
        (
            layers.sized_layer(),
            b"",
            "tarsum+sha384:a578ce3ce29a2ae03b8ed7c26f47d0f75b4fc849557c62454be4b5ffd66ba021e713b48ce71e947b43aab57afd5a7636",
        ),
        (
            layers.sized_layer(),
            b"",
            "tarsum+sha512:e9bfb90ca5a4dfc93c46ee061a5cf9837de6d2fdf82544d6460d3147290aecfabf7b5e415b9b6e72db9b8941f149d5d69fb17a394cbfaf2eac523bd9eae21855",
        ),
        (
            layers.collision_layer(0, 1),
            b"",
            "tarsum+sha256:08653904a68d3ab5c59e65ef58c49c1581caa3c34744f8d354b3f575ea04424a",
        ),
        (
            layers.collision_layer(1, 0),
            b"",
            "tarsum+sha256:b51c13fbefe158b5ce420d2b930eef54c5cd55c50a2ee4abdddea8fa9f081e0d",
        ),
        (
            layers.collision_layer(1),
            b"",
            "tarsum+sha256:381547080919bb82691e995508ae20ed33ce0f6948d41cafbeb70ce20c73ee8e",
        ),
        (
            layers.collision_layer(0),
            b"",
            "tarsum+sha256:f886e431c08143164a676805205979cd8fa535dfcef714db5515650eea5a7c0f",
        ),
    ],
)
def test_R10_the_sums_of_dockers_own_tests_come_out(layer: bytes, raw_json: bytes, text: str) -> None:
    assert of(layer, raw_json, text) == text
    total = TarSum(text)
    total.write(layer)
    assert total.matches(text, raw_json)
    assert not total.matches(text, raw_json + b" ")


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (header("file.txt", mode=0), "tarsum+sha256:626c4a2e9a467d65c33ae81f7f3dedd4de8ccaee72af73223c4bc4718cbc7bbd"),
        (
            header("file.txt", mode=0),
            "tarsum.dev+sha256:6ffd43a1573a9913325b4918e124ee982a99c0f3cba90fc032a65f5e20bdd465",
        ),
        (
            header("another.txt", mode=0, uid=1000, gid=1000, uname=b"slartibartfast", gname=b"users", size=4)
            + pad(b"test"),
            "tarsum.dev+sha256:b38166c059e11fb77bef30bf16fba7584446e80fcc156ff46d47e36c5305d8ef",
        ),
        (
            pax({"SCHILY.xattr.user.key2": "value2", "SCHILY.xattr.user.key1": "value1"})
            + header("xattrs.txt", mode=0, uid=1000, gid=1000, uname=b"slartibartfast", gname=b"users", size=4)
            + pad(b"test"),
            "tarsum.dev+sha256:4cc2e71ac5d31833ab2be9b4f7842a14ce595ec96a37af4ed08f87bc374228cd",
        ),
        (
            pax({"SCHILY.xattr.user.KEY1": "value1", "SCHILY.xattr.user.key2": "value2"})
            + header("xattrs.txt", mode=0, uid=1000, gid=1000, uname=b"slartibartfast", gname=b"users", size=4)
            + pad(b"test"),
            "tarsum.dev+sha256:65f4284fa32c0d4112dd93c3637697805866415b570587e4fd266af241503760",
        ),
        (
            pax({"SCHILY.xattr.user.NOT": "CALCULATED"})
            + header("xattrs.txt", mode=0, uid=1000, gid=1000, uname=b"slartibartfast", gname=b"users", size=4)
            + pad(b"test"),
            "tarsum+sha256:c12bb6f1303a9ddbf4576c52da74973c00d14c109bcfa76b708d5da1154a07fa",
        ),
    ],
)
def test_R10_every_field_of_a_header_counts(layer: bytes, text: str) -> None:
    assert of(layer + END, label=text) == text


@pytest.mark.parametrize("layer", [b"", END, END + b"anything", bytes(512)])
def test_R10_an_empty_tar_has_the_sum_of_nothing(layer: bytes) -> None:
    assert of(layer) == f"tarsum+sha256:{EMPTY}"
    assert of(layer, label="tarsum.v1+sha256") == f"tarsum.v1+sha256:{EMPTY}"


@pytest.mark.parametrize(
    "label", ["", "tarsum", "invalidlabel", "invalid+sha256", "tarsum.v1+invalid", "tarsum+md5", "tarsum+sha1", "+"]
)
def test_R10_other_labels_are_refused(label: str) -> None:
    with pytest.raises(Invalid, match=r"^tarsum: expected "):
        TarSum(label)


def test_R10_pieces_of_any_size_give_the_same_sum() -> None:
    layer = layers.sudoers_layer()
    for size in (1, 7, 511, 512, 513, 4096):
        total = TarSum()
        for at in range(0, len(layer), size):
            assert total.write(memoryview(layer)[at : at + size]) == len(layer[at : at + size])
        assert total.text(layers.SUDOERS_JSON).endswith(
            ":e58fcf7418d4390dec8e8fb69d88c06ec07039d651fedd3aa72af9972e7d046b"
        )


def test_R10_the_order_of_different_names_does_not_count() -> None:
    one, two, three = (entry(name, data=name.encode() * 300) for name in ("a", "b", "c"))
    assert of(tar(one, two, three)) == of(tar(three, one, two))


def test_R10_of_one_name_both_orders_of_that_time_match() -> None:
    one, two, other = entry("./a", data=b"1"), entry("a", data=b"2"), entry("b")
    sums = {of(tar(one, two, other)), of(tar(other, two, one))}
    assert len(sums) == 2
    matched = []
    for members in ((one, two, other), (other, two, one)):
        total = TarSum()
        total.write(tar(*members))
        assert total.matches(total.text())
        matched.append({text for text in sums if total.matches(text)})
    # sorted like all others, as registries of that time did, both are the same
    assert len(matched[0] & matched[1]) == 1
    assert matched[0] | matched[1] == sums


def test_R10_long_names_are_names_however_they_are_written() -> None:
    name, link = b"n" * 180, b"l" * 180
    plain: dict[str, str | bytes | int] = {
        "path": name,
        "linkpath": link,
        "uname": "u",
        "gname": "g",
        "uid": 5,
        "gid": 6,
        "mtime": "7.9",
    }
    by_pax = pax(plain) + header("x", b"2", mode=0o777)
    by_gnu = gnu_long(name) + gnu_long(link, b"K")
    by_gnu += header("y", b"2", mode=0o777, uid=5, gid=6, mtime=7, magic=GNU, uname=b"u", gname=b"g")
    assert of(by_pax + END) == of(by_gnu + END)
    by_prefix = header("n" * 90, prefix="p" * 89) + END
    assert of(by_prefix) == of(pax({"path": "p" * 89 + "/" + "n" * 90}) + header("x") + END)


def test_R10_a_hard_link_with_a_size_has_no_data() -> None:
    link = header("b", b"1", size=5, link="a")
    assert of(link + entry("c") + END) == of(entry("c") + link + END)


def test_R10_missing_padding_and_a_missing_end_are_no_matter() -> None:
    member = header("a", size=3) + b"abc"
    assert of(member) == of(pad(member) + END)


@pytest.mark.parametrize(
    "layer",
    [
        header("a", size=3) + b"ab",
        header("a")[:-1],
        b"x" * 512,
        pax({"path": "x"}),
        gnu_long("x"),
        header("a", checksum=b"000000\0 "),
        header("a", size=-1),
        extension(b"9 path=xx"),
        header("x", b"x", size=9) + b"9 path=",
    ],
)
def test_R10_what_is_cut_off_or_no_tar_is_refused(layer: bytes) -> None:
    with pytest.raises(Invalid):
        of(layer)


def test_R10_extensions_and_members_have_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unsafe, match="extended header at byte 0"):
        of(header("x", b"x", size=(1 << 20) + 1))
    monkeypatch.setattr("orlop.tar.tarsum.TAR_ENTRIES", 2)
    assert of(entry("a") + entry("b") + END)
    with pytest.raises(Unsafe, match="over 2 members"):
        of(entry("a") + entry("b") + entry("c") + END)


def test_R10_large_files_are_not_kept() -> None:
    total = TarSum()
    piece = bytes(1 << 20)
    tracemalloc.start()
    total.write(header("big", size=64 << 20))
    for _ in range(64):
        total.write(piece)
    total.write(END)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total.text().startswith("tarsum+sha256:")
    assert peak < 1 << 20


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_R10_formats_of_a_tar_give_one_sum(format_: int) -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=format_) as archive:
        info = tarfile.TarInfo("d/" + "f" * 98)
        info.size, info.mtime, info.uname, info.mode = 4, 9, "ü", 0o640
        archive.addfile(info, io.BytesIO(b"data"))
    expected = pax({"path": "d/" + "f" * 98}) + header("x", mode=0o640, mtime=9, size=4, uname="ü".encode())
    assert of(raw.getvalue()) == of(expected + pad(b"data") + END)


@given(st.binary(max_size=600), st.integers(0, 599))
def test_R10_only_our_errors_leave_whatever_the_bytes(noise: bytes, at: int) -> None:
    layer = layers.xattr_layer()
    broken = layer[:at] + noise + layer[at + len(noise) :]
    try:
        text = of(broken)
    except Error:
        return
    assert text.startswith("tarsum+sha256:")
