"""Trees with this machine's own programs in them, so that a container has something to run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orlop.model.image import ImageConfig

PASSWD = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:100:Alice:/home/alice:/bin/sh\n"
GROUP = "root:x:0:\nusers:x:100:\ncrew:x:7:bob,alice\n"


def make_root(root: Path, *programs: str) -> Path:
    """`programs` and their libraries below `root`, with /etc/passwd and /etc/group of root and alice."""
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp"):
        (root / name).mkdir(parents=True)
    for name in programs:
        program = shutil.which(name)
        assert program is not None, name
        shutil.copy(program, root / "bin" / name)
        told = subprocess.run(["/usr/bin/ldd", program], capture_output=True, text=True, check=False).stdout
        for library in re.findall(r"(/\S+) \(0x", told):
            place = root / library.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, place)
    (root / "etc/passwd").write_text(PASSWD)
    (root / "etc/group").write_text(GROUP)
    return root


def user_namespaces() -> bool:
    """Whether this machine gives them to those who are not root; in a chroot the kernel does not."""
    command = ["/usr/bin/setpriv", "--reuid=1234", "--regid=1234", "--clear-groups", "/usr/bin/unshare", "--user"]
    return subprocess.run([*command, "/bin/true"], capture_output=True, check=False).returncode == 0


def image_config(process: Mapping[str, Any] | None = None, **fields: Any) -> ImageConfig:
    """An image config with `process` as its `config` object."""
    base = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}}
    return ImageConfig(json.dumps({**base, **fields, "config": dict(process or {})}).encode())
