"""TLS: one configuration a registry, certificates of one's own, and errors that say what is wrong."""

from __future__ import annotations

import datetime
import json
import socket
import ssl
import threading
import time
from email.utils import format_datetime
from pathlib import Path

import pytest

from orlop.errors import Cancelled, Invalid, Unavailable, Unsafe
from orlop.http.client import Client
from orlop.http.wire import Fault
from orlop.job import Job
from orlop.settings import Network
from orlop.streams import read_limited
from tests.support.lying import CANARY, Answer, Lying, challenge, redirect
from tests.support.registries import Authority, docker_config

OK = Answer(200, b"fine")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def get(network: Network, server: Lying, target: str = "/v2/x") -> bytes:
    with Client(network, base=0.01) as client, client.request(server.host, "GET", target, job=Job()) as answer:
        return read_limited(answer, 1 << 20, what="test") if answer.status == 200 else b"%d" % answer.status


def test_a_private_authority_is_believed_once_it_is_named(authority: Authority, tmp_path: Path) -> None:
    with Lying(tls=authority.server("127.0.0.1")) as server:
        server.on("/v2/x", OK)
        with pytest.raises(Fault, match=r"certificate is not trusted.*\(tls\)") as failure:
            get(Network(), server)
        assert "name it with --ca-file" in str(failure.value)
        assert not failure.value.again
        assert get(Network(ca_file=authority.file), server) == b"fine"
        folder = tmp_path / server.host
        folder.mkdir()
        (folder / "ca.crt").write_bytes(authority.file.read_bytes())
        assert get(Network(certificate_dirs=(tmp_path,)), server) == b"fine"
        assert get(Network(insecure=frozenset({f"https://{server.host}"})), server) == b"fine"


def test_a_certificate_for_another_name_is_refused(authority: Authority) -> None:
    with Lying(tls=authority.server("other.example")) as server:
        server.on("/v2/x", OK)
        with pytest.raises(Fault, match=r"not trusted: .*ip address mismatch, .* '127\.0\.0\.1' \(tls\)") as failure:
            get(Network(ca_file=authority.file), server)
        assert "another host's" in failure.value.hint
        assert server.seen == []


def test_large_bodies_come_whole_over_tls(authority: Authority) -> None:
    content = bytes(range(256)) * 20_000
    with Lying(tls=authority.server("127.0.0.1")) as server:
        server.on("/v2/x", Answer(200, content), Answer(200, content, chunked=True))
        with Client(Network(ca_file=authority.file)) as client:
            for _ in range(2):
                with client.request(server.host, "GET", "/v2/x", job=Job()) as answer:
                    assert read_limited(answer, 1 << 23, what="test") == content
        assert server.connections == 1


@pytest.mark.parametrize("cut", [0, 10, 100, 5000])
def test_NF07_a_tls_connection_that_breaks_is_an_error_and_never_a_short_body(authority: Authority, cut: int) -> None:
    with Lying(tls=authority.server("127.0.0.1")) as server:
        server.on("/v2/x", Answer(200, b"x" * 90_000, cut=cut))
        with pytest.raises(Fault):
            get(Network(ca_file=authority.file, retries=1), server)


def test_NF07_a_break_during_the_handshake_is_tried_again_and_named() -> None:
    with Lying(hangs_up=True) as server:
        with pytest.raises(Fault, match=r"\(tls\)"):
            get(Network(retries=1), server)
        assert server.connections == 2


def test_NF09_a_handshake_that_is_not_answered_ends_in_time_and_can_be_stopped() -> None:
    job = Job()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = "127.0.0.1:" + str(silent.getsockname()[1])
        with Client(Network(timeout=0.3, retries=0)) as client, pytest.raises(Fault, match=r"within 0\.3 s \(tls\)"):
            client.request(host, "GET", "/v2/x", job=job)
        threading.Timer(0.2, job.stop).start()
        began = time.monotonic()
        with Client(Network(timeout=30.0)) as client, pytest.raises(Cancelled):
            client.request(host, "GET", "/v2/x", job=job)
        assert time.monotonic() - began < 3


