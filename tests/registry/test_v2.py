"""Documents and lists from registries that lie."""

from __future__ import annotations

import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import Denied, Error, Invalid, Mismatch, NotFound, Unavailable, Unsafe
from orlop.http.client import Client
from orlop.http.head import Headers
from orlop.http.throttle import retry_after
from orlop.job import Event, Job
from orlop.model import media
from orlop.model.digest import Digest
from orlop.model.limits import MANIFEST_BYTES
from orlop.registry.paging import next_page, repositories
from orlop.registry.v2 import Registry
from orlop.settings import Network
from tests.support.lying import CANARY, Answer, Handler, Lying, Seen, challenge, redirect

PATH = "/v2/a/b/manifests/1"
RAW = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
GOOD = Answer(200, RAW, (("Content-Type", media.OCI_INDEX),))


def client_for(server: Lying) -> Client:
    network = Network(insecure=frozenset({server.host}), username="user", password=CANARY, timeout=2.0)
    return Client(network, named=server.host, base=0.005)


def document(server: Lying, *answers: Answer | Handler, job: Job | None = None) -> bytes:
    server.on(PATH, *answers)
    with client_for(server) as client:
        return Registry(server.host, "a/b", client, job=job).document("1").raw


def tags(server: Lying, *answers: Answer | Handler) -> list[str]:
    server.on("/v2/a/b/tags/list", *answers)
    with client_for(server) as client:
        return list(Registry(server.host, "a/b", client).tags())


def page(*names: str, link: str = "") -> Answer:
    body = json.dumps({"name": "a/b", "tags": names}).encode()
    return Answer(200, body, (("Link", link),) if link else ())


# -- documents -----------------------------------------------------------------------------------------------


def test_a_document_is_one_request_for_every_kind(server: Lying) -> None:
    assert document(server, GOOD) == RAW
    assert len(server.seen) == 1
    assert server.seen[0].header("accept").split(", ") == list(media.ACCEPT)
    assert server.seen[0].header("user-agent").startswith("orlop/")


def test_a_schema_1_manifest_is_delivered_as_it_came(server: Lying) -> None:
    raw = b'{\n   "schemaVersion": 1,\n   "signatures": []\n}'
    assert document(server, Answer(200, raw, (("Content-Type", media.DOCKER_SCHEMA1_SIGNED),))) == raw


def test_RX03_a_manifest_over_4_mib_is_refused_and_not_read_to_its_end(server: Lying) -> None:
    endless = Answer(200, b"x" * (MANIFEST_BYTES + 1_000_000), chunked=True)
    with pytest.raises(Unsafe, match=f"more than {MANIFEST_BYTES} bytes"):
        document(server, endless)


def test_RX03_a_manifest_just_below_the_limit_is_taken(server: Lying) -> None:
    raw = RAW[:-1] + b" " * (MANIFEST_BYTES - len(RAW)) + b"}"
    assert document(server, Answer(200, raw, (("Content-Type", media.OCI_INDEX),))) == raw


@pytest.mark.parametrize("cut", [0, 50, 80, 110])
def test_NF07_a_manifest_that_is_cut_is_fetched_again(server: Lying, cut: int) -> None:
    short = Answer(200, RAW, (("Content-Type", media.OCI_INDEX),), cut=cut)
    assert document(server, short, short, GOOD) == RAW
    with pytest.raises(Unavailable):
        document(server, short, job=Job(retries=2))


def test_NF12_a_web_page_is_not_a_manifest(server: Lying) -> None:
    portal = Answer(200, b"<html>please log in</html>", (("Content-Type", "text/html; charset=utf-8"),))
    with pytest.raises(Invalid, match="answered with a web page; is this host a registry"):
        document(server, portal)
    with pytest.raises(Invalid, match="answered with a web page"):
        tags(server, portal)
    with pytest.raises(Invalid):
        document(server, Answer(200, b"<html>"))


def test_NF12_a_portal_that_redirects_is_told_by_its_name(server: Lying, other: Lying) -> None:
    other.on("/login", Answer(200, b"<html>", (("Content-Type", "text/html"),)))
    with pytest.raises(Invalid, match=f"{other.host} answered with a web page"):
        document(server, redirect(f"{other.url}/login"))


def test_unknown_repositories_and_unknown_tags_are_told_apart(server: Lying) -> None:
    def missing(code: str) -> Answer:
        return Answer(404, json.dumps({"errors": [{"code": code, "message": "gone"}]}).encode())

    with pytest.raises(NotFound, match="no repository 'a/b'"):
        document(server, missing("NAME_UNKNOWN"))
    with pytest.raises(NotFound, match="a/b:1: not found"):
        document(server, missing("MANIFEST_UNKNOWN"))


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b'{"errors":{}}', b'{"errors":[1,{"code":2}]}', b"x" * 70_000])
def test_RX03_bad_explanations_of_errors_change_nothing(server: Lying, body: bytes) -> None:
    with pytest.raises(NotFound):
        document(server, Answer(404, body))


