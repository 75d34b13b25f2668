"""Fixtures for registries: one storage with images, served by as many docker-registries as a test wants."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.lying import Lying
from tests.support.registries import Pushed, docker_registry, push


@dataclass(frozen=True)
class Stock:
    """A registry's storage directory and the image in it."""

    storage: Path
    image: Pushed


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    storage = tmp_path_factory.mktemp("storage")
    layers = [random.Random(1).randbytes(3 << 20), b"small layer"]
    with docker_registry(tmp_path_factory.mktemp("registry"), storage) as host:
        for tag in ("1", "2", "latest"):
            image = push(host, "team/app", tag, layers)
    return Stock(storage, image)


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
