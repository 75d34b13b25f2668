"""What the jobs tell of images: rows and fields by the names that Docker's remote API gave them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..errors import Invalid
from ..model.go_glob import matches
from ..model.strict_json import load_object
from ..model.v1 import ImageId
from .graph import Graph, Node
from .tags import TagStore

NONE = "<none>:<none>"
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", re.ASCII)
_ZERO = -62_135_596_800  # the year 1, which Go's JSON has for no time at all


def seconds(created: str) -> int:
    """Unix seconds of an RFC 3339 time with any number of digits; that of the year 1 for none or a malformed one."""
    found = _TIME.fullmatch(created)
    if found is None:
        return _ZERO
    try:
        moment = datetime.fromisoformat(found[1] + found[3].replace("Z", "+00:00"))
    except ValueError:
        return _ZERO
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())


def summary(node: Node) -> dict[str, Any]:
    """What `image_get` prints."""
    image = node.image
    return {
        "Created": image.created,
        "Author": image.author,
        "Os": image.os,
        "Architecture": image.architecture,
        "DockerVersion": image.docker_version,
        "Id": str(image.id),
        "Parent": str(image.parent or ""),
    }


def inspection(graph: Graph, node: Node) -> dict[str, Any]:
    """What `image_inspect` prints without `raw`. Sizes in bytes."""
    image = node.image
    container = image.fields.get("container")
    return {
        **summary(node),
        "Comment": image.comment,
        "Container": container if isinstance(container, str) else "",
        "ContainerConfig": dict(image.container_config) or None,
        "Config": dict(image.config) or None,
        "Size": graph.size(node),
        "VirtualSize": graph.virtual_size(image.id),
    }


def history(graph: Graph, tags: TagStore, node: Node) -> list[dict[str, Any]]:
    """An image and its ancestors, newest first."""
    names = tags.by_id()
    return [
        {
            "Id": str(each.image.id),
            "Created": seconds(each.image.created),
            "CreatedBy": _command(each.image.container_config),
            "Tags": names.get(each.image.id),
            "Size": graph.size(each),
        }
        for each in reversed(graph.chain(node.image.id))
    ]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which images to list. `name`: a pattern for the repository's name, `dangling`: only those without a name."""

    name: str = ""
    dangling: bool = False
    every: bool = False

    @classmethod
    def read(cls, name: str, filters: str, *, every: bool) -> Wanted:
        """`filters` is JSON: `{"dangling": ["true"]}`. `Invalid` for any other filter."""
        fields = load_object(filters.encode(), what="filters") if filters else {}
        for key in fields:
            if key != "dangling":
                raise Invalid(f"Invalid filter '{key[:80]}'")
        value = fields.get("dangling")
        values = [value] if isinstance(value, str) else value or []
        if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
            raise Invalid("filters: dangling is not a list of strings")
        return cls(name, any(item.lower() == "true" for item in values), every)


def listing(graph: Graph, tags: TagStore, wanted: Wanted) -> list[dict[str, Any]]:
    """The images that are somebody's: those with a name, and those that are nobody's parent; with `every`, all.
    Newest first. One without a name is `<none>:<none>`."""
    nodes = graph.nodes()
    names = tags.by_id()
    shown = nodes if wanted.every else graph.heads() | {id: nodes[id] for id in names if id in nodes}
    rows = []
    for id, node in shown.items():
        own = names.get(id, [])
        if wanted.dangling and (own or id not in graph.heads()):
            continue
        if not wanted.dangling and wanted.name:
            own = [name for name in own if matches(wanted.name, name.rpartition(":")[0])]
            if not own:
                continue
        rows.append(_row(graph, node, own))
    return sorted(rows, key=lambda row: (-row["Created"], row["Id"]))


def _row(graph: Graph, node: Node, names: Sequence[str]) -> dict[str, Any]:
    return {
        "Id": str(node.image.id),
        "ParentId": str(node.image.parent or ""),
        "RepoTags": sorted(names) or [NONE],
        "Created": seconds(node.image.created),
        "Size": graph.size(node),
        "VirtualSize": graph.virtual_size(node.image.id),
    }


def drawing(nodes: Mapping[ImageId, Node], names: Mapping[ImageId, Iterable[str]]) -> str:
    """All images as a graphviz digraph, parents to children."""
    lines = ["digraph docker {"]
    for id, node in sorted(nodes.items()):
        parent = node.image.parent
        known = parent is not None and parent in nodes
        lines.append(
            f' "{parent.short}" -> "{id.short}"' if known and parent else f' base -> "{id.short}" [style=invis]'
        )
    for id, own in sorted(names.items()):
        if id in nodes:
            label = "\\n".join([id.short, *sorted(own)])
            lines.append(f' "{id.short}" [label="{label}",shape=box,fillcolor="paleturquoise",style="filled,rounded"];')
    lines += [" base [style=invisible]", "}"]
    return "\n".join(lines) + "\n"


def _command(container_config: Mapping[str, Any]) -> str:
    value = container_config.get("Cmd")
    return " ".join(item for item in value if isinstance(item, str)) if isinstance(value, list) else ""
