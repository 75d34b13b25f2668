from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.debian import TAG, debian_layout
from tests.support.registries import docker_registry


@pytest.fixture(scope="session")
def layout() -> Path:
    """A debootstrapped Debian as an OCI layout."""
    return debian_layout()


@pytest.fixture(scope="session")
def storage(layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """docker-registry's storage with that image as `debian:12`, pushed there by skopeo."""
    folder = tmp_path_factory.mktemp("registry")
    with docker_registry(folder, folder / "storage") as host:
        skopeo("copy", f"oci:{layout}:{TAG}", f"docker://{host}/debian:12", "--dest-tls-verify=false")
    return folder / "storage"


@pytest.fixture
def registry(storage: Path, tmp_path: Path) -> Iterator[str]:
    """A plain docker-registry with `debian:12`."""
    with docker_registry(tmp_path, storage) as host:
        yield host


def skopeo(*arguments: str) -> None:
    subprocess.run(["/usr/bin/skopeo", "--insecure-policy", *arguments], check=True, capture_output=True)
