"""Asking a lying registry with a client that has credentials for it."""

from __future__ import annotations

import threading
from typing import Any

from orlop.errors import Error
from orlop.http.client import Client
from orlop.job import Job
from orlop.settings import Network
from orlop.streams import read_limited
from tests.support.lying import CANARY, Answer, Lying

SCOPE = "repository:a/b:pull"
OK = Answer(200, b"fine")


def client_for(server: Lying, **more: Any) -> Client:
    """A client with credentials for the server, which speaks plain HTTP."""
    options = {"username": "user", "password": CANARY, "timeout": 5.0, "retries": 3, **more}
    return Client(Network(insecure=frozenset({server.host}), **options), named=server.host, base=0.01)


def get(client: Client, server: Lying, target: str = "/v2/x", *, job: Job | None = None, **headers: str) -> bytes:
    fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
    with client.request(
        server.host, "GET", target, headers=fields, scope=SCOPE, repository="a/b", job=job or Job()
    ) as answer:
        body = read_limited(answer, 1 << 20, what="test")
        return body if answer.status == 200 else b"%d" % answer.status


def in_threads(count: int, call: Any) -> list[Any]:
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(call())
        except Error as error:
            results.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results
