"""Pulls from Debian's docker-registry in all the ways it can be set up."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from orlop.errors import Denied, NotFound
from orlop.http.client import Client
from orlop.http.wire import Fault
from orlop.job import Event, Job
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.registry.paging import repositories
from orlop.registry.v2 import Registry
from orlop.settings import Network
from tests.registry.conftest import Stock
from tests.support.lying import CANARY, Answer
from tests.support.registries import (
    NAME,
    USER,
    Authority,
    TokenServer,
    docker_config,
    docker_registry,
    htpasswd,
    tinyproxy,
)

pytestmark = pytest.mark.peer


def pull(network: Network, host: str, stock: Stock, *, job: Job | None = None) -> None:
    """Everything of the image, compared byte by byte."""
    with Client(network, base=0.01) as client:
        registry = Registry(host, stock.image.repository, client, job=job)
        document = registry.document("latest")
        assert document.raw == stock.image.manifest
        assert document.digest == stock.image.digest
        for wanted in document.successors:
            assert download(registry, wanted) == stock.image.blobs[wanted.digest]
        assert sorted(registry.tags()) == ["1", "2", "latest"]


def download(registry: Registry, wanted: Descriptor, offset: int = 0, end: int | None = None) -> bytes:
    parts = []
    with registry.open(wanted, offset=offset, end=end, job=Job()) as body:
        assert body.offset == offset
        while data := body.read(1 << 20):
            parts.append(data)
    return b"".join(parts)


def test_a_plain_registry(stock: Stock, tmp_path: Path) -> None:
    with docker_registry(tmp_path, stock.storage) as host:
        pull(Network(insecure=frozenset({host})), host, stock)


def test_a_registry_with_tokens(stock: Stock, tmp_path: Path) -> None:
    with TokenServer(tmp_path) as tokens, docker_registry(tmp_path, stock.storage, auth=tokens.auth) as host:
        network = Network(insecure=frozenset({host}), authfile=docker_config(tmp_path, host))
        pull(network, host, stock)
        assert len(tokens.server.seen) == 1
        with pytest.raises(Denied, match="anonymous"):
            pull(Network(insecure=frozenset({host})), host, stock)
        wrong = docker_config(tmp_path, host, password="wrong")
        with pytest.raises(Denied, match="refused the credentials from"):
            pull(dataclasses.replace(network, authfile=wrong), host, stock)


def test_a_registry_with_tokens_for_anybody(stock: Stock, tmp_path: Path) -> None:
    with (
        TokenServer(tmp_path, anonymous=True) as tokens,
        docker_registry(tmp_path, stock.storage, auth=tokens.auth) as host,
    ):
        pull(Network(insecure=frozenset({host})), host, stock)
        assert tokens.server.secrets() == []


def test_a_registry_with_identity_tokens(stock: Stock, tmp_path: Path) -> None:
    with TokenServer(tmp_path) as tokens, docker_registry(tmp_path, stock.storage, auth=tokens.auth) as host:
        authfile = docker_config(tmp_path, host, identity_token=f"refresh-{CANARY}")
        pull(Network(insecure=frozenset({host}), authfile=authfile), host, stock)
        assert [request.method for request in tokens.server.seen] == ["POST"]


def test_NF10_tokens_that_run_out_are_renewed_while_the_token_server_stumbles(stock: Stock, tmp_path: Path) -> None:
    with TokenServer(tmp_path, life=1) as tokens, docker_registry(tmp_path, stock.storage, auth=tokens.auth) as host:
        moment = [1000.0]
        network = Network(insecure=frozenset({host}), authfile=docker_config(tmp_path, host))
        with Client(network, base=0.01, clock=lambda: moment[0]) as client:
            registry = Registry(host, stock.image.repository, client)
            document = registry.document("latest")
            moment[0] += 2
            tokens.failures[:] = [Answer(503), Answer(500)]
            for wanted in document.layers:
                assert download(registry, wanted) == stock.image.blobs[wanted.digest]
        assert len(tokens.server.seen) == 4


def test_a_registry_with_basic_authentication(stock: Stock, tmp_path: Path) -> None:
    with docker_registry(tmp_path, stock.storage, auth=htpasswd(tmp_path)) as host:
        insecure = frozenset({host})
        pull(Network(insecure=insecure, authfile=docker_config(tmp_path, host)), host, stock)
        with pytest.raises(Denied, match="anonymous"):
            pull(Network(insecure=insecure), host, stock)
        with Client(Network(insecure=insecure, username=USER, password=f"not-{CANARY}"), named=host) as client:
            with pytest.raises(Denied, match="the credentials from the command line") as failure:
                Registry(host, stock.image.repository, client).document("latest")
        assert CANARY not in str(failure.value)


def test_a_registry_with_tls_under_a_private_authority(stock: Stock, tmp_path: Path) -> None:
    files = Authority(tmp_path).issue("127.0.0.1", "localhost")
    with docker_registry(tmp_path, stock.storage, tls=files) as host:
        pull(Network(ca_file=files.authority), host, stock)
        with pytest.raises(Fault, match="not trusted"):
            pull(Network(), host, stock)
        with pytest.raises(Fault):
            pull(Network(insecure=frozenset({host}), retries=0), host.replace("127.0.0.1", "localhost"), stock)


def test_a_registry_that_wants_a_client_certificate(stock: Stock, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    files, mine = authority.issue("127.0.0.1"), authority.issue("me@example.com")
    with docker_registry(tmp_path, stock.storage, tls=files, client_ca=files.authority) as host:
        folder = tmp_path / "certs.d" / host
        folder.mkdir(parents=True)
        for source, name in ((files.authority, "ca.crt"), (mine.certificate, "me.cert"), (mine.key, "me.key")):
            (folder / name).write_bytes(source.read_bytes())
        pull(Network(certificate_dirs=(tmp_path / "certs.d",)), host, stock)
        with pytest.raises(Fault):
            pull(Network(ca_file=files.authority), host, stock)


def test_a_registry_behind_a_proxy(stock: Stock, tmp_path: Path) -> None:
    files = Authority(tmp_path).issue(NAME)
    with docker_registry(tmp_path, stock.storage, tls=files, named=True) as host, tinyproxy(tmp_path) as proxy:
        pull(Network(ca_file=files.authority, https_proxy=f"http://{proxy}"), host, stock)
    with docker_registry(tmp_path, stock.storage, named=True) as host, tinyproxy(tmp_path) as proxy:
        pull(Network(insecure=frozenset({host}), http_proxy=f"http://{proxy}"), host, stock)


def test_what_is_not_there_is_told_apart(stock: Stock, tmp_path: Path) -> None:
    with docker_registry(tmp_path, stock.storage) as host, Client(Network(insecure=frozenset({host}))) as client:
        with pytest.raises(NotFound, match=r"team/app:none: not found .*manifest unknown"):
            Registry(host, "team/app", client).document("none")
        with pytest.raises(NotFound):
            Registry(host, "no/such", client).document("latest")
        with pytest.raises(NotFound, match="no repository 'no/such'"):
            list(Registry(host, "no/such", client).tags())
        absent = Descriptor("application/x", Digest.of(b"absent"), 6)
        with pytest.raises(NotFound, match="blob unknown"):
            download(Registry(host, "team/app", client), absent)


def test_ranges_are_what_was_asked_for(stock: Stock, tmp_path: Path) -> None:
    with docker_registry(tmp_path, stock.storage) as host, Client(Network(insecure=frozenset({host}))) as client:
        registry = Registry(host, "team/app", client)
        wanted = registry.document("1").layers[0]
        content = stock.image.blobs[wanted.digest]
        for start, end in ((0, 10), (10, 20), (1 << 20, None), (wanted.size - 1, None), (0, wanted.size), (5, 1 << 40)):
            assert download(registry, wanted, start, end) == content[start:end]
        assert download(registry, wanted, wanted.size) == b""


def test_repositories_are_listed(stock: Stock, tmp_path: Path) -> None:
    with docker_registry(tmp_path, stock.storage) as host, Client(Network(insecure=frozenset({host}))) as client:
        assert list(repositories(client, host, job=Job())) == ["team/app"]


def test_CR10_no_event_of_a_pull_has_a_secret(stock: Stock, tmp_path: Path) -> None:
    events: list[Event] = []
    with TokenServer(tmp_path) as tokens, docker_registry(tmp_path, stock.storage, auth=tokens.auth) as host:
        tokens.failures[:] = [Answer(503)]
        network = Network(insecure=frozenset({host}), authfile=docker_config(tmp_path, host))
        pull(network, host, stock, job=Job(progress=events.append))
    assert events
    assert CANARY not in repr(events)
