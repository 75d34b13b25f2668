"""What the operating system says means the same wherever it is said."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from orlop import errors
from orlop.bundle import make_directories
from orlop.disk.disk import translate
from orlop.files.window import foreign
from orlop.rootfs.failures import failure

KINDS = {
    errno.ENOSPC: errors.NoSpace,
    errno.EDQUOT: errors.NoSpace,
    errno.EFBIG: errors.NoSpace,
    errno.EACCES: errors.Denied,
    errno.EPERM: errors.Denied,
    errno.EROFS: errors.Denied,
    errno.ENOENT: errors.NotFound,
    errno.EISDIR: errors.Invalid,
    errno.ENAMETOOLONG: errors.Invalid,
    errno.EEXIST: errors.Conflict,
    errno.ENOTEMPTY: errors.Conflict,
    errno.EBUSY: errors.Busy,
    errno.EMFILE: errors.Unavailable,
    errno.ENFILE: errors.Unavailable,
}


@pytest.mark.parametrize(("code", "kind"), KINDS.items(), ids=[errno.errorcode[code] for code in KINDS])
def test_a_number_is_the_same_kind_of_error_everywhere(code: int, kind: type[errors.Error]) -> None:
    error = OSError(code, os.strerror(code))
    told = (translate(error, "write", "x"), failure(error, "write", "x"), foreign(error, "x"))
    assert [type(each) for each in told] == [kind] * 3
    for each in told:
        assert each.message.startswith("x: ")
        assert each.message == each.message.lower()
        assert each.hint.startswith("free some space") == (kind is errors.NoSpace)


def test_what_only_the_place_can_judge_is_left_to_it() -> None:
    error = OSError(errno.EIO, os.strerror(errno.EIO))
    told = (translate(error, "read", "x"), failure(error, "write", "x"), foreign(error, "x"))
    assert [type(each) for each in told] == [errors.Damaged, errors.Unavailable, errors.Unavailable]
    assert type(failure(OSError(errno.EINVAL, ""), "mount", "x")) is errors.Unsupported
    assert type(translate(OSError(errno.ELOOP, ""), "open", "x")) is errors.Damaged


def test_a_directory_below_a_file_is_malformed_and_not_unsupported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(errors.Invalid, match="not a directory"):
        make_directories(tmp_path / "file" / "below")