def test_a_client_certificate_is_shown_to_the_registry_and_to_no_other_origin(authority: Authority) -> None:
    mine = authority.issue("client@example.com")
    network = Network(ca_file=authority.file, client_cert=mine.certificate, client_key=mine.key)
    strict = authority.server("127.0.0.1", client_ca=authority.file)
    asking = authority.server("127.0.0.1", client_ca=authority.file, ask=True)
    with Lying(tls=strict) as server, Lying(tls=asking) as other:
        server.on("/v2/x", redirect(f"{other.url}/blob"))
        other.on("/blob", redirect(f"{other.url}/second"))
        other.on("/second", OK)
        assert get(network, server) == b"fine"
        assert server.seen[0].certificate
        assert [request.path for request in other.seen] == ["/blob", "/second"]
        assert other.secrets() == []
        with pytest.raises(Fault):
            get(Network(ca_file=authority.file), server)


def test_CR02_a_redirect_from_https_to_http_is_refused(authority: Authority) -> None:
    with Lying(tls=authority.server("127.0.0.1")) as server, Lying() as other:
        server.on("/v2/x", redirect(f"{other.url}/blob?sig=secret"))
        with pytest.raises(Unsafe, match="from https to") as failure:
            get(Network(ca_file=authority.file), server)
        assert "secret" not in str(failure.value)
        assert other.connections == 0


def test_CR05_an_https_registry_may_not_name_a_plain_realm(authority: Authority) -> None:
    with Lying(tls=authority.server("127.0.0.1")) as server, Lying() as other:
        server.on("/v2/x", challenge(f'Bearer realm="{other.url}/token"'))
        with pytest.raises(Unsafe, match="expected https"):
            get(Network(ca_file=authority.file), server)
        assert other.connections == 0


def test_CR07_the_token_server_is_verified_with_the_registrys_own_authorities(
    authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path)
    folder = tmp_path / "certs"
    with Lying(tls=authority.server("127.0.0.1")) as server:
        (folder / server.host).mkdir(parents=True)
        (folder / server.host / "ca.crt").write_bytes(authority.file.read_bytes())
        network = Network(certificate_dirs=(folder,), authfile=docker_config(tmp_path, server.host), retries=0)
        for context, trusted in ((authority.server("127.0.0.1"), True), (stranger.server("127.0.0.1"), False)):
            with Lying(tls=context) as tokens:
                server.on("/v2/x", challenge(f'Bearer realm="{tokens.url}/token"'), OK)
                tokens.on("/token", Answer(200, json.dumps({"token": "t"}).encode()))
                if trusted:
                    assert get(network, server) == b"fine"
                else:
                    with pytest.raises(Fault, match="not trusted"):
                        get(network, server)
                    assert tokens.seen == []


def test_CR07_an_unverified_registry_does_not_make_another_host_unverified(authority: Authority) -> None:
    with (
        Lying(tls=authority.server("127.0.0.1")) as server,
        Lying(tls=authority.server("127.0.0.2"), address="127.0.0.2") as other,
    ):
        server.on("/v2/x", redirect(f"{other.url}/blob"))
        with pytest.raises(Fault, match=f"{other.host}: certificate is not trusted"):
            get(Network(insecure=frozenset({f"https://{server.host}"})), server)
        assert other.seen == []


@pytest.mark.parametrize(
    ("before", "after", "server_days", "hint"),
    [
        (-20, -10, -15, "days ahead of the server's"),
        (10, 20, 15, "days behind the server's"),
        (-20, -10, 0, "agrees with the server's"),
    ],
)
def test_NF13_a_wrong_clock_is_told_from_a_wrong_certificate(
    authority: Authority, before: int, after: int, server_days: int, hint: str
) -> None:
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    context = authority.server("127.0.0.1", not_before=now + before * day, not_after=now + after * day)
    with Lying(tls=context) as server:
        date = format_datetime(now + server_days * day, usegmt=True)
        server.on("/", Answer(200, b"", (("Date", date),)))
        with pytest.raises(Fault, match=hint):
            get(Network(ca_file=authority.file, username="", password=""), server)
        assert [(request.method, request.target) for request in server.seen] == [("HEAD", "/")]
        assert server.secrets() == []


def test_a_missing_client_certificate_or_key_is_asked_for(authority: Authority) -> None:
    mine = authority.issue("client@example.com")
    with Lying(tls=authority.server("127.0.0.1", client_ca=authority.file)) as server:
        server.on("/v2/x", OK)
        with pytest.raises(Invalid) as failure:
            get(Network(ca_file=authority.file, client_cert=mine.certificate), server)
        hint = "name the file of the key: --client-key"
        assert str(failure.value) == f"certificate {mine.certificate}: its key is missing; {hint}"
        with pytest.raises(Fault, match=r"refused us: .*certificate required") as refused:
            get(Network(ca_file=authority.file), server)
        assert refused.value.hint == "it wants a client certificate that it knows: --client-cert"


