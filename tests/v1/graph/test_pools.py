"""The row T14: what is being pulled or pushed is not done twice, and who waits is told how it ended."""

from __future__ import annotations

import threading

import pytest

from orlop.errors import Cancelled, Invalid, NotFound
from orlop.job import Job
from orlop.v1.pools import InProgress, Pools


def test_T14_a_key_is_in_one_pool_once() -> None:
    pools = Pools()
    pools.add("pull", "test1")
    pools.add("pull", "test2")
    for kind, key, text in (
        ("push", "test1", "pull test1 is already in progress"),
        ("pull", "test1", "pull test1 is already in progress"),
        ("push", "test2", "pull test2 is already in progress"),
    ):
        with pytest.raises(InProgress) as told:
            pools.add(kind, key)
        assert told.value.message == text
    with pytest.raises(Invalid, match=r"^Unknown pool type$"):
        pools.add("wait", "test3")
    pools.remove("pull", "test2")
    pools.remove("pull", "test2")
    pools.remove("pull", "test1")
    pools.remove("push", "test1")
    with pytest.raises(Invalid, match=r"^Unknown pool type$"):
        pools.remove("wait", "test3")
    pools.add("push", "test1")
    with pytest.raises(InProgress, match="push test1 is already in progress"):
        pools.add("pull", "test1")


@pytest.mark.parametrize("error", [None, NotFound("Tag t not found in repository r")])
def test_T14_who_waits_gets_the_result_of_the_first(error: NotFound | None) -> None:
    pools = Pools()
    pools.add("pull", "repo:tag")
    with pytest.raises(InProgress) as told:
        pools.add("pull", "repo:tag")
    results: list[BaseException | None] = []

    def wait() -> None:
        try:
            told.value.work.wait(Job())
            results.append(None)
        except NotFound as found:
            results.append(found)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    pools.remove("pull", "repo:tag", error)
    # the key is free, and a third one's work is not touched by those who waited
    third = pools.add("pull", "repo:tag")
    for thread in threads:
        thread.join()
    assert results == [error] * 3
    with pytest.raises(InProgress) as again:
        pools.add("push", "repo:tag")
    assert again.value.work is third


def test_T14_a_stop_ends_the_waiting_only() -> None:
    pools, job = Pools(), Job()
    work = pools.add("pull", "x")
    job.stop()
    with pytest.raises(Cancelled):
        work.wait(job)
    work.finish()
    work.finish(NotFound("late"))
    work.wait(Job())
