"""From an image config to an OCI runtime-spec 1.2 config.json (image-spec 1.1, conversion.md). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import Invalid, Usage
from . import sandbox
from .image import ImageConfig

Network = Literal["host", "none"]
# nothing later is used, and crun before 1.9 refuses versions from 1.1 on
SPEC_VERSION = "1.0.2"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# what one process may be handed by execve(2), and more than any shell takes
ARGUMENT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class User:
    """A user of an image, by number. `groups` are supplementary."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = "/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What is decided beside the image. Empty means: as the image says.

    `owner` is (uid, gid) of a caller who is not root: a user namespace then maps `user` to it. `files` are
    (path on this machine, path in the image) bound read-only. `open_files` is RLIMIT_NOFILE, 0 leaves it.
    """

    user: User
    command: Sequence[str] = ()
    environment: Sequence[str] = ()
    workdir: str = ""
    terminal: bool = False
    network: Network = "host"
    owner: tuple[int, int] | None = None
    cgroups: bool = False
    seccomp: bool = True
    files: Sequence[tuple[str, str]] = ()
    open_files: int = 0
    rootfs: str = "rootfs"
    hostname: str = "orlop"


def runtime_spec(config: ImageConfig, choices: Choices) -> dict[str, Any]:
    """The fields of config.json. `Usage` if there is nothing to run, `Invalid` for a config of wrong types.

    Labels are not forwarded as annotations: runtimes act on some of them.
    """
    rootless = choices.owner is not None
    linux: dict[str, Any] = {
        "namespaces": [{"type": name} for name in _namespaces(choices)],
        "maskedPaths": list(sandbox.MASKED_PATHS),
        "readonlyPaths": list(sandbox.READONLY_PATHS),
    }
    if choices.owner is not None:
        linux["uidMappings"] = [{"containerID": choices.user.uid, "hostID": choices.owner[0], "size": 1}]
        linux["gidMappings"] = [{"containerID": choices.user.gid, "hostID": choices.owner[1], "size": 1}]
    if choices.cgroups:
        linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    if choices.seccomp:
        linux["seccomp"] = sandbox.seccomp(config.platform.architecture)
    return {
        "ociVersion": SPEC_VERSION,
        "process": _process(config.process, choices),
        "root": {"path": choices.rootfs, "readonly": False},
        "hostname": choices.hostname,
        "mounts": sandbox.mounts(
            rootless=rootless, cgroups=choices.cgroups, own_network=choices.network == "none", files=choices.files
        ),
        "annotations": _annotations(config),
        "linux": linux,
    }


def _namespaces(choices: Choices) -> list[str]:
    names = ["pid", "ipc", "uts", "mount"]
    if choices.network == "none":
        names.append("network")
    if choices.cgroups:
        names.append("cgroup")
    if choices.owner is not None:
        names.append("user")
    return names


def _process(image: Mapping[str, Any], choices: Choices) -> dict[str, Any]:
    root = choices.user.uid == 0
    capabilities = list(sandbox.CAPABILITIES)
    user: dict[str, Any] = {"uid": choices.user.uid, "gid": choices.user.gid}
    if choices.user.groups and choices.owner is None:  # one mapped group has no room for others
        user["additionalGids"] = list(choices.user.groups)
    process: dict[str, Any] = {
        "terminal": choices.terminal,
        "user": user,
        "args": arguments(image, choices.command),
        "env": environment(image, choices),
        "cwd": directory(image, choices.workdir),
        "capabilities": {
            "bounding": capabilities,
            # never inheritable (CVE-2022-24769); a user who is not root starts with none in effect
            "effective": capabilities if root else [],
            "permitted": capabilities if root else [],
            "inheritable": [],
            "ambient": [],
        },
        "noNewPrivileges": True,
    }
    if choices.open_files:
        process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": choices.open_files, "hard": choices.open_files}]
    return process


def arguments(image: Mapping[str, Any], command: Sequence[str]) -> list[str]:
    """Entrypoint and Cmd together; a command replaces Cmd, as everywhere."""
    result = _strings(image, "Entrypoint") + (list(command) or _strings(image, "Cmd"))
    if not result or not result[0]:
        raise Usage("run: the image names no command", hint="give one after the reference")
    if sum(len(each.encode()) + 1 for each in result) > ARGUMENT_BYTES:
        raise Invalid(f"image config: its command is longer than {ARGUMENT_BYTES} bytes")
    return result


def environment(image: Mapping[str, Any], choices: Choices) -> list[str]:
    """The image's variables, then those chosen, each name once; PATH, HOME and TERM where nobody set them."""
    values = {"PATH": DEFAULT_PATH, "HOME": choices.user.home}
    if choices.terminal:
        values["TERM"] = "xterm"
    for text in (*_strings(image, "Env"), *choices.environment):
        name, equals, value = text.partition("=")
        if name and equals:
            values[name] = value
    return [f"{name}={value}" for name, value in values.items()]


def directory(image: Mapping[str, Any], chosen: str) -> str:
    """The directory to start in; absolute."""
    path = chosen or _string(image, "WorkingDir") or "/"
    if "\0" in path:
        raise Invalid("image config: WorkingDir has a NUL byte")
    return path if path.startswith("/") else f"/{path}"


def user_of(image: Mapping[str, Any], chosen: str) -> str:
    """The user to run as, as written: `name|uid[:group|gid]`, "" for root."""
    return chosen or _string(image, "User")


def _annotations(config: ImageConfig) -> dict[str, str]:
    """conversion.md, "Annotation Fields", without the labels."""
    prefix = "org.opencontainers.image."
    fields = {
        "os": config.platform.os,
        "architecture": config.platform.architecture,
        "variant": config.platform.variant,
        "created": config.created,
        "author": config.fields.get("author"),
        "stopSignal": config.process.get("StopSignal"),
    }
    return {prefix + key: value for key, value in fields.items() if isinstance(value, str) and value}


def _strings(image: Mapping[str, Any], key: str) -> list[str]:
    value = image.get(key) or []
    if isinstance(value, str):  # Docker's own old images have a lone string
        value = [value]
    if not isinstance(value, list) or not all(isinstance(item, str) and "\0" not in item for item in value):
        raise Invalid(f"image config: {key} is not a list of strings")
    return list(value)


def _string(image: Mapping[str, Any], key: str) -> str:
    value = image.get(key) or ""
    if not isinstance(value, str):
        raise Invalid(f"image config: {key} is not a string")
    return value
