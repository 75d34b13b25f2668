"""What a registry of version 1 calls a repository: a namespace and a name, as Docker's last client for it had them."""

from __future__ import annotations

import re

from ...errors import Invalid
from ...model.v1 import check_repository

# Docker 0.11 to 1.3 took 4 to 30 characters and no hyphen; 1.5, what stands here
_NAMESPACE = re.compile(r"[a-z0-9_]+(?:-[a-z0-9_]+)*", re.ASCII)
_NAME = re.compile(r"[a-z0-9_.-]+", re.ASCII)
_HEX = re.compile(r"[a-f0-9]{64}", re.ASCII)
_LIBRARY = "library"
_SHOWN = 80


def remote_name(repository: str) -> str:
    """`namespace/name` as it stands in paths: a bare name is `library/name`. `Invalid` for what no repository is
    called: a path is made of this."""
    check_repository(repository)
    namespace, slash, name = repository.partition("/")
    if not slash:
        namespace, name = _LIBRARY, namespace
    if not 2 <= len(namespace) <= 255 or _NAMESPACE.fullmatch(namespace) is None:
        allowed = "only [a-z0-9-_] are allowed, size between 2 and 255"
        raise Invalid(f"Invalid namespace name ({namespace[:_SHOWN]}), {allowed}")
    if len(name) > 255 or _NAME.fullmatch(name) is None or name in (".", ".."):
        raise Invalid(f"Invalid repository name ({name[:_SHOWN]}), only [a-z0-9-_.] are allowed")
    if _HEX.fullmatch(name) and not slash:
        raise Invalid(f"Invalid repository name ({name[:_SHOWN]}), cannot specify 64-byte hexadecimal strings")
    return f"{namespace}/{name}"