def test_what_a_registry_says_is_cleaned_and_cut_before_it_is_shown(server: Lying) -> None:
    body = json.dumps({"errors": [{"code": "X", "message": "\x1b[2Jfine\n" + "y" * 5000}]}).encode()
    with pytest.raises(NotFound) as failure:
        document(server, Answer(404, body))
    assert "\x1b" not in str(failure.value)
    assert len(str(failure.value)) < 400


TOLD = base64.b64encode(f"user:{CANARY}".encode()).decode()


@pytest.mark.parametrize("form", [CANARY, f"got {TOLD}", f"x{CANARY}" * 30, "t0ken-t0ken"])
def test_CR10_a_registry_that_repeats_a_secret_does_not_get_it_into_the_error(server: Lying, form: str) -> None:
    def parrot(request: Seen) -> Answer:
        if not request.header("authorization"):
            return challenge(f'Bearer realm="{server.url}/token"')
        return Answer(403, json.dumps({"errors": [{"code": "DENIED", "message": form}]}).encode())

    server.on("/token", Answer(200, b'{"token":"t0ken-t0ken"}'))
    with pytest.raises(Denied, match=r"the credentials from the command line \(.*\*\*\*") as failure:
        document(server, parrot)
    assert_hidden(failure.value)


def test_CR10_nor_into_events_redirects_and_links(server: Lying) -> None:
    events: list[Event] = []
    warned = Answer(200, RAW, (("Content-Type", media.OCI_INDEX), ("Warning", f'299 - "{TOLD} is {CANARY}"')))
    limited = Answer(429, b"", (("RateLimit-Limit", CANARY), ("Retry-After", "0")))
    assert document(server, challenge("Basic"), limited, warned, job=Job(progress=events.append)) == RAW
    assert [event.text.count("***") for event in events] == [1, 2]
    assert_hidden(events)
    for lie in (redirect(f"ftp://x/{CANARY}"), redirect(f"http://127.1/{TOLD}")):
        with pytest.raises(Error) as failure:
            document(server, challenge("Basic"), lie)
        assert_hidden(failure.value)
    with pytest.raises(Unsafe, match=r"127\.0\.0\.9/\*\*\*") as failure:
        tags(server, challenge("Basic"), page("a", link=f"<http://127.0.0.9/{CANARY}>; rel=next"))
    assert_hidden(failure.value)


def assert_hidden(what: object) -> None:
    """No secret in what it says, nor in what its causes do."""
    text = repr(what) + str(what)
    while isinstance(what, BaseException):
        what = what.__cause__ or what.__context__
        text += repr(what) + str(what)
    assert CANARY not in text
    assert TOLD not in text
    assert "t0ken" not in text


def test_CR12_a_digest_in_a_header_is_not_believed(server: Lying) -> None:
    lie = Answer(200, RAW, (("Content-Type", media.OCI_INDEX), ("Docker-Content-Digest", "sha256:" + "0" * 64)))
    with pytest.raises(Mismatch, match=f"its bytes have digest {Digest.of(RAW)}, expected sha256:000"):
        document(server, lie)
    assert len(server.seen) == 2
    for odd in ("", "sha256:12", "md5:0123", "\xff", str(Digest.of(RAW, "sha512"))):
        header = ("Docker-Content-Digest", odd)
        assert document(server, Answer(200, RAW, (("Content-Type", media.OCI_INDEX), header))) == RAW


def test_NF04_a_manifest_with_a_flipped_bit_is_fetched_once_more(server: Lying) -> None:
    events: list[Event] = []
    headers = (("Content-Type", media.OCI_INDEX), ("Docker-Content-Digest", str(Digest.of(RAW))))
    good = Answer(200, RAW, headers)
    flipped = Answer(200, RAW[:20] + bytes([RAW[20] ^ 1]) + RAW[21:], headers)
    assert document(server, flipped, good, job=Job(progress=events.append)) == RAW
    assert [event.kind for event in events] == ["retry"]
    with pytest.raises(Mismatch, match=f"{server.host}/a/b:1: its bytes have digest"):
        document(server, flipped)


def test_warnings_are_shown_once_and_never_acted_upon(server: Lying) -> None:
    events: list[Event] = []
    warned = Answer(
        200, RAW, (("Content-Type", media.OCI_INDEX), ("Warning", '299 - "old client"'), ("Warning", "199 - x"))
    )
    server.on(PATH, warned)
    with client_for(server) as client:
        registry = Registry(server.host, "a/b", client, job=Job(progress=events.append))
        for _ in range(3):
            registry.document("1")
    assert [event.text for event in events] == [f"{server.host} warns: old client"]


# -- lists ---------------------------------------------------------------------------------------------------


def test_pages_are_followed_in_order(server: Lying) -> None:
    path = "/v2/a/b/tags/list"
    answers = [
        page("a", "b", link=f'<{path}?n=2&last=b>; rel="next"'),
        page("c", link=f"<{path}?last=c>; rel=next"),
        page("d"),
    ]
    assert tags(server, *answers) == ["a", "b", "c", "d"]
    assert [request.target for request in server.seen] == [f"{path}?n=1000", f"{path}?n=2&last=b", f"{path}?last=c"]


