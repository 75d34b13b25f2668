from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orlop.errors import Usage
from orlop.model.digest import Digest
from orlop.model.reference import Location, Reference, is_repository, is_tag

HEX = "0123456789abcdef" * 4
COMPONENT = st.from_regex(r"[a-z0-9]{1,6}(?:(?:\.|_|__|-{1,3})[a-z0-9]{1,6}){0,2}", fullmatch=True)
REPOSITORY = st.lists(COMPONENT, min_size=1, max_size=4).map("/".join)
HOST = st.sampled_from(
    ["docker.io", "ghcr.io", "localhost", "localhost:5000", "a.b-c.example:443", "[::1]", "[fe80::1]:5000", "x:1"]
)
TAG = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,12}", fullmatch=True)
DIGEST = st.sampled_from([Digest(f"sha256:{HEX}"), Digest(f"sha512:{HEX}{HEX}")])


@st.composite
def references(draw: st.DrawFn) -> Reference:
    host, repository = draw(HOST), draw(REPOSITORY)
    if host == "docker.io" and "/" not in repository:
        repository = f"library/{repository}"
    tag, digest = draw(st.tuples(TAG, DIGEST) | st.tuples(TAG, st.none()) | st.tuples(st.just(""), DIGEST))
    return Reference(host, repository, tag, digest)


@given(references())
@example(Reference("docker.io", "library/localhost/x", "1"))
@example(Reference("docker.io", "library/a/b", "1"))
@example(Reference("docker.io", "a.b/c", "1"))
@example(Reference("docker.io", "library/docker.io/x", "1"))
def test_PA17_a_reference_is_read_back_as_itself(reference: Reference) -> None:
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar) == reference
    assert Location.parse(str(Location("docker", reference=reference))).reference == reference
    assert Location.parse(f"store:{reference}").reference == reference


@given(st.text(max_size=30) | st.text("aA0:/@._-[]%é\n ", max_size=30))
@example("a/../b")
@example("a//b")
@example("./a")
@example("a/.")
def test_PA17_any_text_is_refused_or_has_no_dot_segments(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except Usage:
        return
    assert not {"", ".", ".."} & set(reference.name.split("/"))
    assert Reference.parse(str(reference)) == reference


@given(st.text(max_size=30))
def test_any_location_is_read_or_refused(text: str) -> None:
    try:
        location = Location.parse(text)
    except Usage:
        return
    assert Location.parse(str(location)) == location


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("debian", "docker.io/library/debian:latest"),
        ("debian:12", "docker.io/library/debian:12"),
        ("a/b", "docker.io/a/b:latest"),
        ("docker.io/debian", "docker.io/library/debian:latest"),
        ("index.docker.io/a/b:1", "docker.io/a/b:1"),
        ("ghcr.io/a", "ghcr.io/a:latest"),
        ("localhost/a", "localhost/a:latest"),
        ("localhost:5000/a:b", "localhost:5000/a:b"),
        ("localhost:5000", "docker.io/library/localhost:5000"),
        ("[::1]:5000/a", "[::1]:5000/a:latest"),
        ("GHCR.io/a", "ghcr.io/a:latest"),
        (f"debian@sha256:{HEX}", f"docker.io/library/debian@sha256:{HEX}"),
        (f"debian:12@sha256:{HEX}", f"docker.io/library/debian:12@sha256:{HEX}"),
    ],
)
def test_what_people_type_is_understood(text: str, full: str) -> None:
    assert str(Reference.parse(text)) == full


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        ":",
        "@",
        "a:",
        "a@",
        "a/",
        "/a",
        "a//b",
        "a/../b",
        "../a",
        "a/./b",
        "Debian",
        "a/B",
        "a b",
        "a\n",
        "a:b\n",
        "a%2fb",
        "%2e%2e/a",
        "a:b:c/d:e",
        "a:.x",
        "a:-x",
        "a:" + "x" * 129,
        "a" * 300,
        "x.y:0/a",
        "x.y:01/a",  # would be asked for at another name than it shows
        "x.y:99999/a",
        "x.y:port/a",
        "d\u0435bian",  # a Cyrillic letter
        "\uff41",
        "a@sha256:abc",
        f"a@SHA256:{HEX}",
        f"a@sha256:{HEX}@sha256:{HEX}",
        "a___b",
        "a..b",
        "-a",
        "a-",
        "http://a.b/c",
        "user@host/a",
    ],
)
def test_PA17_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(Usage):
        Reference.parse(text)


@pytest.mark.parametrize(
    ("host", "repository"),
    [("GHCR.io", "a"), ("ghcr", "a"), ("docker.io", "debian"), ("", "a"), ("a.b/c", "d"), ("a..b", "c"), ("a.b", "")],
)
def test_PA17_a_reference_that_would_be_read_back_as_another_is_not_made(host: str, repository: str) -> None:
    with pytest.raises(Usage):
        Reference(host, repository, "1")


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("oci:/a/b", Location("oci", "/a/b")),
        ("oci:a:1", Location("oci", "a", "1")),
        ("docker-archive:a.tar:localhost:5000/x:1", Location("docker-archive", "a.tar", "localhost:5000/x:1")),
        ("oci-archive:-", Location("oci-archive", "-")),
        ("docker:27", Location("docker", reference=Reference("docker.io", "library/docker", "27"))),
        ("v1://a.b/c", Location("v1", reference=Reference("a.b", "c", "latest"))),
    ],
)
def test_transports_are_told_apart(text: str, location: Location) -> None:
    assert Location.parse(text) == location


@pytest.mark.parametrize("text", ["oci:", "docker:", "v1:a/b", "store:", "docker://", "oci-archive::x"])
def test_a_transport_without_its_place_is_refused(text: str) -> None:
    with pytest.raises(Usage):
        Location.parse(text)


def test_repositories_and_tags_have_limits() -> None:
    assert is_repository("a" * 255)
    assert not is_repository("a" * 256)
    assert is_tag("a" * 128)
    assert not is_tag("a" * 129)
    assert not is_tag("")
