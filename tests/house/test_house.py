"""The rules of the house that no linter has: sizes, words, and who may read the environment."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "orlop"
FILES = sorted(SOURCE.rglob("*.py"))
LINES_A_FILE = 400
LINES_A_FUNCTION = 60
# where people and machines meet the library: the only places that read the environment or write to a terminal
SURFACES = ("cli", "serve")


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_tests_and_benchmarks_are_small_files_too() -> None:
    files = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "bench").rglob("*.py")]
    assert [file.name for file in files if file.read_text(encoding="utf-8").count("\n") > LINES_A_FILE] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_a_file_is_small_and_says_what_it_is_for(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert text.count("\n") <= LINES_A_FILE
    assert ast.get_docstring(tree), "no module docstring"
    long = {
        function.name: function.end_lineno - function.lineno + 1
        for function in _functions(tree)
        if function.end_lineno and function.end_lineno - function.lineno >= LINES_A_FUNCTION
    }
    assert long == {}
    assert not any(isinstance(node, ast.Assert) for node in ast.walk(tree)), "assert is for tests"
    assert not any(word in text for word in ("TODO", "FIXME", "XXX", "NotImplementedError"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_only_surfaces_read_the_environment_or_catch_everything(file: Path) -> None:
    if file.relative_to(SOURCE).parts[0] in SURFACES:
        return
    tree = ast.parse(file.read_text(encoding="utf-8"))
    # `Store.open` without settings is the library's own surface
    allowed = {"store.py"}
    reads = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv") and file.name not in allowed
    ]
    assert reads == []
    catches = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id == "Exception"))
    ]
    assert catches == []
