"""The end of an engine: `engine.engine`."""

from __future__ import annotations

import threading

import pytest

from orlop.engine.engine import Engine
from orlop.engine.job import Job, JobFailed


def ok(job: Job) -> int:
    return 0


def test_E14_an_engine_that_never_ran_can_be_shut_down_twice() -> None:
    engine = Engine()
    called: list[int] = []
    engine.on_shutdown(lambda: called.append(1))
    assert engine.is_shutdown is False
    engine.shutdown()
    engine.shutdown()
    assert engine.is_shutdown is True
    assert called == [1]


def test_E14_after_a_shutdown_no_job_runs() -> None:
    engine = Engine()
    engine.register("foo", ok)
    engine.job("foo").run()
    engine.shutdown()
    job = engine.job("foo")
    with pytest.raises(JobFailed, match=r"^engine is shutdown$"):
        job.run()


def test_E14_a_shutdown_waits_for_what_runs() -> None:
    engine = Engine(jobs_seconds=60)
    entered, refused = threading.Event(), threading.Event()
    order: list[str] = []

    def handler(job: Job) -> int:
        entered.set()
        assert refused.wait(60)
        order.append("job")
        return 0

    engine.register("foo", handler)
    engine.register("bar", ok)
    engine.on_shutdown(lambda: order.append("handler"))
    worker = threading.Thread(target=engine.job("foo").run)
    worker.start()
    assert entered.wait(60)
    closer = threading.Thread(target=engine.shutdown)
    closer.start()
    while not engine.is_shutdown:
        pass
    with pytest.raises(JobFailed):
        engine.job("bar").run()
    refused.set()
    closer.join()
    worker.join()
    assert order == ["job", "handler"]


@pytest.mark.parametrize(("name", "seconds"), [("foo", 0.05), ("serveapi", 600)])
def test_E14_a_shutdown_waits_no_longer_than_it_says_and_not_at_all_for_the_server(name: str, seconds: float) -> None:
    engine = Engine(jobs_seconds=seconds)
    entered, leave = threading.Event(), threading.Event()

    def handler(job: Job) -> int:
        entered.set()
        return 0 if leave.wait(60) else 1

    engine.register(name, handler)
    job = engine.job(name)
    worker = threading.Thread(target=job.run)
    worker.start()
    assert entered.wait(60)
    engine.shutdown()
    assert worker.is_alive()
    leave.set()
    worker.join()
    assert job.status == 0


def test_E14_handlers_run_at_once_and_one_that_hangs_is_left() -> None:
    engine = Engine(handlers_seconds=0.05)
    meet = threading.Barrier(3, timeout=60)
    leave = threading.Event()

    def handler() -> None:
        meet.wait()

    def hang() -> None:
        leave.wait(60)

    engine.on_shutdown(handler)
    engine.on_shutdown(handler)
    engine.on_shutdown(hang)
    engine.shutdown()
    meet.wait()  # both are there at the same time, or this fails
    leave.set()
