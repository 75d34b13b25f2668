"""Which proxy is used, and when none is."""

from __future__ import annotations

import pytest

from orlop.errors import Invalid, Unsupported
from orlop.http.proxies import bypasses, proxy_for
from orlop.http.url import Url
from orlop.settings import Network


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "expected"),
    [
        ("", "a.example", 443, False),
        ("*", "a.example", 443, True),
        ("a.example", "a.example", 443, True),
        ("a.example", "sub.a.example", 443, True),
        ("a.example", "xa.example", 443, False),
        (".a.example", "sub.a.example", 443, True),
        (".a.example", "a.example", 443, False),
        ("*.a.example", "sub.a.example", 443, True),
        ("A.Example", "a.example", 443, True),
        ("a.example.", "a.example", 443, True),
        ("b.example, a.example", "a.example", 443, True),
        ("b.example a.example", "a.example", 443, True),
        ("a.example:5000", "a.example", 5000, True),
        ("a.example:5000", "a.example", 443, False),
        ("192.0.2.7", "192.0.2.7", 443, True),
        ("192.0.2.7:443", "192.0.2.7", 443, True),
        ("192.0.2.7", "192.0.2.70", 443, False),
        ("2.7", "192.0.2.7", 443, False),
        (".2.7", "192.0.2.7", 443, False),
        ("192.0.2.0/24", "192.0.2.7", 443, True),
        ("192.0.2.0/24", "192.0.3.7", 443, False),
        ("192.0.2.0/24", "192.0.2.7.example", 443, False),
        ("10.0.0.0/33", "10.0.0.1", 443, False),
        ("2001:db8::1", "2001:db8::1", 443, True),
        ("2001:db8:0::1", "2001:db8::1", 443, True),
        ("[2001:db8::1]", "2001:db8::1", 443, True),
        ("[2001:db8::1]:5000", "2001:db8::1", 5000, True),
        ("[2001:db8::1]:5000", "2001:db8::1", 443, False),
        ("2001:db8::/32", "2001:db8::1", 443, True),
        ("[::1%25.a.example]", "a.example", 443, False),
        (".", "a.example", 443, False),
        (",, ,", "a.example", 443, False),
        ("io", "docker.io", 443, True),
    ],
)
def test_CR15_no_proxy(no_proxy: str, host: str, port: int, expected: bool) -> None:
    assert bypasses(no_proxy, host, port) is expected


def test_CR15_a_proxys_login_is_decoded_for_it_alone_and_hidden() -> None:
    proxy = proxy_for(Url.parse("https://a.example/"), Network(https_proxy="http://us%40er:p%3Aw@proxy.example:3128"))
    assert proxy is not None
    assert (proxy.host, proxy.port) == ("proxy.example", 3128)
    assert proxy.authorization == "Basic dXNAZXI6cDp3"
    assert "dXNA" not in repr(proxy)


def test_the_scheme_chooses_the_proxy_and_this_machine_needs_none() -> None:
    network = Network(http_proxy="plain.example:80", https_proxy="secure.example:80")
    plain, secure = proxy_for(Url.parse("http://a/"), network), proxy_for(Url.parse("https://a/"), network)
    assert plain is not None
    assert secure is not None
    assert (plain.host, secure.host) == ("plain.example", "secure.example")
    for local in ("http://localhost:5000/", "https://127.0.0.1/", "https://[::1]/"):
        assert proxy_for(Url.parse(local), network) is None


@pytest.mark.parametrize("text", ["http://", "http://user:s3cret@", "http://a b/", "a:port"])
def test_CR10_a_malformed_proxy_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(Invalid) as failure:
        proxy_for(Url.parse("http://a/"), Network(http_proxy=text))
    assert "s3cret" not in str(failure.value)


def test_other_kinds_of_proxies_are_named_as_unsupported() -> None:
    with pytest.raises(Unsupported, match="socks5"):
        proxy_for(Url.parse("http://a/"), Network(http_proxy="socks5://host:1080"))
