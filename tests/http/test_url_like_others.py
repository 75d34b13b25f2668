"""Hosts as other programs read them: what we take for a URL names the same host to urllib and to Go's net/url."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orlop.errors import Error
from orlop.http.hosts import endpoint
from orlop.http.url import Url
from orlop.model.reference import Reference
from orlop.settings import Network
from tests.support.soak import times

BASE = "https://registry.example:5000/v2/a/tags/list?n=1"
PORTS = {"http": 80, "https": 443}
EXAMPLES = settings(max_examples=times(400, 20_000), suppress_health_check=[HealthCheck.function_scoped_fixture])

HOSTS = st.sampled_from(
    [
        "evil.example",
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[fe80::1%25lo]",
        "xn--a",
        "\u0131.io",
    ]
) | st.from_regex(r"[a-z0-9_.%\[\]:-]{1,12}", fullmatch=True)
MARKS = r"http: https: HTTPS: // / /// \ @ user:pw@ :80 :0 :99999 : # ? %2f %00 .. . ; & v2 javascript: [ ]"
ODD = ["\t", "\n", " ", "\u3002", "\uff0f", "\x7f", "registry.example:5000"]
PIECES = HOSTS | st.sampled_from(MARKS.split()) | st.sampled_from(ODD)
TEXTS = st.lists(PIECES, max_size=7).map("".join)
URLS = st.builds("{}{}{}".format, st.sampled_from(["http://", "https://", "HTTPS://"]), HOSTS, TEXTS) | TEXTS


class Go:
    """Asks the Go program; None is an error of its."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen([program, BASE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def read(self, text: str) -> tuple[tuple[str, str, int] | None, tuple[str, str, int] | None]:
        """The origin that the text names by itself, and as a reference from `BASE`."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(base64.b64encode(text.encode("utf-8", "surrogatepass")).decode() + "\n")
        stdin.flush()
        alone, joined = stdout.readline().rstrip("\n").split("\t")
        return _origin(alone), _origin(joined)

    def close(self) -> None:
        self._process.communicate()


def _origin(said: str) -> tuple[str, str, int] | None:
    if said == "error":
        return None
    scheme, host, port, user = said.split(" ")
    assert user == "false", said
    return scheme, host.lower(), int(port or PORTS.get(scheme, 0))


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Go]:
    place = tmp_path_factory.mktemp("gourls")
    environment = os.environ | {"GO111MODULE": "off", "GOCACHE": str(place / "cache"), "GOFLAGS": ""}
    source = Path(__file__).with_name("gourls.go")
    subprocess.run(["/usr/bin/go", "build", "-o", place / "gourls", source], env=environment, check=True)
    process = Go(place / "gourls")
    yield process
    process.close()


@pytest.mark.xdist_group("go-urls")
@EXAMPLES
@example("https://registry.example:5000\\@evil.example/")
@example("https://[::ffff:127.0.0.1]:80/")
@given(URLS)
def test_CR16_a_url_names_the_host_that_go_and_urllib_read(go: Go, text: str) -> None:
    try:
        url = Url.parse(text)
    except Error:
        return
    other = urlsplit(text)
    assert url.origin == (other.scheme, other.hostname, other.port or PORTS[other.scheme])
    assert other.username is None
    found = go.read(text)[0]
    assert found is None or found == url.origin  # it also reads what stands behind the host


@pytest.mark.xdist_group("go-urls")
@EXAMPLES
@example("//evil.example/")
@example("///evil.example/")
@example("https:evil.example")
@given(URLS)
def test_CR16_a_reference_leads_where_go_and_urllib_go(go: Go, text: str) -> None:
    try:
        url = Url.parse(BASE).join(text)
    except Error:
        return
    other = urlsplit(urljoin(BASE, text))
    assert url.origin == (other.scheme, other.hostname, other.port or PORTS[other.scheme])
    found = go.read(text)[1]
    assert found is None or found == url.origin


@EXAMPLES
@given(st.builds("{}/{}".format, HOSTS | TEXTS, st.sampled_from(["a", "a/b:1", "a@b"])))
def test_CR16_a_reference_is_asked_for_at_the_host_that_it_shows(text: str) -> None:
    try:
        reference = Reference.parse(text)
        url = endpoint(reference.host, Network(certificate_dirs=())).url
    except Error:
        return
    shown = "registry-1.docker.io" if reference.host == "docker.io" else reference.host
    assert url.authority == shown.removesuffix(":443")
    other = urlsplit(f"https://{reference.name}/")
    assert other.hostname == (reference.host if reference.host == "docker.io" else url.host)
    assert other.username is None
