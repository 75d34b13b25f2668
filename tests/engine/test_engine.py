"""The engine and its jobs: `engine.engine`, `engine.job`, `engine.parse`."""

from __future__ import annotations

import io
import threading

import pytest

from orlop.engine.engine import Engine
from orlop.engine.job import Job, JobFailed, Status
from orlop.errors import Conflict, Invalid, NotFound


def ok(job: Job) -> int:
    return Status.OK


def test_E01_a_name_has_one_handler() -> None:
    engine = Engine()
    engine.register("dummy", ok)
    with pytest.raises(Conflict, match=r"^Can't overwrite handler for command dummy$"):
        engine.register("dummy", ok)
    with pytest.raises(Conflict):
        engine.register("commands", ok)


def test_E01_commands_lists_the_names_in_order() -> None:
    engine, output = Engine(), io.BytesIO()
    for name in ("foo", "bar", "echo", "die"):
        engine.register(name, ok)
    job = engine.job("commands")
    job.stdout.add(output)
    job.run()
    assert output.getvalue() == b"bar\ncommands\ndie\necho\nfoo\n"


def test_E01_engines_have_names_of_8_digits() -> None:
    one, two = Engine(), Engine()
    assert str(one) != str(two)
    assert (str(one), len(one.id)) == (one.id[:8], 64)


def test_E01_a_catchall_takes_every_name_but_none() -> None:
    engine = Engine()
    called = []

    def catch(job: Job) -> int:
        called.append(job.name)
        return 0

    engine.register("foo", ok)
    engine.register_catchall(catch)
    engine.job("foo").run()
    engine.job("bar").run()
    with pytest.raises(JobFailed):
        engine.job("").run()
    assert called == ["bar"]


def test_E02_a_job_of_any_name_can_be_made_and_fails_when_it_runs() -> None:
    job = Engine().job("dummy", "--level=awesome")
    assert (job.name, job.args, len(job.env)) == ("dummy", ("--level=awesome",), 0)
    output = io.BytesIO()
    job.stderr.add(output)
    with pytest.raises(JobFailed, match=r"^dummy: command not found$") as caught:
        job.run()
    assert (caught.value.status, job.status, output.getvalue()) == (127, 127, b"dummy: command not found\n")


def test_E03_a_handler_gets_its_job_and_gives_the_status() -> None:
    engine, output = Engine(), io.BytesIO()

    def handler(job: Job) -> int:
        job.print(f"{job.name} {job.args} {job.env.get('k')} {job.stdin.read().decode()}\n")
        return 42

    engine.register("dummy", handler)
    job = engine.job("dummy", "a", "b")
    job.env.set("k", "v")
    job.stdin.add(io.BytesIO(b"in"))
    job.stdout.add(output)
    with pytest.raises(JobFailed, match=r"^dummy: status 42$") as caught:
        job.run()
    assert (job.status, caught.value.status) == (42, 42)
    assert output.getvalue() == b"dummy ('a', 'b') v in\n"


@pytest.mark.parametrize("status", [Status.OK, Status.ERR, Status.NOT_FOUND])
def test_E03_any_status_but_0_is_an_error(status: Status) -> None:
    engine = Engine()
    engine.register("dummy", lambda job: status)
    job = engine.job("dummy")
    if status == Status.OK:
        job.run()
    else:
        with pytest.raises(JobFailed):
            job.run()
    assert job.status == status


def test_E03_the_error_is_the_last_line_of_stderr() -> None:
    engine, output = Engine(), io.BytesIO()

    def handler(job: Job) -> int:
        return job.error("Warning, something might happen\nHere it comes!\nOh no...\nSomething happened\n")

    engine.register("dummy", handler)
    job = engine.job("dummy")
    job.stderr.add(output)
    with pytest.raises(JobFailed, match=r"^Something happened$"):
        job.run()
    assert output.getvalue().count(b"\n") == 4


def test_E03_an_error_of_ours_is_an_error_of_the_job() -> None:
    engine = Engine()

    def handler(job: Job) -> int:
        raise NotFound("No such id: x", hint="pull it")

    engine.register("dummy", handler)
    with pytest.raises(JobFailed, match=r"^No such id: x; pull it$") as caught:
        engine.job("dummy").run()
    assert isinstance(caught.value.__cause__, NotFound)
    assert caught.value.status == 1


