"""What the documents say about the program is what the program does."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

import orlop
from orlop import errors, settings
from orlop.check import Checked, Finding, Usage
from orlop.cli.lazy import Command
from orlop.cli.main import BROKEN_PIPE
from orlop.cli.options import is_network
from orlop.cli.root import ENTRIES, root
from orlop.collect import Collected
from orlop.images import Image, Listed
from orlop.job import Event, EventKind
from orlop.materialise import Mounted, Unpacked
from orlop.model import limits, sandbox
from orlop.model.reference import TRANSPORTS
from orlop.push import Pushed
from orlop.rootfs.programs import NoProgram, NotExecutable
from orlop.store import Store
from orlop.transfer import Planned, Pulled
from tests.support.command_line import Orlop
from tests.support.images import small_image, write_layout
from tests.support.serving import serve_layout

HOME = Path(__file__).parents[2]
FILES = [
    HOME / "README.md",
    *(HOME / "docs" / f"{name}.md" for name in ("tutorial", "how-to", "reference", "security")),
]
REFERENCE = (HOME / "docs" / "reference.md").read_text(encoding="utf-8")
SECURITY = (HOME / "docs" / "security.md").read_text(encoding="utf-8")
README = (HOME / "README.md").read_text(encoding="utf-8")
VALUES = (Pulled, Planned, Pushed, Image, Listed, Mounted, Unpacked, Collected, Checked, Finding, Usage)
PLACE = "docker.io/library/debian:12"  # what the README's example pulls

_OPTION = re.compile(r"`(-[^` ]+)(?: [^`]*)?`")


def _command(name: str) -> Command:
    first, *rest = name.split(" ")
    found = root.get_command(click.Context(root), first)
    for word in rest:
        assert isinstance(found, click.Group)
        found = found.get_command(click.Context(found), word)
    assert isinstance(found, Command)
    return found


def _commands() -> Iterator[str]:
    """All, those of a group as `group name`."""
    for name in ENTRIES:
        found = root.get_command(click.Context(root), name)
        yield from (f"{name} {each}" for each in found.commands) if isinstance(found, click.Group) else (name,)


def _section(text: str, heading: str) -> str:
    """From a heading to the next one of its level or above."""
    level = heading.split(" ")[0]
    start = re.search(rf"^{re.escape(heading)}$", text, re.MULTILINE)
    assert start, f"no heading {heading!r}"
    end = re.search(rf"^#{{1,{len(level)}}} ", text[start.end() :], re.MULTILINE)
    return text[start.end() : start.end() + end.start() if end else None]


def _rows(text: str) -> Iterator[list[str]]:
    """The cells of the tables in a text, without headings."""
    for line in text.splitlines():
        if line.startswith("| ") and not line.startswith("|---"):
            yield [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def _first(text: str) -> list[str]:
    """The first cell's words in backquotes, over all rows."""
    return [word for row in _rows(text) for word in re.findall(r"`([^`]+)`", row[0])]


def _options(text: str) -> set[str]:
    return {name for row in _rows(text) for name in _OPTION.findall(row[0])}


def _names(parameters: list[click.Option]) -> set[str]:
    return {name for option in parameters for name in option.opts}


def _own(command: Command) -> tuple[list[click.Option], list[click.Option]]:
    """Options of a command alone, and those of the network."""
    common = _common()
    found = [p for p in command.params if isinstance(p, click.Option) and not common.issuperset(p.opts)]
    return [p for p in found if not is_network(p)], [p for p in found if is_network(p)]


def _common() -> set[str]:
    return _names([p for p in root.params if isinstance(p, click.Option)])


def test_reference_has_every_command_and_no_other() -> None:
    assert re.findall(r"^#### orlop (.+)$", REFERENCE, re.MULTILINE) == list(_commands())


@pytest.mark.parametrize("name", sorted(_commands()))
def test_reference_has_every_option_of_a_command_and_no_other(name: str) -> None:
    command, text = _command(name), _section(REFERENCE, f"#### orlop {name}")
    own, network = _own(command)
    assert _options(text) == _names(own)
    assert ("(#network-options)" in text) == bool(network)
    usage = " ".join(p.make_metavar(click.Context(command)) for p in command.params if isinstance(p, click.Argument))
    assert f"    orlop {name} [OPTIONS] {usage}".rstrip() + "\n" in text
    for option in own + network:
        assert option.help
        assert f"| {option.help.replace('|', chr(92) + '|')} |" in (REFERENCE if is_network(option) else text)


