"""Owners, attributes, modes and times where they get in each other's way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orlop.job import Job
from orlop.model.tree import Kind
from orlop.rootfs.directory import write_tree
from tests.support.corners import ACL
from tests.support.tars import entry, tar
from tests.support.trees import make_stack


@pytest.mark.root
@pytest.mark.parametrize("kind", [Kind.FILE, Kind.DIRECTORY, Kind.FIFO])
@pytest.mark.parametrize("mode", [0o600, 0o700, 0o4600, 0o640])
def test_EX16_an_acl_that_grants_more_than_the_mode_does_not_widen_it(tmp_path: Path, kind: Kind, mode: int) -> None:
    stack = make_stack(tmp_path, tar(entry("n", kind, mode=mode, xattrs={"system.posix_acl_access": ACL})))
    assert write_tree(stack.tree, stack.layers, tmp_path / "out", job=Job(), own=True).notes == ()
    assert os.stat(tmp_path / "out/n").st_mode & 0o7777 == mode
