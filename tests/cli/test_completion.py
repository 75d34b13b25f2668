"""The tabulator key, in a real bash."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import IMAGE
from tests.support.command_line import Orlop
from tests.support.images import write_layout
from tests.support.terminal import Terminal, terminal

NAMES = ("debian:12", "127.0.0.1:45923/lay:big", "ghcr.io/owner/tools:1", "ghcr.io/owner/tools:2")
_PROGRAM = """\
#!/bin/sh
[ -n "$_ORLOP_COMPLETE" ] && exec {python} -m orlop
printf '<%s>' "$@"
printf ' end\\n'
"""


class Shell:
    """A bash that knows the completion; `orlop` prints the words that it was called with."""

    def __init__(self, opened: Terminal, store: Path) -> None:
        self.opened = opened
        self.store = store

    def __call__(self, line: str) -> str:
        """What becomes of a line when the tabulator is pressed behind it."""
        self.opened.press("C-l")
        self.opened.wait(lambda lines: lines == ["$"])
        self.opened.type(line)
        self.opened.press("Tab", "Enter")
        shown = self.opened.wait(lambda lines: any(each.endswith(" end") for each in lines) and lines[-1] == "$")
        return next(each for each in shown if each.endswith(" end")).removesuffix(" end")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    place = tmp_path_factory.mktemp("completion")
    orlop = Orlop(place / "store")
    layout = write_layout(place / "layout", {"1": IMAGE})
    assert orlop("pull", "-q", f"oci:{layout}:1").status == 0
    for name in NAMES:
        assert orlop("tag", "localhost/layout:1", name).status == 0
    assert orlop("rm", "localhost/layout:1").status == 0
    (place / "script").write_text(orlop("completion", "bash").out)
    for directory in ("mine", "bin", "work/with space", "work/mnt"):
        (place / directory).mkdir(parents=True)
    (place / "work" / "x.tar").touch()
    write_layout(place / "work" / "layout", {"1": IMAGE})
    program = place / "bin" / "orlop"
    program.write_text(_PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    environment = {
        "PATH": f"{place}/bin:/usr/bin:/bin",
        "PYTHONPATH": ":".join(entry for entry in sys.path if entry),
        "HOME": str(place),
        "ORLOP_STORE": str(orlop.store),
        "INPUTRC": "/dev/null",
    }
    with terminal(["/bin/bash", "--noprofile", "--norc", "-i"], environment, columns=200) as opened:
        opened.type(f"PS1='$ '; . {place}/script; cd {place}/work; bind 'set bell-style none'")
        opened.press("Enter")
        opened.wait(lambda lines: lines[-1] == "$")
        yield Shell(opened, orlop.store)


@pytest.mark.peer
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("orlop unt", "<untag>"),
        ("orlop run --pu", "<run><--pull>"),
        ("orlop inspect deb", "<inspect><debian:12>"),
        ("orlop run debian:", "<run><debian:12>"),
        ("orlop run 127.0.0.1:45923/", "<run><127.0.0.1:45923/lay:big>"),
        ("orlop run 127.0.0.1:45923/lay:b", "<run><127.0.0.1:45923/lay:big>"),
        ("orlop run '127.0.0.1:45923/lay:b", "<run><127.0.0.1:45923/lay:big>"),
        ("orlop run --driver=er", "<run><--driver=erofs>"),
        ("orlop run --driver er", "<run><--driver><erofs>"),
        ("orlop tag ghcr.io/owner/tools:2 deb", "<tag><ghcr.io/owner/tools:2><deb>"),
        ("orlop rm ghcr.io", "<rm><ghcr.io/owner/tools:>"),
        ("orlop mount 127.0.0.1:45923/lay:big m", "<mount><127.0.0.1:45923/lay:big><mnt/>"),
        ("orlop mount debian:12 wi", "<mount><debian:12><with space/>"),
        ("orlop export debian:12 -o x", "<export><debian:12><-o><x.tar>"),
        ("orlop --store mn", "<--store><mnt/>"),
        ("orlop pull oci", "<pull><oci>"),
        ("orlop pull oci:la", "<pull><oci:layout>"),
        ("orlop pull oci:wi", "<pull><oci:with space/>"),
        ("orlop pull oci-archive:x", "<pull><oci-archive:x.tar>"),
        ("orlop pull dock", "<pull><docker>"),
        ("orlop pull docker:", "<pull><docker://>"),
        ("orlop push deb", "<push><debian:12>"),
        ("orlop push debian:12 ghcr.io/owner/tools:2", "<push><debian:12><ghcr.io/owner/tools:2>"),
        ("orlop push debian:12 docker:", "<push><debian:12><docker://>"),
        ("orlop copy oci:la", "<copy><oci:layout>"),
        ("orlop copy store:deb", "<copy><store:debian:12>"),
        ("orlop copy store:debian:12 sto", "<copy><store:debian:12><store:>"),
        ("orlop umount /us", "<umount></usr/>"),
    ],
)
def test_bash_completes(shell: Shell, line: str, words: str) -> None:
    assert shell(line) == words


@pytest.mark.peer
def test_bash_completes_where_a_colon_does_not_part_words(shell: Shell) -> None:
    shell.opened.type("COMP_WORDBREAKS=${COMP_WORDBREAKS//:}")
    shell.opened.press("Enter")
    try:
        assert shell("orlop run 127.0.0.1:45923/lay:b") == "<run><127.0.0.1:45923/lay:big>"
        assert shell("orlop pull oci:la") == "<pull><oci:layout>"
    finally:
        shell.opened.type("COMP_WORDBREAKS+=:")
        shell.opened.press("Enter")


@pytest.mark.root
@pytest.mark.peer
def test_bash_completes_what_is_mounted(shell: Shell, tmp_path: Path) -> None:
    orlop, target = Orlop(shell.store), tmp_path / "there"
    assert orlop("mount", "debian:12", str(target)).status == 0
    try:
        assert shell(f"orlop umount {str(target)[:-3]}") == f"<umount><{target}>"
    finally:
        assert orlop("umount", str(target)).status == 0


@pytest.mark.parametrize("shell_name", ["zsh", "fish"])
def test_the_scripts_of_other_shells_are_clicks(tmp_path: Path, shell_name: str) -> None:
    result = Orlop(tmp_path / "store")("completion", shell_name)
    assert (result.status, result.err) == (0, "")
    assert f"_ORLOP_COMPLETE={shell_name}_complete" in result.out
