"""A scripted registry and sessions with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from orlop.registry.v1.session import V1Session
from tests.support.lying import CANARY
from tests.support.version1 import Version1, fast_client, made_chain

MakeSession = Callable[..., V1Session]


@pytest.fixture
def registry() -> Iterator[Version1]:
    """Two images, and two endpoints beside the index."""
    with Version1(made_chain(2), endpoints=2) as made:
        yield made


@pytest.fixture
def session() -> Iterator[MakeSession]:
    """A session with a registry. `login`: with a name and a password for it. `allowed`: other endpoints than all."""
    with ExitStack() as stack:

        def make(
            registry: Version1, *, login: bool = False, allowed: tuple[str, ...] | None = None, **more: Any
        ) -> V1Session:
            words = {"username": "user", "password": CANARY} if login else {}
            client = stack.enter_context(fast_client(registry.network(**words, **more), named=registry.index.host))
            return registry.session(client, allowed)

        yield make
