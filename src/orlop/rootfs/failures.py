"""Operating system errors of writing trees and mounting, as the library's own."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ..errors import Error, Unavailable, Unsupported, of_system


def failure(error: OSError, step: str, path: str | bytes | Path) -> Error:
    """What to raise `from` an OSError; `path` is what it was about."""
    text = f"{os.fsdecode(path)}: cannot {step}: {os.strerror(error.errno or 0).lower()}"
    # a file system that does not know what is asked of it says so in many ways; a broken disk in one
    otherwise = Unavailable if error.errno == errno.EIO else Unsupported
    return of_system(error, text, otherwise, space=", or choose a directory on another file system")
