"""Fixtures for the client: one lying registry, one storage that is another origin, a client that trusts both."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.support.lying import CANARY, Lying


@pytest.fixture
def server() -> Iterator[Lying]:
    with Lying() as made:
        yield made


@pytest.fixture
def other() -> Iterator[Lying]:
    """A second origin, where no credential may ever arrive: checked at the end of each test that has it."""
    with Lying() as made:
        yield made
        assert made.secrets() == []


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """CR10: whatever a test does, the password is in no log."""
    with caplog.at_level(logging.DEBUG):
        yield
    assert CANARY not in caplog.text
