"""URLs that registries name: read as strictly as the strictest parser, joined as RFC 3986 says."""

from __future__ import annotations

import contextlib
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import Error, Invalid
from orlop.http.url import Url


@pytest.mark.parametrize(
    ("text", "host", "port", "target"),
    [
        ("https://ghcr.io/v2/", "ghcr.io", 443, "/v2/"),
        ("HTTP://Localhost:5000", "localhost", 5000, "/"),
        ("https://[::1]:8443/a?b=c", "::1", 8443, "/a?b=c"),
        ("https://host?x=1", "host", 443, "/?x=1"),
        ("https://xn--bcher-kva.example/a#part", "xn--bcher-kva.example", 443, "/a"),
        ("https://bucket_with.under.s3.amazonaws.com/k", "bucket_with.under.s3.amazonaws.com", 443, "/k"),
    ],
)
def test_good_urls_are_taken_apart(text: str, host: str, port: int, target: str) -> None:
    url = Url.parse(text)
    assert (url.host, url.port, url.target) == (host, port, target)


@pytest.mark.parametrize(
    "text",
    [
        "https://user:secret@host/",
        "https://host@evil.example/",
        "https://good.example\\@evil.example/",
        "https://good.example\\.evil.example/",
        "https://host%2eevil.example/",
        "https://[fe80::1%25eth0]/",
        "https://ho st/",
        "https://host/\r\nHeader: x",
        "https://host:0/",
        "https://host:70000/",
        "https://host:80:90/",
        "https://höst.example/",
        "https://host/\u2028",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://127.1/",
        "https://0177.0.0.1/",
        "https://a..b/",
        "ftp://host/",
        "file:///etc/passwd",
        "//host/",
        "https:///path",
        "",
        "https://host/" + "a" * 20_000,
    ],
)
def test_CR16_ambiguous_urls_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        Url.parse(text)


@pytest.mark.parametrize(
    ("reference", "joined"),
    [
        ("/v2/b", "https://host:5000/v2/b"),
        ("?last=x", "https://host:5000/v2/a/tags/list?last=x"),
        ("other", "https://host:5000/v2/a/tags/other"),
        ("//cdn.example/x", "https://cdn.example/x"),
        ("http://cdn.example/x", "http://cdn.example/x"),
    ],
)
def test_references_are_joined(reference: str, joined: str) -> None:
    assert Url.parse("https://host:5000/v2/a/tags/list?n=1").join(reference).text == joined


@pytest.mark.parametrize("reference", ["https:evil.example", "https:/x", "https:///x", "http:", "data:,x", "sha256:12"])
def test_CR16_references_that_are_half_an_address_are_refused(reference: str) -> None:
    with pytest.raises(Invalid, match="malformed"):
        Url.parse("https://host:5000/v2/").join(reference)


def test_CR11_queries_and_logins_are_hidden_from_people() -> None:
    url = Url.parse("https://bucket.example/key?X-Amz-Signature=secret")
    assert "secret" not in f"{url} {url!r}"
    assert "secret" in url.text
    with pytest.raises(Invalid) as failure:
        Url.parse("https://user:secret@host/?sig=secret")
    assert "secret" not in str(failure.value)


@given(st.text(max_size=60).map(lambda tail: "https://" + tail))
def test_CR16_no_url_means_another_host_to_urllib(text: str) -> None:
    try:
        url = Url.parse(text)
    except Error:
        return
    other = urlsplit(text)
    assert (other.hostname, other.port or 443) == (url.host, url.port)


@given(st.text(max_size=80))
def test_joining_anything_raises_only_our_errors(reference: str) -> None:
    with contextlib.suppress(Error):
        Url.parse("https://host/a/b").join(reference)
