"""T07: `image_set` by a process of its own, as a shell runs it: bytes kept, nothing left of what fails."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import shlex
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from orlop.rootfs.mounting import mount_memory, unmount
from tests.support.images import make_layer
from tests.support.stores import opened
from tests.support.v1images import JOB, A, B, v1

from .running import run

LAYER = make_layer({"etc/": None, "etc/motd": b"hello\n"})
_PLAIN = b'{"id":"%s"}' % A.encode()
ODD = (
    _PLAIN,
    _PLAIN + b"\n",
    _PLAIN + b"\r\n\r\n",
    _PLAIN + b" \t\n ",
    b"\n\n  " + _PLAIN,
    b'{ "id" : "%s" }' % A.encode(),
    b'{\n\t"id":\n"%s"\n}' % A.encode(),
    b'{"zz":1,"id":"%s","a":2}' % A.encode(),
    b'{"id":"%s","unknown":{"deep":[[[{}]]]}}' % A.encode(),
    b'{"id":"%s","n":[1.50,-0,1e3,1E-7,123456789012345678]}' % A.encode(),
    b'{"id":"%s","\\u0063omment":"\\u0041\\/\\n\\ud83d\\ude00"}' % A.encode(),
    b'{"id":"\\u0061%s"}' % A[1:].encode(),
    b'{"id":"%s","author":"J\xc3\xb6rg \xe6\x97\xa5"}' % A.encode(),
    b'{"id":"%s","author":"<b>&amp;\\u003c"}' % A.encode(),
    b'{"id":"%s","created":"never","Size":"many"}' % A.encode(),
    b'{"id":"%s","parent":"","config":null}' % A.encode(),
    b'{"id":"%s","":"empty key"," ":null}' % A.encode(),
    b'{"id":"%s","architecture":"123","os":"true","author":"null"}' % A.encode(),
    b'{"id":"%s","config":{"Env":["A=1","no equals sign","=","A=2"]}}' % A.encode(),
    b'{"id":"%s","x":"%s"}' % (A.encode(), b"x" * 100_000),
    b'{"id":"%s","x":"\x7f\xc2\x80"}' % A.encode(),
)


def orlop(store: Path, *arguments: str, stdin: bytes = b"", **environment: Any) -> subprocess.CompletedProcess[bytes]:
    """`orlop`, in a process of its own. Values of the environment may be bytes."""
    command = [sys.executable, "-m", "orlop", *arguments]
    variables = {"PATH": os.environ["PATH"], "HOME": str(store.parent), "ORLOP_STORE": str(store), **environment}
    return subprocess.run(command, input=stdin, env=variables, capture_output=True, check=False, timeout=120)


def untouched(store: Path) -> None:
    """No image, no blob, nothing half-done; and the ID is free."""
    with opened(store) as again:
        assert again.graph.nodes() == {}
        assert not list(store.glob("blobs/*/*"))
        assert not list(store.glob("derived/*/*"))
        assert not [path for path in store.glob("sessions/**/*") if path.is_file() and "draft" in path.name]
        assert again.fsck().findings == ()
        again.gc()
        assert (again.df().blobs, again.df().partial_bytes) == (0, 0)
        assert run(again, "image_set", A, json=v1(A).raw.decode(), stdin=LAYER).status == 0
        assert again.fsck().findings == ()


@pytest.mark.parametrize("number", range(len(ODD)))
def test_T07_the_json_comes_back_byte_for_byte(tmp_path: Path, number: int) -> None:
    store, raw = tmp_path / "store", ODD[number]
    ran = orlop(store, "job", "image_set", A, stdin=LAYER, json=raw)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")
    shown = orlop(store, "job", "image_inspect", A, raw="1")
    assert (shown.returncode, shown.stdout) == (0, raw)


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_BLANKS = st.text(" \t\r\n", max_size=3)


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """An image's JSON as somebody else's program may write it."""
    names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
    taken = {"id", "parent"}
    fields = draw(st.dictionaries(names.filter(lambda name: name not in taken), _VALUES, max_size=5))
    items = [*fields.items(), ("id", A)]
    order = draw(st.permutations(items))
    text = json.dumps(
        dict(order),
        ensure_ascii=draw(st.booleans()),
        separators=(f"{draw(_BLANKS)},{draw(_BLANKS)}", f"{draw(_BLANKS)}:{draw(_BLANKS)}"),
    )
    return f"{draw(_BLANKS)}{text}{draw(_BLANKS)}".encode().replace(b"\0", b"")


@settings(max_examples=40, deadline=None)
@given(documents())
def test_T07_any_json_comes_back_byte_for_byte(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder) / "store") as store:
        ran = run(store, "image_set", A, json=os.fsdecode(raw))
        assert (ran.status, ran.err) == (0, "")
        assert run(store, "image_inspect", A, raw="1").out == raw


def test_T07_without_a_json_the_status_is_1(tmp_path: Path) -> None:
    ran = orlop(tmp_path / "store", "job", "image_set", A, stdin=LAYER)
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, b"", b"mandatory key 'json' is not set\n")


def test_T07_two_arguments_are_one_too_many(tmp_path: Path) -> None:
    ran = orlop(tmp_path / "store", "job", "image_set", A, B, json=_PLAIN)
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, b"", b"usage: image_set NAME\n")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"{", b"JSON"),
        (b"[]", b"object"),
        (b"{}", b"id"),
        (b'{"id":"%s"} x' % A.encode(), b"JSON"),
        (b'{"id":"%s","x":"\xff"}' % A.encode(), b"UTF-8"),
        (b'{"id":"%s"}' % B.encode(), b"not of"),
        (b'{"id":"%s","id":"%s"}' % (B.encode(), A.encode()), b"id"),
        (b'{"id":"%s","parent":"%s"}' % (A.encode(), B.encode()), b"parent"),
        (b'{"id":"%s","parent":"%s"}' % (A.encode(), A.encode()), b"parent"),
        (b'{"id":"../../x"}', b"id"),
    ],
)
def test_T07_a_json_that_cannot_be_meant_is_refused(tmp_path: Path, raw: bytes, words: bytes) -> None:
    ran = orlop(tmp_path / "store", "job", "image_set", A, stdin=LAYER, json=raw)
    assert (ran.returncode, ran.stdout) == (1, b"")
    assert words.lower() in ran.stderr.lower()
    assert ran.stderr.count(b"\n") == 1
    untouched(tmp_path / "store")


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("plain", LAYER),
        ("gzip", gzip.compress(LAYER)),
        ("bzip2", bz2.compress(LAYER)),
        ("xz", lzma.compress(LAYER)),
        ("zstd", zstd.compress(LAYER)),
    ],
)
def test_T07_a_layer_may_be_compressed(tmp_path: Path, name: str, packed: bytes) -> None:
    store = tmp_path / "store"
    ran = orlop(store, "image", "set", A, stdin=packed, json=_PLAIN)
    assert (ran.returncode, ran.stdout) == (0, A.encode() + b"\n")
    assert orlop(store, "job", "image_tarlayer", A).stdout == LAYER
    assert orlop(store, "fsck").returncode == 0


def test_T07_image_set_takes_a_json_from_a_file(tmp_path: Path) -> None:
    store, file = tmp_path / "store", tmp_path / "image.json"
    file.write_bytes(ODD[2])
    assert orlop(store, "image", "set", A, "--json", str(file), stdin=LAYER).returncode == 0
    assert orlop(store, "job", "image_inspect", A, raw="1").stdout == ODD[2]
    file.unlink()
    gone = orlop(store, "image", "set", A, "--json", str(file))
    assert (gone.returncode, gone.stdout) == (3, b"")
    none = orlop(store, "image", "set", A)
    assert (none.returncode, none.stdout) == (2, b"")
    assert b"--json FILE" in none.stderr


def test_T07_G13_an_empty_stdin_is_an_image_without_a_layer(tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert orlop(store, "job", "image_set", A, json=_PLAIN).returncode == 0
    with opened(store) as again:
        assert again.graph.get(A).layer is None
    with tarfile.open(fileobj=io.BytesIO(orlop(store, "job", "image_tarlayer", A).stdout)) as tar:
        assert tar.getmembers() == []


@pytest.mark.parametrize(
    "layer",
    [
        b"not a tar at all, but long enough to be looked at" * 50,
        LAYER[:700],
        gzip.compress(LAYER)[:-20],
        gzip.compress(LAYER)[:-8] + b"\0" * 8,
    ],
)
def test_T07_a_bad_layer_leaves_nothing(tmp_path: Path, layer: bytes) -> None:
    ran = orlop(tmp_path / "store", "job", "image_set", A, stdin=layer, json=_PLAIN)
    assert (ran.returncode, ran.stdout) == (1, b"")
    assert ran.stderr.count(b"\n") == 1
    untouched(tmp_path / "store")


def test_T07_killed_in_the_middle_it_leaves_nothing(tmp_path: Path) -> None:
    store = tmp_path / "store"
    command = [sys.executable, "-c", _MEASURED, "job", "image_set", A]
    variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "ORLOP_STORE": str(store), "json": _PLAIN.decode()}
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=variables) as process:
        assert process.stdin is not None
        # what a pipe holds and more: it has read, and waits for the rest
        process.stdin.write(make_layer({"big": os.urandom(4 << 20)})[: 3 << 20])
        process.stdin.flush()
        while not [path for path in store.glob("sessions/**/*") if path.is_file() and path.stat().st_size > 1 << 20]:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.stdin.close()
    untouched(store)


@pytest.mark.root
def test_T07_ST03_without_space_it_leaves_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount_memory(disk, "size=8m")
    try:
        layer = make_layer({"big": os.urandom(12 << 20)})
        ran = orlop(disk / "store", "job", "image_set", A, stdin=layer, json=_PLAIN)
        assert (ran.returncode, ran.stdout) == (1, b"")
        assert b"space" in ran.stderr
        untouched(disk / "store")
    finally:
        unmount(disk, lazy=True)


# the peak of getrusage() would count the memory of pytest, from before exec(2)
_MEASURED = """
import runpy, sys
try:
    runpy.run_module("orlop", run_name="__main__")
