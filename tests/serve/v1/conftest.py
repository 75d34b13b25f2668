from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.serving import Served, serve_store
from tests.support.version_one import push

from .images import BASE, TOP


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`orlop serve --v1 --writable`, with `BASE` and `TOP` pushed and `TOP` tagged `foo/bar:latest`."""
    with serve_store(tmp_path_factory.mktemp("pushed") / "store", "--v1", "--writable") as server:
        push(server, BASE, TOP, repository="foo/bar")
        yield server