def test_reference_has_the_shared_options() -> None:
    _, network = _own(_command("pull"))
    assert _options(_section(REFERENCE, "## Network options")) == _names(network)
    assert _options(_section(REFERENCE, "## Options of every command")) == _common() | {"-h", "--help"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_option_and_command_in_a_document_exists(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    called = [line for line in _code(text) if re.search(r"(^|[\s(`])orlop [a-z]", line)]
    assert called or file in (HOME / "docs" / "reference.md", HOME / "docs" / "security.md")
    for line in called:
        for name, rest in re.findall(r"(?:^|[\s(])orlop ((?:--?\w+ )*[a-z]+)([^|;&#)]*)", line):
            name = name.split(" ")[-1]
            group = root.get_command(click.Context(root), name)
            if isinstance(group, click.Group):
                name, rest = f"{name} {rest.split()[0]}", rest.partition(" ")[2]
            command = _command(name)
            known = _names([p for p in command.params if isinstance(p, click.Option)]) | {"-h", "--help"}
            # behind the reference, options are those of the command that is run
            if name in ("run", "bundle"):
                continue
            assert set(re.findall(r"(?<=\s)--?[a-z][a-z0-9-]*", rest)) <= known | {"-vv"}, line


def _code(text: str) -> list[str]:
    blocks = re.findall(r"^```(?:sh|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line.removeprefix("$ ") for line in lines if not line.startswith("#")]


def test_reference_has_every_setting() -> None:
    rows = {row[0].strip("`"): row for row in _rows(_section(REFERENCE, "## Configuration")) if row[0] != "key"}
    kinds = {"string": str, "list of strings": list, "integer": int}
    assert {name: kinds[row[1]] for name, row in rows.items()} == settings._KEYS


def test_reference_has_every_error_with_its_codes() -> None:
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.Error)]
    rows = {row[0].strip("`"): row[1:4] for row in _rows(_section(REFERENCE, "## Errors")) if row[0] != "error"}
    assert rows == {
        each.__name__: [str(each.exit_code), str(each.http_status), "yes" if each.retryable else "no"]
        for each in classes
    }


def test_reference_has_every_exit_code() -> None:
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.Error)]
    codes = {0, BROKEN_PIPE, NoProgram.exit_code, NotExecutable.exit_code} | {each.exit_code for each in classes}
    assert {int(row[0]) for row in _rows(_section(REFERENCE, "## Exit codes")) if row[0] != "code"} == codes


def test_reference_has_every_transport() -> None:
    named = {word.split(":")[0] for word in _first(_section(REFERENCE, "## References"))}
    assert named - {"HOST["} == set(TRANSPORTS)


def test_reference_has_every_event() -> None:
    kinds = [*EventKind.__args__, "message"]  # type: ignore[attr-defined]
    text = _section(REFERENCE, "## Progress")
    assert sorted(_first(text)) == sorted(kinds)
    keys = ["event", *(field.name for field in dataclasses.fields(Event) if field.name != "kind")]
    assert [key for key in keys if f"`{key}`" not in text] == []


def test_reference_has_every_public_name() -> None:
    found = re.search(r"^from orlop import (\w+(?:, \w+)+)$", REFERENCE, re.MULTILINE)
    assert found
    assert sorted([*found[1].split(", "), "__version__"]) == sorted(orlop.__all__)


def test_reference_has_every_signature_of_the_store() -> None:
    found = re.search(r"<!-- signatures:begin -->\n```text\n(.*?)```", REFERENCE, re.DOTALL)
    assert found
    functions = [(name, getattr(value, "__func__", value)) for name, value in vars(Store).items()]
    expected = [_signature(name, f) for name, f in functions if inspect.isfunction(f) and not name.startswith("_")]
    assert found[1].replace("\n    ", " ").splitlines() == expected


def _signature(name: str, function: Any) -> str:
    found = inspect.signature(function)
    parts: list[str] = []
    for parameter in list(found.parameters.values())[1:]:
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}".replace("'", '"')
        parts.append(f"{parameter.name}: {parameter.annotation}{default}")
    return f"{name}({', '.join(parts)}) -> {found.return_annotation}"


@pytest.mark.parametrize("value", VALUES, ids=lambda value: str(value.__name__))
def test_reference_has_every_field_of_a_value(value: type[Any]) -> None:
    fields = ", ".join(f"`{field.name}`" for field in dataclasses.fields(value))
    assert f"| `{value.__name__}` | {fields} |" in REFERENCE


def _keys(command: str) -> set[str]:
    found = re.search(rf"JSON keys of `{command}`: ((?:`\w+`,?\s?)+)[.;]", REFERENCE)
    assert found, f"no JSON keys of {command}"
    return set(re.findall(r"`(\w+)`", found[1]))


def test_reference_says_how_large_an_index_may_be() -> None:
    section = _section(REFERENCE, "## Files in the store")
    assert f"may have {limits.NAMES_BYTES >> 20} MiB." in section
    assert f"reads one of {limits.LAYOUT_INDEX_BYTES >> 20} MiB at most" in section


