"""Platforms (OCI image-spec 1.1, image-index.md): naming one, and how well one fits another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import Invalid

_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
# uname -m -> GOARCH and variant
_MACHINES = {
    "x86_64": ("amd64", ""),
    "amd64": ("amd64", ""),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", "v8"),
    "arm64": ("arm64", "v8"),
    "armv8l": ("arm", "v7"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv5tel": ("arm", "v5"),
    "ppc64le": ("ppc64le", ""),
    "s390x": ("s390x", ""),
    "riscv64": ("riscv64", ""),
    "mips64": ("mips64le", ""),
    "loongarch64": ("loong64", ""),
}


@dataclass(frozen=True, slots=True)
class Platform:
    """`os/architecture[/variant]`, with the optional `os.version` and `os.features`."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part in (self.os, self.architecture, self.variant or "-"):
            if _WORD.fullmatch(part) is None:
                raise Invalid(f"platform: expected os/architecture[/variant], got {part[:64]!r}")

    @classmethod
    def parse(cls, text: str) -> Platform:
        """`linux/arm64/v8`, `linux/amd64`; a lone architecture (`arm64`) means linux."""
        parts = text.split("/")
        if len(parts) == 1:
            parts = ["linux", *parts]
        if len(parts) > 3 or not all(parts):
            raise Invalid(f"platform: expected os/architecture[/variant], got {text[:80]!r}")
        operating_system, machine = parts[0].lower(), parts[1].lower()
        architecture, variant = _MACHINES.get(machine, (machine, ""))
        if machine == architecture and architecture == "arm":
            variant = "v7"
        return cls(operating_system, architecture, parts[2] if len(parts) == 3 else variant)

    @classmethod
    def of_machine(cls, machine: str) -> Platform:
        """The Linux platform of `uname -m`."""
        architecture, variant = _MACHINES.get(machine.lower(), (machine.lower(), ""))
        return cls("linux", architecture, variant)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Platform:
        """From the JSON object of a descriptor or the top of a config. Absent fields are empty, as in old lists."""
        values = [fields.get(key, "") for key in ("os", "architecture", "variant", "os.version")]
        features = fields.get("os.features", [])
        if not all(isinstance(value, str) for value in values) or not isinstance(features, list):
            raise Invalid("platform: expected strings")
        return cls(values[0] or "unknown", values[1] or "unknown", values[2], values[3], tuple(map(str, features)))

    def fit(self, offered: Platform) -> int:
        """How well `offered` serves this one: 0 not at all, else the higher the better.

        arm: a v7 machine runs v7, v6, v5; arm64 without a variant is v8; amd64 micro-architecture levels
        v1..v4 fit downwards, as containerd's `platforms.Only` has it.
        """
        if (self.os, self.architecture) != (offered.os, offered.architecture):
            return 0
        if self.os_version and offered.os_version and self.os_version != offered.os_version:
            return 0
        ours, theirs = _level(self), _level(offered)
        if ours is None or theirs is None:
            return 100 if self.variant == offered.variant else 0
        if theirs > ours:
            return 0
        return 100 - (ours - theirs)

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}" + (f"/{self.variant}" if self.variant else "")


def _level(platform: Platform) -> int | None:
    default = {"arm": 7, "arm64": 8, "amd64": 1}.get(platform.architecture)
    if not platform.variant:
        return default if default is not None else 0
    text = platform.variant.removeprefix("v")
    return int(text) if text.isdecimal() and len(text) <= 2 else None
