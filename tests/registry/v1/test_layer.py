"""A layer goes on where its connection broke off, whatever the server makes of ranges."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest

from orlop.errors import Mismatch, NotFound, Unavailable
from orlop.job import Job
from orlop.model.v1 import ImageId
from tests.support.lying import Answer, Handler, Seen, cut_after
from tests.support.version1 import Version1, made

from .conftest import MakeSession

Read = Callable[..., tuple[bytes, list[str]]]
CONTENT = random.Random(7).randbytes(100_000)
IMAGE = made("image", layer=CONTENT)
PATH = f"/v1/images/{IMAGE.id}/layer"
ACCEPTS = (("Accept-Ranges", "bytes"),)


def whole(request: Seen) -> Answer:
    """The layer from its start, whatever was asked for, by a server that says it could do better."""
    return Answer(200, CONTENT, ACCEPTS)


def ranged(unit: str = "bytes ", *, more: int = 0, refuse_single: bool = False) -> Handler:
    """Ranges as `unit` has them in Content-Range; the reference server leaves it out and refuses a single byte."""

    def answer(request: Seen) -> Answer:
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", request.header("range"))
        if match is None:
            return whole(request)
        start, last = int(match[1]), int(match[2])
        if last >= len(CONTENT) or (refuse_single and start == last):
            return Answer(416, b"", ACCEPTS)
        where = ("Content-Range", f"{unit}{start + more}-{last + more}/{len(CONTENT)}")
        return Answer(206, CONTENT[start : last + 1], (*ACCEPTS, where))

    return answer


@pytest.fixture
def read(session: MakeSession) -> Read:
    """Read the layer from a server that gives these answers in turn; what came, and the ranges asked for."""

    def run(*answers: Answer | Handler, size: int = len(CONTENT), retries: int = 5) -> tuple[bytes, list[str]]:
        with Version1([IMAGE]) as registry:
            registry.index.server.on(PATH, *answers)
            got, job = session(registry, retries=0), Job(retries=retries)
            with got.layer(ImageId(IMAGE.id), registry.index.host, (), size, job=job) as body:
                content = b"".join(iter(lambda: body.read(10_000), b""))
            return content, [request.header("range") for request in registry.index.server.asked(PATH)]

    return run


REST = f"bytes=40000-{len(CONTENT) - 1}"
CUT = cut_after(whole, 40_000)


@pytest.mark.parametrize("unit", ["bytes ", "", "bytes="])
def test_R06_it_goes_on_from_the_byte_that_was_reached(read: Read, unit: str) -> None:
    """`0-9/10240` is how the reference server answers."""
    assert read(CUT, ranged(unit)) == (CONTENT, ["", REST])


def test_R06_several_cuts_are_mended_one_after_the_other(read: Read) -> None:
    again = cut_after(ranged(), 10_000)
    content, ranges = read(CUT, again, again, ranged())
    assert content == CONTENT
    assert ranges == ["", REST, f"bytes=50000-{len(CONTENT) - 1}", f"bytes=60000-{len(CONTENT) - 1}"]


def test_R06_the_whole_where_a_part_was_asked_for_is_passed_over_up_to_there(read: Read) -> None:
    assert read(CUT, whole) == (CONTENT, ["", REST])


@pytest.mark.parametrize(
    "answer",
    [
        Answer(416, b"", ACCEPTS),
        Answer(206, CONTENT[:100], (("Content-Range", "bytes 0-99/100000"),)),
        Answer(206, CONTENT[40_000:], (("Content-Range", "nonsense"),)),
        Answer(206, CONTENT[40_000:], ()),
        ranged(more=1),
    ],
)
def test_R06_a_range_that_is_not_the_one_asked_for_is_thrown_away(read: Read, answer: Answer | Handler) -> None:
    assert read(CUT, answer, whole) == (CONTENT, ["", REST, ""])


def test_R06_one_byte_that_the_reference_server_refuses_comes_with_the_whole(read: Read) -> None:
    almost = cut_after(whole, len(CONTENT) - 1)
    last = len(CONTENT) - 1
    assert read(almost, ranged(refuse_single=True)) == (CONTENT, ["", f"bytes={last}-{last}", ""])


def test_R06_a_server_that_does_not_offer_ranges_is_not_asked_for_one(read: Read) -> None:
    silent = Answer(200, CONTENT)
    assert read(cut_after(lambda request: silent, 40_000), silent) == (CONTENT, ["", ""])


def test_R06_without_a_size_the_answer_s_own_counts(read: Read) -> None:
    assert read(CUT, ranged(), size=-1) == (CONTENT, ["", REST])


def test_R06_without_any_size_the_end_is_the_end(read: Read) -> None:
    chunked = Answer(200, CONTENT, ACCEPTS, chunked=True)
    assert read(chunked, size=-1) == (CONTENT, [""])
    cut = Answer(200, CONTENT, ACCEPTS, chunked=True, cut=40_000)
    assert read(cut, chunked, size=-1) == (CONTENT, ["", ""])


def test_R06_a_connection_that_ends_too_early_without_a_length_is_no_end(read: Read) -> None:
    short = Answer(200, CONTENT[:40_000], ACCEPTS, close=True)
    assert read(short, ranged()) == (CONTENT, ["", REST])


def test_R06_after_five_failures_it_is_given_up(session: MakeSession) -> None:
    with Version1([IMAGE]) as registry:
        registry.index.server.on(PATH, CUT, cut_after(ranged(), 10))
        got, job = session(registry, retries=0), Job(retries=9)
        with pytest.raises(Unavailable):
            with got.layer(ImageId(IMAGE.id), registry.index.host, (), len(CONTENT), job=job) as body:
                while body.read(10_000):
                    pass
        assert len(registry.index.server.asked(PATH)) == 6


def test_R06_a_cut_does_not_count_once_a_mebibyte_has_come(session: MakeSession) -> None:
    content = random.Random(8).randbytes(9 << 20)
    image = made("big", layer=content)
    with Version1([image]) as registry:

        def answer(request: Seen) -> Answer:
            match = re.fullmatch(r"bytes=(\d+)-(\d+)", request.header("range"))
            start = int(match[1]) if match else 0
            where = (("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"),) if match else ()
            right = Answer(206 if match else 200, content[start:], (*ACCEPTS, *where))
            return cut_after(lambda request: right, 1_200_000)(request)

        registry.index.server.on(f"/v1/images/{image.id}/layer", answer)
        got, job = session(registry, retries=0), Job(retries=5)
        with got.layer(ImageId(image.id), registry.index.host, (), len(content), job=job) as body:
            assert b"".join(iter(lambda: body.read(1 << 20), b"")) == content


@pytest.mark.parametrize("size", [len(CONTENT) - 1, len(CONTENT) + 1, 0])
def test_R06_another_size_than_was_told_is_refused(read: Read, size: int) -> None:
    with pytest.raises(Mismatch, match="were announced"):
        read(whole, size=size)


def test_R06_more_than_was_told_is_refused(read: Read) -> None:
    with pytest.raises(Mismatch, match="more than the expected"):
        read(Answer(200, CONTENT, chunked=True), size=len(CONTENT) - 1)


def test_R06_a_layer_that_changed_meanwhile_is_refused(read: Read) -> None:
    def tagged(tag: str) -> Handler:
        return lambda request: Answer(200, CONTENT, (*ACCEPTS, ("ETag", f'"{tag}"')))

    with pytest.raises(Mismatch, match="changed at the registry"):
        read(cut_after(tagged("a"), 40_000), tagged("b"))


def test_R06_a_layer_that_is_not_there_is_not_found(read: Read) -> None:
    with pytest.raises(NotFound, match="Status 404 while fetching image layer"):
        read(Answer(404, b'{"error": "Image not found"}'))


def test_R06_a_layer_of_no_bytes_is_one(read: Read) -> None:
    assert read(Answer(200, b""), size=0) == (b"", [""])