def test_reference_says_which_commands_have_no_json() -> None:
    told = re.search(r"Without `--json` are (.*?)\. Text", REFERENCE, re.DOTALL)
    assert told is not None
    flags = {name: [p for p in _command(name).params if "--json" in p.opts] for name in _commands()}
    without = {name.split(" ")[0] for name, found in flags.items() if not any(getattr(p, "is_flag", 0) for p in found)}
    assert set(re.findall(r"`(\w+)`", told[1])) == without


def test_reference_has_the_json_keys_that_commands_print(tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "app", {"1": small_image()})
    program, name = Orlop(tmp_path / "store"), "localhost/app:1"
    runs: dict[str, tuple[str, ...]] = {
        "pull --dry-run": ("pull", "--dry-run", f"oci:{layout}:1"),
        "pull": ("pull", f"oci:{layout}:1"),
        "images": ("images",),
        "tags": ("tags", "localhost/app"),
        "inspect": ("inspect", name),
        "history": ("history", name),
        "digest": ("digest", name),
        "unpack": ("unpack", name, str(tmp_path / "tree")),
        "fsck": ("fsck",),
        "df": ("df",),
        "rm": ("rm", name),
        "gc": ("gc",),
    }
    for label, arguments in runs.items():
        assert _keys(label) == _printed(program, *arguments), label


@pytest.mark.root
def test_reference_has_the_json_keys_of_mounts(tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "app", {"1": small_image()})
    program, name = Orlop(tmp_path / "store"), f"oci:{layout}:1"
    assert _keys("mount") == _printed(program, "mount", name, str(tmp_path / "root"))
    assert _keys("mount") == _printed(program, "mount")
    assert _keys("umount") == _printed(program, "umount", str(tmp_path / "root"))
    assert _keys("bundle") == _printed(program, "bundle", "localhost/app:1", str(tmp_path / "bundle"), "true")
    assert program("umount", str(tmp_path / "bundle")).status == 0


def _printed(program: Orlop, *arguments: str) -> set[str]:
    result = program(arguments[0], "--json", *arguments[1:])
    assert result.status == 0, result.err
    shown = result.json()
    return set(shown[0] if isinstance(shown, list) else shown)


def test_security_has_every_limit_with_its_value() -> None:
    units = {"KIB", "MIB"}
    values = {name: value for name, value in vars(limits).items() if name.isupper() and name not in units}
    rows = [row for row in _rows(_section(SECURITY, "## Limits")) if row[0] != "limit"]
    assert {row[0].strip("`"): row[1].replace(",", "") for row in rows} == {k: str(v) for k, v in values.items()}


def test_security_has_the_capabilities_and_no_other() -> None:
    assert set(re.findall(r"CAP_\w+", _section(SECURITY, "## Containers"))) == set(sandbox.CAPABILITIES)


@pytest.mark.root
def test_readme_example_runs(tmp_path: Path) -> None:
    found = re.search(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert found
    code = found[1]
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    layout = write_layout(tmp_path / "app", {"1": small_image()})
    with serve_layout(layout, repository="team/app") as served:
        reference, store = f"{served.address}/team/app:1", str(tmp_path / "store")
        for word, other in ((PLACE, reference), ("/tmp/orlop-store", store), ("etc/os-release", "etc/motd")):
            assert word in code
            code = code.replace(word, other)
        settings_file = tmp_path / "config" / "orlop" / "config.toml"
        settings_file.parent.mkdir(parents=True)
        settings_file.write_text(f'insecure = ["{served.address}"]\n')
        environment = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config"), "PATH": "/usr/bin:/bin"}
        run = [sys.executable, "-W", "error", "-c", code]
        result = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert "changed" in result.stdout


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_python_in_a_document_can_be_parsed_and_imported(file: Path) -> None:
    for block in re.findall(r"^```python\n(.*?)^```", file.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("orlop"):
                exec(compile(ast.Module([node], []), file.name, "exec"), {})


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_relative_links_of_a_document_resolve(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"", text):
        link = target[0] or target[1]
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        there = (file.parent / path) if path else file
        assert there.exists(), link
        if anchor:
            assert anchor in _anchors(there.read_text(encoding="utf-8")), link


def _anchors(text: str) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_lines_of_a_document_are_short(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []


def test_the_picture_is_well_formed_and_alone() -> None:
    picture = (HOME / "docs" / "picture.svg").read_text(encoding="utf-8")
    tree = ET.fromstring(picture)
    assert tree.tag == "{http://www.w3.org/2000/svg}svg"
    assert not re.search(r"<script|<image|href=", picture)
