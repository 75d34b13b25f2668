"""What an index of version 1 has besides repositories: search, and users, of which there are none."""

from __future__ import annotations

from itertools import islice
from urllib.parse import parse_qs

from ..answer import Answer, Incoming, Request, json_answer
from .replies import Refusal, Small, check_length, read_json
from .shelf import Shelf

RESULTS = 100  # of one search, at most (RX04)
_QUERY_BYTES = 4096
_TERM = 255
_BODY_BYTES = 64 << 10


def search(shelf: Shelf, request: Request) -> Answer:
    """Repositories with `q` in their names, sorted."""
    if len(request.query) > _QUERY_BYTES:
        raise Refusal(400, "query is too long")
    term = parse_qs(request.query, keep_blank_values=True, max_num_fields=16).get("q", [""])[-1][:_TERM]
    names = islice(shelf.names(term.lower()), RESULTS)
    results = [
        {
            "name": name,
            "description": "",
            "star_count": 0,
            "is_official": name.startswith("library/"),
            "is_trusted": False,
            "is_automated": False,
        }
        for name in names
    ]
    return json_answer(200, {"query": term, "num_results": len(results), "results": results})


def users(request: Request, name: str) -> Answer | Incoming:
    """The steps of a login, for clients that insist on one: nothing is looked at, nothing is kept."""
    if request.method in ("GET", "HEAD"):
        return json_answer(200, "OK")
    check_length(request, _BODY_BYTES)
    return Small("PUT user", lambda _: Answer(204), _BODY_BYTES) if name else Small("POST users", _created, _BODY_BYTES)


def _created(body: bytes) -> Answer:
    read_json(body, "Error Decoding JSON")
    return json_answer(201, "User Created")
