"""A store whose graph is fetched into, and fetchers for a scripted registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from orlop.store import Store
from orlop.v1.fetch import RepositoryFetcher
from tests.support.stores import opened
from tests.support.version1 import Version1, fast_client

MakeFetcher = Callable[..., RepositoryFetcher]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "store") as made:
        yield made


@pytest.fixture
def fetcher(store: Store) -> Iterator[MakeFetcher]:
    """A fetcher of a registry; keywords go to the client's settings."""
    with ExitStack() as stack:

        def make(registry: Version1, **more: Any) -> RepositoryFetcher:
            client = stack.enter_context(fast_client(registry.network(**more)))
            return RepositoryFetcher(registry.session(client), store.graph)

        yield make