def test_E03_a_defect_of_a_handler_is_raised_and_closes_the_streams() -> None:
    log = io.BytesIO()
    engine = Engine(log=log)

    def handler(job: Job) -> int:
        raise ZeroDivisionError

    engine.register("dummy", handler)
    job, owned = engine.job("dummy"), io.BytesIO()
    job.stdout.own(owned)
    with pytest.raises(ZeroDivisionError):
        job.run()
    assert owned.closed
    assert log.getvalue().endswith(b"-job dummy() = ERR (1)\n")


def test_E03_a_job_runs_once() -> None:
    engine = Engine()
    engine.register("dummy", ok)
    job = engine.job("dummy")
    job.run()
    with pytest.raises(JobFailed, match=r"^dummy: job has already completed$"):
        job.run()


def test_E03_a_job_that_runs_cannot_be_run_beside_itself() -> None:
    engine = Engine()
    entered, leave = threading.Event(), threading.Event()

    def handler(job: Job) -> int:
        entered.set()
        return 0 if leave.wait(60) else 1

    engine.register("dummy", handler)
    job = engine.job("dummy")
    thread = threading.Thread(target=job.run)
    thread.start()
    assert entered.wait(60)
    with pytest.raises(JobFailed):
        job.run()
    leave.set()
    thread.join()
    assert job.status == 0


def test_E03_an_answer_is_whole_when_the_run_ends() -> None:
    engine = Engine()

    def handler(job: Job) -> int:
        job.print('{"tag":"123"}')
        return 0

    engine.register("dummy", handler)
    job = engine.job("dummy")
    env = job.stdout.add_env()
    job.run()
    assert env.get("tag") == "123"


def test_E04_a_run_has_two_lines_in_the_log() -> None:
    log = io.BytesIO()
    engine = Engine(log=log)
    engine.register("good", ok)
    engine.register("bad", lambda job: job.error("no"))
    engine.job("good", "a", "b").run()
    with pytest.raises(JobFailed):
        engine.job("bad").run()
    assert log.getvalue().decode() == (
        f"[{engine}] +job good(a, b)\n[{engine}] -job good(a, b) = OK (0)\n"
        f"[{engine}] +job bad()\n[{engine}] -job bad() = ERR (1)\n"
    )


def test_E04_an_unknown_job_ends_without_a_status_and_can_run_again() -> None:
    log = io.BytesIO()
    engine = Engine(log=log)
    job = engine.job("nothing", "a")
    for _ in range(2):
        with pytest.raises(JobFailed, match="command not found"):
            job.run()
    assert log.getvalue().decode() == f"[{engine}] +job nothing(a)\n[{engine}] -job nothing(a)\n" * 2


def test_E04_an_argument_cannot_forge_a_line_of_the_log() -> None:
    log = io.BytesIO()
    engine = Engine(log=log)
    engine.register("good", ok)
    engine.job("good", "a\n[00000000] -job rm() = OK (0)", "\x1b[2J").run()
    assert log.getvalue().count(b"\n") == 2
    assert b"\x1b" not in log.getvalue()


def test_E05_what_a_job_says_goes_to_its_streams() -> None:
    engine, out, err = Engine(), io.BytesIO(), io.BytesIO()

    def handler(job: Job) -> int:
        job.print("no newline")
        job.log("note\n")
        assert job.error("one") == Status.ERR
        return job.error("two\n")

    engine.register("dummy", handler)
    job = engine.job("dummy", "x")
    job.stdout.add(out)
    job.stderr.add(err)
    with pytest.raises(JobFailed, match=r"^two$"):
        job.run()
    assert out.getvalue() == b"no newline"
    assert err.getvalue().decode() == f"[{engine}.dummy(x) = ERR (1)] note\none\ntwo\n"
    assert str(job) == f"{engine}.dummy(x) = ERR (1)"


def test_E13_a_job_can_be_written_on_one_line() -> None:
    engine = Engine()
    called = []

    def echo(job: Job) -> int:
        called.append(job.args)
        return 0

    engine.register("echo", echo)
    job = engine.parse_job("echo DEBUG=1 hello world \t VERBOSITY=42 X=a=b")
    assert (job.name, job.args) == ("echo", ("hello", "world"))
    assert job.env.map() == {"DEBUG": "1", "VERBOSITY": "42", "X": "a=b"}
    job.run()
    assert called == [("hello", "world")]


@pytest.mark.parametrize("text", ["", "  ", "KEY=value"])
def test_E13_a_line_without_a_name_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match=rf"^empty command: '{text}'$"):
        Engine().parse_job(text)