finally:
    print(*[line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")], file=sys.stderr)
"""


@pytest.mark.parametrize("closed", ["<&-", "<&- 2>&-"])
def test_T07_without_standard_input_nothing_is_taken_for_a_layer(tmp_path: Path, closed: str) -> None:
    store = tmp_path / "store"
    command = f"exec {shlex.quote(sys.executable)} -m orlop job image_set {A} {closed}"
    variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "ORLOP_STORE": str(store), "json": _PLAIN.decode()}
    ran = subprocess.run(["/bin/sh", "-c", command], env=variables, capture_output=True, check=False, timeout=120)
    assert (ran.returncode, ran.stdout) == (1, b"")
    assert b"2>" in closed.encode() or b"standard input: is closed, expected a tar" in ran.stderr
    untouched(store)


def test_T07_a_large_layer_is_streamed(tmp_path: Path) -> None:
    """1 GiB in a sixth of that memory."""
    store = tmp_path / "store"
    command = [sys.executable, "-c", _MEASURED, "job", "image_set", A]
    variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "ORLOP_STORE": str(store), "json": _PLAIN.decode()}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=variables)
    assert process.stdin is not None
    for piece in large_layer(1 << 30):
        process.stdin.write(piece)
    said = process.communicate()[1]
    assert process.returncode == 0, said
    assert int(said.split()[-1]) < 150 << 10  # KiB
    with opened(store) as again:
        assert again.graph.get(A).size == 1 << 30
        again.graph.delete(A, job=JOB)


def large_layer(size: int) -> Iterator[bytes]:
    member = tarfile.TarInfo("big")
    member.size = size
    yield member.tobuf()
    block = bytes(range(256)) * 4096
    for _ in range(size // len(block)):
        yield block
    yield b"\0" * 1024
