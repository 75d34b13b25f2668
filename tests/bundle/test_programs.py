"""Programs that the kernel would refuse are told before a runtime is asked."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from orlop.errors import Error
from orlop.rootfs import programs
from orlop.rootfs.programs import NoProgram, NotExecutable, check_program
from tests.support.programs import make_root


def _elf(machine: int, order: int = 1) -> bytes:
    return b"\x7fELF\x02" + bytes([order, 1]) + bytes(11) + machine.to_bytes(2, "big" if order == 2 else "little")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree with a shell, on a machine without handlers."""
    handlers = tmp_path / "binfmt_misc"
    handlers.mkdir()
    for name in ("register", "status"):
        (handlers / name).write_text("")
    monkeypatch.setattr(programs, "_HANDLERS", handlers)
    return make_root(tmp_path / "tree", "sh")


def _put(tree: Path, name: str, content: bytes) -> None:
    (tree / "bin" / name).write_bytes(content)
    (tree / "bin" / name).chmod(0o755)


@pytest.mark.parametrize(
    ("content", "kind", "text"),
    [
        (b"#!/nope\n", NoProgram, "its interpreter '/nope' is not in the image"),
        (b"#!/bin/sh\r\n", NoProgram, r"its interpreter '/bin/sh\\r' is not in the image"),
        (b"#!nope", NoProgram, "its interpreter '/bin/nope' is not in the image"),
        (b"#!/etc/passwd\n", NotExecutable, "its interpreter '/etc/passwd' is not executable"),
        (b"#!/bin/second -x\n", NoProgram, "'/bin/second': its interpreter '/third' is not in the image"),
        (b"#! \t\n", NotExecutable, "without an interpreter"),
        (b"", NotExecutable, "neither a script with #! nor a program"),
        (b"plain text\n", NotExecutable, "neither a script with #! nor a program"),
        (b"MZ\0\1", NotExecutable, "neither a script with #! nor a program"),
        (_elf(0x1234), NotExecutable, f"another kind of machine, expected {os.uname().machine}"),
        (_elf(0x1234, order=2), NotExecutable, f"another kind of machine, expected {os.uname().machine}"),
        (b"#!/bin/sh\n", None, ""),
        (b"#! /bin/sh -e", None, ""),
        (b"#!sh\n", None, ""),
        (b"#!/proc/self/exe\n", None, ""),  # mounted over: the runtime will tell
        (b"#!/" + b"x" * 400, None, ""),
        (b"#!/bin/loop\n", None, ""),
    ],
)
def test_what_the_kernel_would_refuse_is_told(tree: Path, content: bytes, kind: type[Error] | None, text: str) -> None:
    _put(tree, "second", b"#!/third\n")
    _put(tree, "loop", b"#!/bin/loop\n")
    _put(tree, "it", content)
    with nullcontext() if kind is None else pytest.raises(kind, match=text) as failure:
        check_program(tree, "it", "/sbin:/bin", "/bin", ["/proc"])
    assert failure is None or str(failure.value).startswith("program 'it': ")


def test_what_a_handler_may_take_is_left_to_the_runtime(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (programs._HANDLERS / "qemu-other").write_text("enabled\n")
    for content in (_elf(0x1234), b"MZ\0\1"):
        _put(tree, "it", content)
        check_program(tree, "it", "/bin", "/", [])
    _put(tree, "it", b"text")
    with pytest.raises(NotExecutable):
        check_program(tree, "it", "/bin", "/", [])


def test_the_first_that_is_executable_along_the_path_counts(tree: Path) -> None:
    (tree / "sbin").mkdir()
    (tree / "sbin/it").write_text("not executable")
    _put(tree, "it", b"#!/bin/sh\n")
    check_program(tree, "it", "/sbin:/bin", "/", [])
    (tree / "sbin/it").chmod(0o755)
    with pytest.raises(NotExecutable):
        check_program(tree, "it", "/sbin:/bin", "/", [])
