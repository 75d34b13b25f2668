"""Orlop run by another user, who need not be able to enter this checkout, its virtual environment, or root's home."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

_CHECKOUT = Path(__file__).parents[2]
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)[^;]*(;.*)?", re.ASCII)


@dataclass(frozen=True)
class Stranger:
    """A user of this machine with no name and no rights. Call it with arguments of Python."""

    code: Path  # orlop, what it needs, and the tests
    uid: int = 1234

    def __call__(
        self, *arguments: str, environment: Mapping[str, str] | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        drop = ["/usr/bin/setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups"]
        # not the virtual environment's link to it, which may lie where only root may go
        command = [*drop, os.path.realpath(sys.executable), *arguments]
        told = {"PATH": os.defpath, "PYTHONPATH": str(self.code), "PYTHONDONTWRITEBYTECODE": "1", **(environment or {})}
        return subprocess.run(
            command,
            env=told,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


def copy_code(place: Path) -> None:
    """What a stranger runs, readable to all, below the directory `place`."""
    for name in sorted(_needed("orlop", "serve")):
        for file in metadata.distribution(name).files or ():
            if file.parts[0] != "..":
                target = place / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(file.locate()), target)
    for source in (_CHECKOUT / "src/orlop", _CHECKOUT / "tests"):
        shutil.copytree(source, place / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (place, *place.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _needed(name: str, extra: str) -> set[str]:
    """The distributions that one needs, and theirs, as far as they are installed."""
    found: set[str] = set()
    for line in metadata.requires(name) or ():
        match = _REQUIREMENT.match(line)
        condition = (match[2] or "") if match else ""
        if match is None or ("extra ==" in condition and f'"{extra}"' not in condition.replace("'", '"')):
            continue
        try:
            metadata.distribution(match[1])
        except metadata.PackageNotFoundError:
            continue  # for another Python or another machine
        found |= {match[1], *_needed(match[1], "")}
    return found
