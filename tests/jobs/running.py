"""Running jobs on a store, in this process."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any

from orlop.engine.job import JobFailed
from orlop.jobs.handlers import make_engine
from orlop.store import Store


@dataclass(frozen=True)
class Ran:
    """`error` is the last line of stderr, as the caller of a job is told it."""

    status: int
    out: bytes
    err: str
    error: str = ""

    @property
    def rows(self) -> Any:
        """stdout as JSON."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.decode().splitlines()


def run(store: Store, name: str, *arguments: str, stdin: bytes = b"", **environment: Any) -> Ran:
    """A job with its streams, to its end."""
    out, err, error, status = io.BytesIO(), io.BytesIO(), "", 0
    job = make_engine(store).job(name, *arguments)
    for key, value in environment.items():
        job.env.set(key, value)
    job.stdin.add(io.BytesIO(stdin))
    job.stdout.add(out)
    job.stderr.add(err)
    try:
        job.run()
    except JobFailed as failed:
        error, status = failed.message, failed.status
    return Ran(status, out.getvalue(), err.getvalue().decode(), error)
