"""Running the command line in this process, with its output and exit code."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orlop.cli.app import App
from orlop.cli.main import run


@dataclass(frozen=True)
class Result:
    status: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        return self.raw.decode()

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    def json(self) -> Any:
        """stdout as one JSON document."""
        return json.loads(self.raw)


@dataclass(frozen=True)
class Orlop:
    """`orlop` with a store and an environment of its own. Call it with arguments."""

    store: Path
    environment: dict[str, str] = field(default_factory=dict)
    opener: Callable[..., Any] | None = None

    def __call__(self, *arguments: str, stdin: str = "") -> Result:
        raw = io.BytesIO()
        out = io.TextIOWrapper(raw, encoding="utf-8", write_through=True)
        err = io.StringIO()
        environment = {"HOME": str(self.store.parent), "ORLOP_STORE": str(self.store), **self.environment}
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _stdin(stdin):
            status = run(arguments, App(opener=self.opener, environment=environment))
        out.flush()
        return Result(status, raw.getvalue(), err.getvalue())


@contextlib.contextmanager
def _stdin(text: str) -> Iterator[None]:
    before, sys.stdin = sys.stdin, io.StringIO(text)
    try:
        yield
    finally:
        sys.stdin = before
