"""Operating system errors of writing trees and mounting, as the library's own."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ..errors import Busy, Conflict, Denied, Error, Invalid, NoSpace, NotFound, Unavailable, Unsupported

_KINDS: dict[int, type[Error]] = {
    errno.EPERM: Denied,
    errno.EACCES: Denied,
    errno.EROFS: Denied,
    errno.ENOENT: NotFound,
    errno.ENOTDIR: Invalid,
    errno.ELOOP: Invalid,
    errno.ENAMETOOLONG: Invalid,
    errno.EEXIST: Conflict,
    errno.ENOTEMPTY: Conflict,
    errno.EBUSY: Busy,
    errno.EMFILE: Unavailable,
    errno.ENFILE: Unavailable,
    errno.EIO: Unavailable,
}
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def failure(error: OSError, step: str, path: str | bytes | Path) -> Error:
    """What to raise `from` an OSError; `path` is what it was about."""
    code = error.errno or 0
    text = f"{os.fsdecode(path)}: cannot {step}: {os.strerror(code).lower()}"
    if code in _NO_SPACE:
        return NoSpace(text, hint="free some space, or choose a directory on another file system")
    return _KINDS.get(code, Unsupported)(text)
