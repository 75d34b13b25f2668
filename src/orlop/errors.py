"""Every error of the library, told apart by what the caller can do about it.

Messages are lower case, subject first, expected then got, and carry no secret.
Class attributes say what a surface does with the error: the command line's exit code, the server's
HTTP status and code (OCI distribution-spec 1.1, "Error Codes"), and whether trying again can help.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable


class Error(Exception):
    """Base of all errors that leave this library. `hint` is what to do about it, one clause."""

    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500
    oci_code: ClassVar[str] = "UNKNOWN"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message

    def rewrite(self, change: Callable[[str], str]) -> None:
        """Change the texts in place, those of its causes too."""
        self.message, self.hint = change(self.message), change(self.hint)
        self.args = (self.message,)  # what repr shows
        for cause in (self.__cause__, self.__context__):
            if isinstance(cause, Error) and cause is not self:
                cause.rewrite(change)


class Invalid(Error):
    """Something is malformed: a reference, a document, an archive, a setting."""

    http_status = 400
    oci_code = "MANIFEST_INVALID"


class Usage(Invalid):
    """The caller asked in a way that cannot be meant: a bad flag, a bad name."""

    exit_code = 2
    oci_code = "NAME_INVALID"


class Mismatch(Error):
    """Bytes are not what their digest, size or diff ID says. Nothing of them was kept."""

    exit_code = 5
    http_status = 400
    oci_code = "DIGEST_INVALID"


class Unsafe(Error):
    """Taking this would step outside: an ambiguous archive, a limit passed, a credential astray."""

    exit_code = 5
    http_status = 400
    oci_code = "DENIED"


class NotFound(Error):
    """No such image, tag, platform, blob or file."""

    exit_code = 3
    http_status = 404
    oci_code = "MANIFEST_UNKNOWN"


class Conflict(Error):
    """Something else is already there, or changed meanwhile."""

    http_status = 409
    oci_code = "DENIED"


class Denied(Error):
    """Not authorised, or not permitted by the operating system."""

    exit_code = 4
    http_status = 403
    oci_code = "DENIED"


class Throttled(Error):
    """The other side asks to slow down. `after` is in seconds, None if it did not say."""

    http_status = 429
    oci_code = "TOOMANYREQUESTS"
    retryable = True

    def __init__(self, message: str, *, hint: str = "", after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.after = after


class Unavailable(Error):
    """The other side cannot be reached, or broke off. Trying again can help.

    `after` is the wait in seconds that the other side asked for, None if it did not say.
    """

    http_status = 503
    oci_code = "UNAVAILABLE"
    retryable = True

    def __init__(self, message: str, *, hint: str = "", after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.after = after


class Unsupported(Error):
    """Well formed, but not something this program or this machine can do."""

    http_status = 405
    oci_code = "UNSUPPORTED"


class Busy(Error):
    """In use: a mount that something still holds, a lock that was not freed in time."""

    http_status = 409
    oci_code = "DENIED"


class Cancelled(Error):
    """The job was stopped by its owner."""

    exit_code = 130


class NoSpace(Error):
    """The disk, the quota or the inodes are used up."""

    exit_code = 7
    http_status = 507


class Damaged(Error):
    """The store itself is not as it was written: a check found it out."""

    exit_code = 5


class Partial(Error):
    """Some of several things asked for were done, others failed; `errors` has each failure."""

    exit_code = 6

    def __init__(self, message: str, errors: list[Error], *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.errors = errors


# What an error of the operating system is to the caller, whatever was being done; errno(3).
_SYSTEM: dict[int, type[Error]] = {
    errno.ENOSPC: NoSpace,
    errno.EDQUOT: NoSpace,
    errno.EFBIG: NoSpace,  # a limit of the file system or of this process
    errno.EACCES: Denied,
    errno.EPERM: Denied,
    errno.EROFS: Denied,
    errno.ENOENT: NotFound,
    errno.ENXIO: NotFound,
    errno.ENOTDIR: Invalid,
    errno.EISDIR: Invalid,
    errno.ELOOP: Invalid,
    errno.ENAMETOOLONG: Invalid,
    errno.EEXIST: Conflict,
    errno.ENOTEMPTY: Conflict,
    errno.EBUSY: Busy,
    errno.EADDRINUSE: Busy,
    errno.EMFILE: Unavailable,
    errno.ENFILE: Unavailable,
}
_OPEN_FILES = (errno.EMFILE, errno.ENFILE)


def of_system(error: OSError, text: str, otherwise: type[Error], *, space: str = "") -> Error:
    """Our error for one of the operating system's, of the same kind everywhere; raise it `from` the original.

    `text` is the whole message. `otherwise` is the kind of what only the place can judge, as an I/O error: the store is
    damaged, an archive cannot be read. `space` completes "free some space".
    """
    kind = _SYSTEM.get(error.errno or 0, otherwise)
    hint = ""
    if kind is NoSpace:
        hint = f"free some space{space}"
    elif error.errno in _OPEN_FILES:
        hint = "raise the limit of open files or lower --jobs"
    return kind(text, hint=hint)
