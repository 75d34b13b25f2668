"""Options, help, usage errors, exit codes: what holds for every command."""

from __future__ import annotations

import errno
import logging
from pathlib import Path
from typing import Any, NoReturn

import click
import pytest

from orlop import __version__, errors
from orlop.cli import where
from orlop.cli.log import SecretlessFormatter
from orlop.cli.root import ENTRIES, SECTIONS, root
from orlop.model.reference import TRANSPORTS
from tests.support.command_line import Orlop

ALL = sorted(ENTRIES)
FEWEST = {
    "bundle": ["x", "/nowhere"],
    "completion": ["bash"],
    "copy": ["x", "y"],
    "tag": ["x", "y"],
    "unpack": ["x", "/nowhere"],
}


class Raising:
    """A store of which every use ends in one error."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def images(self, *, hidden: bool) -> NoReturn:
        raise self.error

    def __exit__(self, *error: object) -> None:
        pass


def failing(orlop: Orlop, error: BaseException, **environment: str) -> Orlop:
    return Orlop(orlop.store, environment, opener=lambda settings: Raising(error))


def test_without_a_command_there_is_help_with_every_command(orlop: Orlop) -> None:
    result = orlop()
    assert result.status == 0
    assert "orlop run debian:12 cat /etc/os-release" in result.out
    for name, entry in ENTRIES.items():
        assert f"  {name} " in result.out
        assert entry.summary in result.out
    assert sorted(name for names in SECTIONS.values() for name in names) == ALL


@pytest.mark.parametrize("name", ALL)
def test_every_command_has_help_that_agrees_with_the_list(orlop: Orlop, name: str) -> None:
    result = orlop(name, "--help")
    assert result.status == 0
    assert result.out.startswith(f"Usage: orlop {name} ")
    command = root.get_command(click.Context(root), name)
    assert command is not None
    assert command.name == name
    assert command.help
    first = command.help.partition("\n")[0]
    assert first.rstrip(".").split(",")[0].split(" ")[0] == ENTRIES[name].summary.split(" ")[0].rstrip(".")
    for option in ("--store", "--config", "--quiet", "--verbose", "--progress", "--version"):
        assert option in result.out


@pytest.mark.parametrize("name", ALL)
def test_every_option_has_help(name: str) -> None:
    command = root.get_command(click.Context(root), name)
    assert command is not None
    silent = [p.name for p in command.params if isinstance(p, click.Option) and not p.help]
    assert silent == []


@pytest.mark.parametrize("arguments", [["--version"], ["pull", "--version"], ["images", "--version", "x"]])
def test_the_version_is_told_before_and_after_a_command(orlop: Orlop, arguments: list[str]) -> None:
    result = orlop(*arguments)
    assert (result.status, result.out) == (0, f"orlop {__version__}\n")


@pytest.mark.parametrize("before", [True, False])
def test_common_options_stand_before_or_after_the_command(orlop: Orlop, tmp_path: Path, before: bool) -> None:
    other = tmp_path / "other"
    options = ["--store", str(other), "-q", "--progress", "none"]
    assert orlop(*([*options, "images"] if before else ["images", *options])).status == 0
    assert other.is_dir()
    assert not orlop.store.exists()


def test_an_option_after_the_command_wins(orlop: Orlop, tmp_path: Path) -> None:
    assert orlop("--store", str(tmp_path / "a"), "images", "--store", str(tmp_path / "b")).status == 0
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["pul"], "no such command 'pul'; did you mean 'pull' or 'push'?"),
        (["umnt", "x"], "did you mean 'umount' or 'untag'?"),
        (["zzz"], "no such command 'zzz'"),
        (["zzz"], "orlop: no such command 'zzz'; orlop --help\n"),
        (["pull", "--plattform", "x", "y"], "orlop: pull: no such option '--plattform'; did you mean '--platform'?\n"),
        (["pull", "--nosuch", "x"], "orlop: pull: no such option '--nosuch'; orlop pull --help\n"),
        (["--nosuch"], "orlop: no such option '--nosuch'; orlop --help\n"),
        (["pull"], "orlop: pull: missing argument 'REF...'; orlop pull --help\n"),
        (["pull", "x", "--jobs"], "orlop: pull: option '--jobs' requires an argument; orlop pull --help\n"),
        (["pull", "x\n", "--jobs", "0\n"], "--jobs"),
        (["mount", "x", "--driver", "foo"], "orlop: mount: invalid value for '--driver': 'foo' is not one of 'auto', "),
        (["images", "a", "b"], "orlop: images: got unexpected extra argument (b); orlop images --help\n"),
        (["images", "--progress", "loud"], "--progress"),
        (["pull", "--insecure", "docker://h/x", "y"], "--insecure: expected HOST[:PORT] or https://HOST[:PORT]"),
        (["pull", "--creds", "nobody", "y"], "--creds: expected USER:PASS"),
        (["completion", "csh"], "'csh'"),
        (["serve", "--listen", "5000"], "expected ADDRESS:PORT"),
        (["run", "-e", "=x", "y"], "-e expects NAME=VALUE"),
        (["run", "-t", "y"], "-t needs a terminal"),
        (["pull", "h.example/UPPER"], "names are lower case"),
    ],
)
def test_usage_errors_say_what_was_expected_and_exit_2(orlop: Orlop, arguments: list[str], told: str) -> None:
    result = orlop(*arguments)
    assert told in result.err
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("orlop: ")
    assert result.err.count("\n") == 1


KINDS = {
    "Invalid": 1,
    "Usage": 2,
    "Mismatch": 5,
    "Unsafe": 5,
    "NotFound": 3,
    "Conflict": 1,
    "Denied": 4,
    "Throttled": 1,
    "Unavailable": 1,
    "Unsupported": 1,
    "Busy": 1,
    "Cancelled": 130,
    "NoSpace": 7,
    "Damaged": 5,
}


@pytest.mark.parametrize(("kind", "status"), KINDS.items())
def test_each_error_is_one_line_and_its_exit_code(orlop: Orlop, kind: str, status: int) -> None:
    error = getattr(errors, kind)("blob: expected this, got that", hint="do so")
    result = failing(orlop, error)("images")
    assert (result.status, result.out) == (status, "")
    assert result.err == "orlop: blob: expected this, got that; do so\n"


def test_no_error_is_left_out_of_the_table() -> None:
    classes = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert classes - {"Error", "Partial", "ClassVar", "Any"} == set(KINDS)


def test_a_partial_failure_has_a_line_for_each(orlop: Orlop) -> None:
    error = errors.Partial("2 of 3 failed", [errors.NotFound("a: gone"), errors.Denied("b: no")])
    result = failing(orlop, error)("images")
    assert (result.status, result.err) == (6, "orlop: a: gone\norlop: b: no\norlop: 2 of 3 failed\n")


def test_verbose_shows_the_causes(orlop: Orlop) -> None:
    try:
        try:
            raise OSError(errno.ECONNREFUSED, "Connection refused")
        except OSError as cause:
            raise errors.Unavailable("registry h: cannot be reached") from cause
    except errors.Unavailable as error:
        told = failing(orlop, error)
    assert told("images").err == "orlop: registry h: cannot be reached\n"
    assert "  because of ConnectionRefusedError: [Errno 111] Connection refused" in told("images", "-v").err


def test_anything_else_is_a_bug_in_one_line_and_traced_when_asked(orlop: Orlop) -> None:
    told = failing(orlop, ZeroDivisionError("x"))
    result = told("images")
    assert (result.status, result.err) == (1, "orlop: this is a bug: ZeroDivisionError: x; -v shows where\n")
    assert "Traceback" in told("-v", "images").err


@pytest.mark.parametrize(
    ("error", "status", "err"),
    [
        (OSError(errno.ENOSPC, "No space", "out"), 7, "orlop: out: no space; free some space\n"),
        (OSError(errno.ENOSPC, "No space"), 7, "orlop: standard output: no space; free some space\n"),
        (PermissionError(errno.EACCES, "Permission denied", "out"), 4, "orlop: out: permission denied\n"),
        (FileNotFoundError(errno.ENOENT, "No such file", "out"), 3, "orlop: out: no such file\n"),
        (OSError(errno.EIO, "Input/output error"), 1, "orlop: input/output error\n"),
        (KeyboardInterrupt(), 130, "orlop: interrupted\n"),
    ],
)
def test_the_systems_own_errors_end_well(orlop: Orlop, error: BaseException, status: int, err: str) -> None:
    result = failing(orlop, error)("images")
    assert (result.status, result.err) == (status, err)


def test_control_characters_in_errors_do_not_reach_the_terminal(orlop: Orlop) -> None:
    result = failing(orlop, errors.Invalid("tag '\x1b[2J\x07\u202e'"))("images")
    assert result.err == "orlop: tag '\\x1b[2J\\x07\ufffd'\n"


CANARY = "s3cr3t-canary-0xD15EA5E"


@pytest.mark.parametrize("flags", [[], ["-v"], ["-vv", "--progress", "json"]])
@pytest.mark.parametrize("how", ["option", "stdin", "docker", "proxy"])
def test_CR10_no_secret_reaches_a_message(orlop: Orlop, flags: list[str], how: str) -> None:
    """Whatever goes wrong below, and even if it quotes the secret."""
    environment: dict[str, str] = {}
    given: list[str] = []
    if how in ("option", "stdin"):
        given = ["--creds", f"me:{CANARY}" if how == "option" else "-"]
    elif how == "docker":
        environment["DOCKER_AUTH_CONFIG"] = CANARY
    else:
        environment["https_proxy"] = f"http://me:{CANARY}@127.0.0.1:9"
    for error in (errors.Denied(f"registry: {CANARY} was refused"), ValueError(f"bad {CANARY}")):
        error.__cause__ = RuntimeError(f"cause {CANARY}")
        told = Orlop(orlop.store, environment, opener=_opener(error))
        result = told("pull", "docker://127.0.0.1:9/x", *given, *flags, stdin=f"me:{CANARY}\n")
        assert result.status in (1, 4)
        assert CANARY not in result.out + result.err
        assert "***" in result.err


def _opener(error: Exception) -> Any:
    def opener(settings: Any) -> NoReturn:
        raise error

    return opener


def test_CR10_a_malformed_secret_is_not_quoted(orlop: Orlop) -> None:
    result = orlop("pull", "x", "--creds", CANARY)
    assert result.status == 2
    assert CANARY not in result.err


@pytest.mark.parametrize("secret", [CANARY, f"\n{CANARY}"])
def test_CR10_no_secret_reaches_the_log(secret: str) -> None:
    record = logging.LogRecord("orlop.http", logging.INFO, "", 0, "asked with %s\x1b[2J", (secret,), None)
    text = SecretlessFormatter({CANARY}).format(record)
    assert CANARY not in text
    assert text.startswith("I orlop.http: asked with ")
    assert "\x1b" not in text


def test_network_options_reach_the_settings(orlop: Orlop, tmp_path: Path) -> None:
    seen: list[Any] = []

    def opener(settings: Any) -> NoReturn:
        seen.append(settings)
        raise errors.Denied("stop here")

    told = Orlop(orlop.store, opener=opener)
    options = "--jobs 7 --retry 2 --timeout 1.5 --creds me:a:b --durability none"
    files = [
        "--insecure",
        "A.example:5000",
        "--insecure",
        "https://B",
        "--authfile",
        "auth",
        "--ca-file",
        "ca",
        "--client-cert",
        "cert",
        "--client-key",
        "key",
    ]
    assert told("pull", "x", *options.split(), *files).status == 4
    (settings,) = seen
    network = settings.network
    assert (settings.workers, settings.durability) == (7, "none")
    assert (network.retries, network.timeout) == (2, 1.5)
    assert network.insecure == {"a.example:5000", "https://b"}
    assert (network.username, network.password) == ("me", "a:b")
    assert (network.authfile, network.ca_file) == (Path("auth"), Path("ca"))
    assert (network.client_cert, network.client_key) == (Path("cert"), Path("key"))
    assert settings.store == orlop.store


def test_insecure_hosts_of_the_configuration_stay(orlop: Orlop, tmp_path: Path) -> None:
    seen: list[Any] = []

    def opener(settings: Any) -> NoReturn:
        seen.append(settings)
        raise errors.Denied("stop here")

    config = tmp_path / "config.toml"
    config.write_text('insecure = ["configured:1", "both:3"]\n')
    options = ["--insecure", "named:2", "--insecure", "https://both:3"]
    Orlop(orlop.store, opener=opener)("--config", str(config), "pull", "x", *options)
    assert seen[0].network.insecure == {"configured:1", "named:2", "https://both:3"}


def test_a_bad_configuration_is_one_line(orlop: Orlop, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("colour = 1\n")
    result = orlop("images", "--config", str(config))
    assert result.status == 1
    assert "unknown key 'colour'" in result.err


def test_sources_are_the_transports_that_are_not_the_store() -> None:
    named = {source.rstrip(":/") for source in where.SOURCES}
    assert named == set(TRANSPORTS) - {"store"}


@pytest.mark.parametrize(
    "words",
    [
        ("mount", "debian:12", ""),
        ("umount", ""),
        ("unpack", "debian:12", ""),
        ("bundle", "debian:12", ""),
        ("export", "debian:12", "-o", ""),
        ("serve", "--layout", ""),
        ("pull", "--authfile", "", "debian:12"),
        ("--store", "", "images"),
        ("images", "--store", ""),
        ("--config", "", "images"),
    ],
    ids=" ".join,
)
def test_an_empty_path_is_refused_and_not_taken_for_the_working_directory(
    orlop: Orlop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    result = orlop(*words)
    assert (result.status, result.out) == (2, "")
    assert ": expected a path, got ''; orlop" in result.err
    assert list(tmp_path.rglob("*")) == [tmp_path / "here"]
