"""Where a host name leads, and which certificates go with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from orlop.errors import Invalid
from orlop.http.hosts import endpoint
from orlop.settings import Network


def test_docker_io_is_answered_by_another_machine() -> None:
    assert endpoint("docker.io", Network()).url.text == "https://registry-1.docker.io/"


@pytest.mark.parametrize(
    ("insecure", "url", "verify"),
    [
        (set(), "https://reg:5000/", True),
        ({"reg:5000"}, "http://reg:5000/", True),
        ({"https://reg:5000"}, "https://reg:5000/", False),
        ({"reg"}, "http://reg:5000/", True),
        ({"https://reg"}, "https://reg:5000/", False),
        ({"reg", "https://reg:5000"}, "https://reg:5000/", False),
        ({"reg:5001", "https://reg:5002", "eg", "reg.example", "0.0.0.0/0"}, "https://reg:5000/", True),
    ],
)
def test_CR08_only_what_the_user_wrote_for_this_host_is_insecure(insecure: set[str], url: str, verify: bool) -> None:
    found = endpoint("reg:5000", Network(insecure=frozenset(insecure)))
    assert (found.url.text, found.trust.verify) == (url, verify)


@pytest.mark.parametrize(
    ("entry", "name", "plain"),
    [
        ("registry.example", "registry.example", True),
        ("registry.example", "registry.example:5000", True),
        ("registry.example:5000", "registry.example:5000", True),
        ("registry.example:5000", "registry.example", False),
        ("registry.example", "other.registry.example", False),
        ("10.1.2.3", "10.1.2.3:5000", True),
        ("10.1.2.3", "10.1.2.4:5000", False),
        ("10.0.0.0/8", "10.1.2.3:5000", True),
        ("10.0.0.0/8", "11.1.2.3:5000", False),
        ("10.0.0.0/8", "registry.example:5000", False),
        ("fd00::/8", "[fd00::1]:5000", True),
        ("fd00::/8", "[fe00::1]", False),
        ("[fd00::1]", "[fd00::1]:5000", True),
        ("10.0.0.0/99", "10.1.2.3", False),
    ],
)
def test_F20_insecure_registries_are_listed_by_host_address_and_network_whatever_the_port(
    entry: str, name: str, plain: bool
) -> None:
    found = endpoint(name, Network(insecure=frozenset({entry})))
    assert (found.url.scheme, found.trust.verify) == ("http" if plain else "https", True)


def test_F20_a_network_may_mean_tls_that_is_not_verified() -> None:
    found = endpoint("10.1.2.3:5000", Network(insecure=frozenset({"https://10.0.0.0/8"})))
    assert (found.url.scheme, found.trust.verify) == ("https", False)


def test_CR08_loopback_is_no_exception() -> None:
    assert endpoint("localhost:5000", Network()).url.scheme == "https"
    assert endpoint("127.0.0.1:5000", Network()).url.scheme == "https"


def test_certificate_directories_are_read_as_docker_reads_them(tmp_path: Path) -> None:
    folder = tmp_path / "reg:5000"
    folder.mkdir()
    for name in ("ca.crt", "client.cert", "client.key", "notes.txt"):
        (folder / name).write_text("")
    trust = endpoint("reg:5000", Network(certificate_dirs=(tmp_path, tmp_path / "none"))).trust
    assert trust.authorities == (folder / "ca.crt",)
    assert trust.pair == (folder / "client.cert", folder / "client.key")
    assert endpoint("reg:5001", Network(certificate_dirs=(tmp_path,))).trust.authorities == ()


def test_a_client_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "reg").mkdir()
    (tmp_path / "reg" / "client.cert").write_text("")
    with pytest.raises(Invalid, match=r"client\.cert has no client\.key"):
        endpoint("reg", Network(certificate_dirs=(tmp_path,)))
