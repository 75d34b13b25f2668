"""Searching an index of version 1, and logging in to one. The texts are Docker's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ...errors import Conflict, Denied, Invalid, Unavailable
from ...http.client import Response
from ...http.credentials import Credential
from ...job import Job
from ...model.limits import V1_LIST_BYTES
from ...model.strict_json import load_object
from .session import V1Session
from .transport import told

_TAKEN = "Username or email already exists"


@dataclass(frozen=True, slots=True)
class Found:
    """A repository that a search found."""

    name: str
    description: str = ""
    stars: int = 0
    official: bool = False
    automated: bool = False


def search(session: V1Session, term: str, *, job: Job) -> tuple[Found, ...]:
    """What the index finds, in its order."""
    what = f"{session.host}: search"
    transport = session.transport

    def ask() -> Response:
        answer = transport.to_index("GET", f"/v1/search?q={quote(term, safe='')}", "", job=job)
        if answer.status == 200:
            return answer
        with answer:
            raise transport.refused(answer, what, f"Unexpected status code {answer.status}")

    raw, _ = transport.read(session.host, ask, V1_LIST_BYTES, what, job)
    results = load_object(raw, what=what).get("results")
    if not isinstance(results, list):
        raise Invalid(f"{what}: the answer has no list of results")
    return tuple(_found(each, what) for each in results)


def _found(value: Any, what: str) -> Found:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise Invalid(f"{what}: a result has no name")
    stars = value.get("star_count")
    return Found(
        value["name"],
        value["description"] if isinstance(value.get("description"), str) else "",
        stars if isinstance(stars, int) else 0,
        value.get("is_official") is True,
        value.get("is_automated") is True or value.get("is_trusted") is True,
    )


def login(session: V1Session, username: str, password: str, email: str = "", *, job: Job) -> str:
    """Make an account, or check the password of one that is there; returns what to tell the user. Nothing is kept.

    `Denied` for a wrong password or an account that is not active. The password goes to this host only, as anything
    does, and over plain HTTP only if it was listed as insecure.
    """
    transport, credential = session.transport, Credential(username, password)
    for secret in credential.secrets:
        transport.client.remember(session.host, secret)
    body = json.dumps({"username": username, "password": password, "email": email}).encode()
    fields = [("Content-Type", "application/json")]
    with transport.client.discreet(session.host):
        with transport.client.request(
            session.host, "POST", "/v1/users/", headers=fields, body=body, secret=True, authorization="", job=job
        ) as answer:
            status, text = answer.status, told(answer)
        if status == 201:
            return "Account created. Please use the confirmation link we sent to your e-mail to activate it."
        # registries behind a password of their own say 401
        if status != 401 and not (status == 400 and text == _TAKEN):
            if status == 400:
                raise Invalid(f"{session.host}: Registration: {text}")
            raise _unexpected(session.host, status, text)
        return _checked(session, credential, job)


def _checked(session: V1Session, credential: Credential, job: Job) -> str:
    with session.transport.client.request(
        session.host, "GET", "/v1/users/", authorization=credential.basic, job=job
    ) as answer:
        status, text = answer.status, told(answer)
    if status == 200:
        return "Login Succeeded"
    if status == 401:
        raise Denied(f"{session.host}: Wrong login/password, please try again")
    if status == 403:
        raise Denied(f"{session.host}: Login: Account is not Active. Please check your e-mail for a confirmation link.")
    raise _unexpected(session.host, status, text)


def _unexpected(host: str, status: int, text: str) -> Unavailable | Conflict | Invalid:
    message = f"{host}: Unexpected status code [{status}] : {text}"
    if status >= 500:
        return Unavailable(message)
    return Conflict(message) if status == 409 else Invalid(message)
