"""What completes a word: names and files, and how bash wants them, which splits words at every colon."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class, shell_complete, split_arg_string

from ..errors import Error
from .app import App
from .where import SOURCES

VARIABLE = "_ORLOP_COMPLETE"
# `complete -F` gets words that are split at : and @ too, so the line is given as it is; what bash keeps of the word
# that is completed is cut off from the answers
_BASH = """\
_orlop_completion() {
    local kind value
    COMPREPLY=()
    while IFS=, read -r kind value; do
        case $kind in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            more) compopt -o nospace; COMPREPLY+=("$value") ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done < <(_ORLOP_COMPLETE=bash_complete _ORLOP_LINE="${COMP_LINE:0:COMP_POINT}" \\
        _ORLOP_BREAKS="$COMP_WORDBREAKS" "$1" 2>/dev/null)
}
complete -o nosort -F _orlop_completion orlop
"""
_FILES = tuple(source for source in SOURCES if not source.endswith("//"))
_STORE = "store:"
_SPECIAL = re.compile(r"([\s\"'\\$`;&|<>()*?\[\]#~!{}])")


class Bash(BashComplete):
    """click's, but for whole words."""

    source_template = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        words = split_arg_string(f"{_line()}\0")  # something to end in, also behind a blank
        return words[1:-1], words[-1].removesuffix("\0")

    def format_completion(self, item: CompletionItem) -> str:
        _, word = self.get_completion_args()
        quoted = _line()[: len(_line()) - len(word)].endswith(("'", '"'))
        value = item.value
        if not quoted:
            kept = max((word.rfind(character) + 1 for character in os.environ.get("_ORLOP_BREAKS", "")), default=0)
            value = value[kept:] if value.startswith(word[:kept]) else value
            value = _SPECIAL.sub(r"\\\1", value)
        kind = "more" if item.type == "plain" and value.endswith((":", "/")) else item.type
        return f"{kind},{value}"


def _line() -> str:
    return os.environ.get("_ORLOP_LINE", "")


def answer(root: click.Command, app: App, instruction: str) -> int:
    """Do what the script of a shell asks for in `VARIABLE`."""
    add_completion_class(Bash)
    return shell_complete(root, {"obj": app}, "orlop", VARIABLE, instruction)


def names(app: App, word: str) -> list[str]:
    """Names of images in the store that start so. A shell that completes is no place for errors."""
    from ..model.reference import Reference

    try:
        found = app.store().names()
    except (Error, OSError):
        return []
    both = [(Reference.parse(name).familiar, name) for name in found]
    return [short if short.startswith(word) else name for short, name in both if _starts(short, name, word)]


def _starts(short: str, name: str, word: str) -> bool:
    return short.startswith(word) or (bool(word) and name.startswith(word))


def references(app: App, word: str) -> list[str]:
    """The same, sources, and files behind their transports."""
    transport = next((each for each in _FILES if word.startswith(each)), "")
    if transport:
        return [transport + path for path in _paths(word.removeprefix(transport), directories=transport == "oci:")]
    return [*names(app, word), *(each for each in SOURCES if each.startswith(word) and each != "v1://")]


def sources(app: App, word: str) -> list[str]:
    """The same without names alone, which mean registries, but with those behind `store:`."""
    if word.startswith(_STORE):
        return stored(app, word)
    own = set(names(app, word))
    return [each for each in references(app, word) if each not in own] + [_STORE] * _STORE.startswith(word)


def destinations(app: App, word: str) -> list[str]:
    """Where images can be sent. Names of the store are where others of the same kind may be."""
    if word.startswith(_STORE):
        return stored(app, word)
    return [*names(app, word), *(each for each in ("docker://", _STORE, "v1://") if each.startswith(word))]


def stored(app: App, word: str) -> list[str]:
    return [_STORE + name for name in names(app, word.removeprefix(_STORE))]


def _paths(start: str, *, directories: bool) -> Iterable[str]:
    """Files below which to look on end in a slash."""
    head, slash, tail = start.rpartition("/")
    try:
        entries = sorted(os.scandir(f"{head}{slash}" or "."), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        hidden = entry.name.startswith(".") and not tail.startswith(".")
        if entry.name.startswith(tail) and not hidden and entry.name.isprintable():
            path = f"{head}{slash}{entry.name}"
            if entry.is_dir():
                # a layout is the end of the way; what it holds is behind a colon
                yield path if directories and Path(path, "oci-layout").is_file() else f"{path}/"
            elif not directories:
                yield path


def mounts(app: App, word: str) -> list[CompletionItem]:
    """Directories and names of what is mounted; if there is none, any directory."""
    try:
        found = app.store().mounts()
    except (Error, OSError):
        found = []
    shown = dict.fromkeys([*(str(each.target) for each in found), *names(app, word)])
    fitting = [CompletionItem(each) for each in shown if each.startswith(word)]
    return fitting or [CompletionItem(word, type="dir")]
