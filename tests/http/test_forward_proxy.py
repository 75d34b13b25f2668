"""Through a forward proxy: tinyproxy, as absolute URLs for http and by CONNECT for https."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from orlop.errors import Denied
from orlop.http.client import Client
from orlop.http.wire import Fault
from orlop.job import Job
from orlop.settings import Network
from orlop.streams import read_limited
from tests.support.lying import CANARY, Answer, Lying
from tests.support.registries import NAME, Authority, tinyproxy

OK = Answer(200, b"fine")
ADDRESS = socket.gethostbyname(NAME)


def get(network: Network, host: str) -> bytes:
    with Client(network, base=0.01) as client, client.request(host, "GET", "/v2/x", job=Job()) as answer:
        return read_limited(answer, 1000, what="test") if answer.status == 200 else b"%d" % answer.status


@pytest.mark.peer
def test_CR15_plain_http_goes_through_the_proxy_which_keeps_its_credentials(tmp_path: Path) -> None:
    with Lying(address=ADDRESS) as server, tinyproxy(tmp_path, login=f"us:{CANARY}") as proxy:
        server.on("/v2/x", OK)
        host = f"{NAME}:{server.port}"
        network = Network(insecure=frozenset({host}), http_proxy=f"http://us:{CANARY}@{proxy}")
        assert get(network, host) == b"fine"
        assert server.seen[0].header("via")
        assert server.secrets() == []
        with pytest.raises(Denied, match=r"proxy .* wants other credentials"):
            get(Network(insecure=frozenset({host}), http_proxy=proxy), host)
        get(Network(insecure=frozenset({host}), http_proxy=network.http_proxy, no_proxy=NAME), host)
        assert not server.seen[-1].header("via")


@pytest.mark.peer
def test_CR15_https_goes_through_a_tunnel_and_is_verified_at_its_end(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with (
        Lying(tls=authority.server(NAME), address=ADDRESS) as server,
        tinyproxy(tmp_path, login=f"us:{CANARY}") as proxy,
    ):
        server.on("/v2/x", OK)
        host = f"{NAME}:{server.port}"
        network = Network(ca_file=authority.file, https_proxy=f"http://us:{CANARY}@{proxy}")
        assert get(network, host) == b"fine"
        assert server.secrets() == []
        with pytest.raises(Fault, match="not trusted"):
            get(Network(https_proxy=network.https_proxy), host)
        with pytest.raises(Denied, match="wants other credentials"):
            get(Network(https_proxy=f"http://us:wrong-{CANARY}@{proxy}"), host)
    assert f"CONNECT {host}" in next(tmp_path.glob("tinyproxy-*.log")).read_text()


@pytest.mark.peer
def test_a_proxy_that_cannot_connect_is_named_as_the_step(tmp_path: Path) -> None:
    with Lying(address=ADDRESS) as gone:
        pass
    with tinyproxy(tmp_path) as proxy:
        with pytest.raises(Fault, match=r"refused to connect to .*\(proxy\)"):
            get(Network(https_proxy=f"http://{proxy}", retries=0), f"{NAME}:{gone.port}")


def test_NF09_a_proxy_that_is_down_is_named() -> None:
    with Lying() as gone:
        pass
    with pytest.raises(Fault, match=r"proxy 127\.0\.0\.1: cannot connect"):
        get(Network(https_proxy=gone.host, retries=0), "registry.example")


def test_CR18_a_metadata_address_is_not_reached_through_a_proxy_either() -> None:
    from orlop.errors import Unsafe
    from tests.support.lying import redirect

    with Lying() as proxy:
        proxy.on("http://registry.example/v2/x", redirect("http://169.254.169.254/latest"))
        network = Network(insecure=frozenset({"registry.example"}), http_proxy=proxy.host)
        with pytest.raises(Unsafe, match="link-local"):
            get(network, "registry.example")
        assert len(proxy.seen) == 1
