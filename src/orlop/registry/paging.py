"""Lists that come in pages (distribution-spec 1.1, "Listing Tags"; registry API V2, "Catalog"), bounded (RX04)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..errors import Invalid, Unsafe
from ..http.client import Client, Response
from ..http.url import Url
from ..job import Job
from ..model.limits import TAG_PAGE_BYTES, TAG_PAGES
from ..model.strict_json import load_object
from ..streams import read_limited
from .answers import expect

# what registries commonly allow at most; they may give less
_PAGE = 1000
_LINK = re.compile(r'[ \t,]*<([^<>]*)>((?:[ \t]*;[ \t]*[^\s=;,"]+[ \t]*(?:=[ \t]*(?:"(?:[^"\\]|\\.)*"|[^\s;,"]*))?)*)')
_RELATION = re.compile(r';[ \t]*rel[ \t]*=[ \t]*(?:"([^"]*)"|([^\s;,"]*))', re.IGNORECASE)
# shown to people and put into commands, so neither spaces nor control characters
_NAME = re.compile(r"[\x21-\x7e]{1,512}", re.ASCII)


def repositories(client: Client, host: str, *, job: Job) -> Iterator[str]:
    """Names of the repositories on a registry, as far as it tells (many do not: `Denied`, `NotFound`)."""
    return pages(client, host, f"/v2/_catalog?n={_PAGE}", "repositories", "registry:catalog:*", "", job=job)


def tags(client: Client, host: str, repository: str, *, job: Job) -> Iterator[str]:
    """Tags of a repository, in the registry's order."""
    path, scope = f"/v2/{repository}/tags/list?n={_PAGE}", f"repository:{repository}:pull"
    return pages(client, host, path, "tags", scope, repository, job=job)


def pages(client: Client, host: str, path: str, key: str, scope: str, repository: str, *, job: Job) -> Iterator[str]:
    """The strings under `key` of all pages from `path` on, following `Link` on the same origin only (CR04)."""
    what = f"{host}/{repository}: tags" if repository else f"{host}: repositories"
    url: Url | None = client.url(host).join(path)
    seen: set[str] = set()
    while url is not None:
        with client.discreet(host):
            if url.text in seen or len(seen) >= TAG_PAGES:
                raise Invalid(
                    f"{what}: the list never ends: page {len(seen) + 1} " + ("again" if url.text in seen else "comes")
                )
            seen.add(url.text)
            headers = [("Accept", "application/json")]
            answered = client.request(host, "GET", url, headers=headers, scope=scope, repository=repository, job=job)
            with answered as answer:
                expect(answer, (200,), what, client, host, repository)
                names = _names(answer, key, what)
                link = next_page(answer.headers.all("link"))
            url = _followed(url, link, what) if link else None
        yield from names


def _names(answer: Response, key: str, what: str) -> list[str]:
    names = load_object(read_limited(answer, TAG_PAGE_BYTES, what=what), what=what).get(key)
    if names is None:  # Docker's registry says null for a repository without tags
        return []
    if not isinstance(names, list) or not all(isinstance(name, str) and _NAME.fullmatch(name) for name in names):
        raise Invalid(f"{what}: {key} is not a list of names")
    return names


def next_page(values: list[str]) -> str:
    """The target of the `Link` with relation "next" (RFC 8288), "" if there is none. `Invalid` if malformed."""
    for value in values:
        position = 0
        while position < len(value.rstrip(" \t,")):
            match = _LINK.match(value, position)
            if match is None:
                raise Invalid("list: a Link header is malformed")
            position = match.end()
            relation = _RELATION.search(match[2])
            if relation and "next" in (relation[1] or relation[2] or "").lower().split():
                return match[1]
    return ""


def _followed(url: Url, link: str, what: str) -> Url:
    following = url.join(link)
    if following.origin != url.origin:
        raise Unsafe(f"{what}: the next page is said to be at {following}, another origin")
    return following
