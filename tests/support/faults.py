"""Commands of `orlop` in children whose Nth call of the system goes wrong, or is their last.

A server process loads everything once and forks a child for each request, which takes some 20 ms:

    with Faults() as faults:
        ended = faults.run(["--store", ..., "pull", ...], store, fault="EIO", at=17)

What is counted are calls that change or open files below the store, by their names in `os`. SQLite's are not among
them.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any

CALLS = ("open", "close", "pwrite", "fsync", "link", "rename", "unlink", "rmdir", "mkdir", "fchmod", "pread", "listdir")
# what may fail in which way; no fault is none, to count the calls
FAULTS: dict[str, tuple[str, ...]] = {
    "": CALLS,
    "kill": CALLS,
    "EIO": CALLS,
    "ENOSPC": ("open", "pwrite", "fsync", "link", "rename", "mkdir"),
    "EMFILE": ("open",),
    "short": ("pwrite",),
}


@dataclass(frozen=True)
class Ended:
    """`status` is negative for a signal. `calls`: the names of those counted, in order; none of a killed child."""

    status: int
    err: str = ""
    calls: tuple[str, ...] = ()


class Faults:
    """The server. `run` from one thread at a time."""

    def __enter__(self) -> Faults:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.faults"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def run(
        self,
        arguments: Sequence[str],
        store: str,
        *,
        fault: str = "",
        at: int = 0,
        after: float = 0,
        stdin: str = os.devnull,
    ) -> Ended:
        """`at` counts from 1 the calls that `fault` is for. ENOSPC lasts from then on; the others happen once.
        `after` that many seconds the child is killed, if it is not 0. `stdin`: the file that it reads."""
        request = {
            "arguments": list(arguments),
            "store": store,
            "fault": fault,
            "at": at,
            "after": after,
            "stdin": stdin,
        }
        requests, answers = self._process.stdin, self._process.stdout
        assert requests is not None
        assert answers is not None
        requests.write(json.dumps(request) + "\n")
        requests.flush()
        answer = json.loads(answers.readline())
        return Ended(answer["status"], answer["err"], tuple(answer["calls"]))


class _Injector:
    """Stands in for functions of `os` in a child that will end soon."""

    def __init__(self, store: str, fault: str, at: int) -> None:
        self._store = store
        self._fault = fault
        self._at = at
        self._ours: set[int] = set()
        self.calls: list[str] = []
        for name in CALLS:
            setattr(os, name, self._wrap(name, getattr(os, name)))

    def _wrap(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if not self._counts(arguments, options):
                return real(*arguments, **options)
            if name in FAULTS[self._fault] and not self._needs_nothing(name, arguments):
                self.calls.append(name)
                number = len(self.calls)
                if number == self._at or (self._fault == "ENOSPC" and 0 < self._at < number):
                    return self._go_wrong(name, real, arguments)
            result = real(*arguments, **options)
            if name == "open":
                self._ours.add(result)
            elif name == "close":
                self._ours.discard(arguments[0])
            return result

        return call

    def _needs_nothing(self, name: str, arguments: Sequence[Any]) -> bool:
        """A full disk lets everybody open what is there."""
        return self._fault == "ENOSPC" and name == "open" and not arguments[1] & os.O_CREAT

    def _counts(self, arguments: Sequence[Any], options: dict[str, Any]) -> bool:
        first = arguments[0] if arguments else ""
        if isinstance(first, int):
            return first in self._ours
        return os.fspath(first).startswith(self._store) if isinstance(first, str) else "dir_fd" in options

    def _go_wrong(self, name: str, real: Callable[..., Any], arguments: Sequence[Any]) -> Any:
        if self._fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self._fault == "short":
            descriptor, data, offset = arguments
            return real(descriptor, data[: (len(data) + 1) // 2], offset)
        if name == "close":  # the descriptor is gone all the same: close(2)
            real(*arguments)
        number = getattr(errno, self._fault)
        raise OSError(number, os.strerror(number))


def _child(request: dict[str, Any], report: IO[str]) -> None:
    from orlop.cli.app import App
    from orlop.cli.main import run

    os.dup2(os.open(request["stdin"], os.O_RDONLY), 0)
    injector = _Injector(request["store"], request["fault"], request["at"])
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        status = run(request["arguments"], App(environment={"HOME": os.path.dirname(request["store"])}))
    json.dump({"status": status, "err": err.getvalue(), "calls": injector.calls}, report)
    report.flush()


def _serve() -> None:
    """Requests on stdin, answers on stdout, a line each."""
    for line in sys.stdin:
        request = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                with os.fdopen(writing, "w") as report:
                    _child(request, report)
            finally:
                os._exit(0)
        os.close(writing)
        if request["after"]:
            import select

            ready, _, _ = select.select([reading], [], [], request["after"])
            if not ready:
                os.kill(child, signal.SIGKILL)
        with os.fdopen(reading) as report:
            text = report.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        answer = json.loads(text) if text else {"status": status, "err": "", "calls": []}
        print(json.dumps(answer), flush=True)


def _load() -> None:
    """Import what the commands do, in the one process that all children are forked from. They read nothing."""
    requests = os.dup(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        _run_commands()
    finally:
        os.dup2(requests, 0)


def _run_commands() -> None:
    import tempfile
    from pathlib import Path

    from orlop.cli.app import App
    from orlop.cli.main import run
    from tests.support.images import small_image, write_layout

    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
        write_layout(Path(name) / "layout", {"one": small_image()})
        (Path(name) / "json").write_text(f'{{"id":"{"0" * 64}"}}')
        for arguments in (
            ["pull", "-q", f"oci:{name}/layout:one"],
            ["tag", "localhost/layout:one", "other:1"],
            ["untag", "other:1"],
            ["fsck", "-q", "--repair"],
            ["unpack", "-q", "localhost/layout:one", f"{name}/tree"],
            ["rm", "-q", "localhost/layout:one"],
            ["gc", "-q"],
            ["image", "set", "0" * 64, "--json", f"{name}/json"],
            ["rm", "-q", "0" * 64],
        ):
            status = run(["--store", f"{name}/store", *arguments], App(environment={"HOME": name}))
            if status:
                raise SystemExit(f"{arguments}: {status}")


if __name__ == "__main__":
    _load()
    _serve()