def test_pages_come_only_as_they_are_wanted(server: Lying) -> None:
    server.on("/v2/a/b/tags/list", page("a", link="<?last=a>; rel=next"))
    with client_for(server) as client:
        assert next(Registry(server.host, "a/b", client).tags()) == "a"
    assert len(server.seen) == 1


@pytest.mark.parametrize("form", ["http://{}/v2/a/b/tags/list?last=a", "//{}/v2/a/b/tags/list"])
def test_CR04_the_next_page_on_another_host_is_refused(server: Lying, other: Lying, form: str) -> None:
    with pytest.raises(Unsafe, match="another origin"):
        tags(server, page("a", link=f"<{form.format(other.host)}>; rel=next"))
    assert other.connections == 0


@pytest.mark.parametrize(
    "link", ["http://169.254.169.254/latest", "https://127.0.0.1/", "file:///etc/passwd", "http://u:p@x/"]
)
def test_CR04_the_next_page_elsewhere_is_refused(server: Lying, link: str) -> None:
    with pytest.raises((Unsafe, Invalid)):
        tags(server, page("a", link=f"<{link}>; rel=next"))


def test_RX04_a_list_that_comes_back_to_itself_is_refused(server: Lying) -> None:
    with pytest.raises(Invalid, match="never ends"):
        tags(
            server,
            page("a", link="<?last=a>; rel=next"),
            page("b", link="<?last=b>; rel=next"),
            page("a", link="<?last=a>; rel=next"),
        )


def test_RX04_a_huge_page_is_refused(server: Lying) -> None:
    with pytest.raises(Unsafe, match="more than 8388608 bytes"):
        tags(server, Answer(200, b" " * (9 << 20)))


@pytest.mark.parametrize(
    "body", [b'{"tags":{}}', b'{"tags":[1]}', b'{"tags":["a\\u001b[2J"]}', b'{"tags":["a b"]}', b"[]", b"x"]
)
def test_lists_of_something_else_are_refused(server: Lying, body: bytes) -> None:
    with pytest.raises(Invalid):
        tags(server, Answer(200, body))


def test_a_repository_without_tags_has_none(server: Lying) -> None:
    assert tags(server, Answer(200, b'{"name":"a/b","tags":null}')) == []


def test_CR14_the_catalog_has_a_token_of_its_own(server: Lying) -> None:
    def answer(request: Seen) -> Answer:
        return Answer(200, json.dumps({"token": request.target.partition("scope=")[2]}).encode())

    def catalog(request: Seen) -> Answer:
        if "registry:catalog" not in request.header("authorization"):
            return challenge(f'Bearer realm="{server.url}/token",service="s"')
        return Answer(200, b'{"repositories":["a/b"]}')

    server.on("/token", answer)
    server.on("/v2/_catalog", catalog)
    server.on(
        PATH,
        lambda request: GOOD if request.header("authorization") else challenge(f'Bearer realm="{server.url}/token"'),
    )
    with client_for(server) as client:
        Registry(server.host, "a/b", client).document("1")
        assert list(repositories(client, server.host, job=Job())) == ["a/b"]
    scopes = [request.target.partition("scope=")[2] for request in server.asked("/token")]
    assert scopes == ["repository:a/b:pull&account=user", "registry:catalog:%2A&account=user"]


@pytest.mark.parametrize(
    ("values", "target"),
    [
        ([], ""),
        (["</x>; rel=next"], "/x"),
        (['</x?a=b,c;d>; rel="next"'], "/x?a=b,c;d"),
        (['</p>; rel="prev", </x>; rel="next"'], "/x"),
        (["</p>; rel=prev", "</x>; REL=next"], "/x"),
        (['</x>; title="rel=next, <no>"; rel="last next"'], "/x"),
        (["</x>"], ""),
        (['</x>; rel="nextish"'], ""),
    ],
)
def test_links_are_read(values: list[str], target: str) -> None:
    assert next_page(values) == target


@given(st.lists(st.text(alphabet=st.sampled_from('<>/;=", relnxt\\\t'), max_size=80), max_size=3))
def test_link_parsing_raises_only_our_errors_and_ends(values: list[str]) -> None:
    with contextlib.suppress(Error):
        next_page(values)


def test_RX12_a_link_made_to_hang_a_regular_expression_does_not() -> None:
    for evil in (
        "<x>" + ";a=b" * 8000 + "!",
        "<x>" + "; " * 15_000,
        '<x>;a="' + "\\" * 30_000,
        "<x>;" + " " * 30_000 + "!",
    ):
        with contextlib.suppress(Error):
            next_page([evil])


@given(st.text(max_size=40), st.text(max_size=40))
def test_retry_after_is_a_time_to_come_or_nothing(value: str, date: str) -> None:
    after = retry_after(Headers([("Retry-After", value), ("Date", date)]), wall=lambda: 1e9)
    assert after is None or after >= 0