def test_an_unknown_client_certificate_is_told(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path).issue("client@example.com")
    network = Network(ca_file=authority.file, client_cert=other.certificate, client_key=other.key)
    with Lying(tls=authority.server("127.0.0.1", client_ca=authority.file)) as server:
        server.on("/v2/x", OK)
        with pytest.raises(Fault, match="--client-cert"):
            get(network, server)


def test_a_client_certificate_is_asked_for_within_the_handshake_too(authority: Authority) -> None:
    context = authority.server("127.0.0.1", client_ca=authority.file)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with Lying(tls=context) as server, pytest.raises(Fault) as failure:
        get(Network(ca_file=authority.file, retries=0), server)
    assert failure.value.step == "tls"


def test_plain_http_to_a_tls_server_is_told_and_nothing_is_sent_over_tls(authority: Authority) -> None:
    with Lying(tls=authority.server("127.0.0.1")) as server:
        server.on("/v2/x", OK)
        with pytest.raises(Unavailable) as failure:
            get(Network(insecure=frozenset({server.host})), server)
        assert str(failure.value) == (
            f"{server.host} speaks TLS; leave out --insecure, "
            f"or write --insecure https://{server.host} to skip verification"
        )
        assert server.seen == []


def test_plain_http_to_a_tls_server_that_answers_400_is_told(authority: Authority) -> None:
    """As servers in Go and nginx do."""
    context = authority.server("127.0.0.1")
    asked: list[bytes] = []

    def serve(listening: socket.socket) -> None:
        for _ in range(2):
            link, _ = listening.accept()
            with link:
                if link.recv(1, socket.MSG_PEEK) == b"G":
                    asked.append(link.recv(1 << 16))
                    link.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
                else:
                    with context.wrap_socket(link, server_side=True) as secure:
                        asked.append(secure.recv(1))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        host = f"127.0.0.1:{listening.getsockname()[1]}"
        with Client(Network(insecure=frozenset({host}))) as client, pytest.raises(Unavailable, match="speaks TLS"):
            client.request(host, "GET", "/v2/x", job=Job())
        thread.join(10)
    assert asked[0].startswith(b"GET /v2/x HTTP/1.1\r\n")
    assert asked[1:] == [b""]


def test_a_plain_registry_that_answers_400_or_badly_is_not_mistaken() -> None:
    with Lying() as server:
        server.on("/v2/x", Answer(400))
        assert get(Network(insecure=frozenset({server.host})), server) == b"400"
        assert server.connections == 2
        server.on("/v2/y", Answer(raw=b"\x15\x03\x01\r\n\r\n"))
        with pytest.raises(Invalid, match="does not answer in HTTP"):
            get(Network(insecure=frozenset({server.host})), server, "/v2/y")


@pytest.mark.parametrize("content", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_bad_certificate_file_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "mine.pem"
    file.write_text(content)
    with Lying() as server:
        for network in (Network(ca_file=file), Network(client_cert=file, client_key=file)):
            with pytest.raises(Invalid, match=r"mine\.pem"):
                get(network, server)


def test_only_tls_1_2_and_later_are_spoken(authority: Authority) -> None:
    context = authority.server("127.0.0.1")
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with Lying(tls=context) as server, pytest.raises(Fault, match=r"\(tls\)"):
        get(Network(ca_file=authority.file, retries=0), server)
    assert CANARY not in repr(server.seen)


def test_NF08_http_2_is_never_agreed_to(authority: Authority) -> None:
    context = authority.server("127.0.0.1")
    context.set_alpn_protocols(["h2", "http/1.1"])
    with Lying(tls=context) as server:
        server.on("/v2/x", OK)
        assert get(Network(ca_file=authority.file), server) == b"fine"
        assert server.agreed == ["http/1.1"]


def test_NF08_a_server_that_speaks_http_2_all_the_same_is_told(authority: Authority) -> None:
    settings = b"\0\0\0\4\0\0\0\0\0" * 3 + b"\0\0\x08\x07\0\0\0\0\0" + b"\0" * 8  # SETTINGS, then GOAWAY
    with Lying(tls=authority.server("127.0.0.1")) as server:
        server.on("/v2/x", Answer(raw=settings + b"\r\n\r\n"))
        with pytest.raises(Invalid, match="does not answer in HTTP"):
            get(Network(ca_file=authority.file), server)
