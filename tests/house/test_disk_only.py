"""What must survive a crash goes through `disk.Disk` alone: else a simulated one would not see it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "orlop"
# what is not durable, or not the store's: SQLite's cache; mount points and targets, which are the caller's
MODULES = [
    *(SOURCE / "blobs").glob("*.py"),
    *(SOURCE / "catalog").glob("*.py"),
    *(SOURCE / "disk" / name for name in ("locks.py", "session.py")),
    *(
        SOURCE / f"{name}.py"
        for name in ("check", "collect", "download", "house", "intake", "parts", "store", "transfer")
    ),
]
HARMLESS = {"environ", "geteuid", "strerror"}
HARMLESS_PATHS = {"basename", "dirname"}
TOUCHING = {
    "chmod",
    "exists",
    "iterdir",
    "mkdir",
    "open",
    "read_bytes",
    "read_text",
    "rename",
    "rmdir",
    "stat",
    "touch",
}
TOUCHING |= {"unlink", "write_bytes", "write_text"}


def _breaches(tree: ast.Module) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [name.name for name in node.names if name.name in ("shutil", "fcntl", "tempfile", "io", "mmap")]
        elif isinstance(node, ast.ImportFrom):
            found += [node.module or ""] if node.module in ("os", "shutil", "fcntl", "tempfile", "io") else []
        elif isinstance(node, ast.Call):
            found += _call(node.func)
    return found


def _call(function: ast.expr) -> list[str]:
    text = ast.unparse(function)
    if text == "open":
        return ["open"]
    if text.startswith("os.path."):
        return [] if text.removeprefix("os.path.") in HARMLESS_PATHS else [text]
    if text.startswith("os.") and "(" not in text:
        return [] if text.removeprefix("os.") in HARMLESS else [text]
    # methods of a pathlib.Path that was made on the spot
    return [text] if text.startswith("Path(") and text.rpartition(".")[2] in TOUCHING else []


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_files_that_matter_are_touched_by_the_disk_only(file: Path) -> None:
    assert _breaches(ast.parse(file.read_text(encoding="utf-8"))) == []


def test_the_search_finds_what_it_is_for() -> None:
    code = "import fcntl\nfrom os import rename\nopen('x')\nos.fsync(1)\nos.path.isdir('x')\nPath('x').unlink()\n"
    assert _breaches(ast.parse(code + "os.path.dirname('x')\nos.strerror(1)\nself.open('x')\n")) == [
        "fcntl",
        "os",
        "open",
        "os.fsync",
        "os.path.isdir",
        "Path('x').unlink",
    ]
