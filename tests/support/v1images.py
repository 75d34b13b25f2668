"""Version 1 images of given IDs."""

from __future__ import annotations

import io
import json
from typing import Any

from orlop.job import Job
from orlop.model.v1 import ImageId, V1Image
from orlop.store import Store
from orlop.v1.graph import Node
from tests.support.images import make_layer

JOB = Job()
A, B, C, D = (ImageId(letter * 64) for letter in "abcd")


def v1(id: str, parent: str = "", **fields: Any) -> V1Image:
    """An image of this ID; its JSON has blanks where no program writes them."""
    named = {"id": id, **({"parent": parent} if parent else {}), "created": "2014-05-20T12:00:00.123456789Z"}
    return V1Image.read(json.dumps({**named, **fields}, indent=3).encode() + b" \n")


def add(store: Store, id: str, parent: str = "", files: Any = None, **fields: Any) -> Node:
    """Register an image with a layer of these files; {} is an empty tar, None no layer."""
    layer = None if files is None else io.BytesIO(make_layer(files))
    return store.graph.register(v1(id, parent, **fields), layer, job=JOB)
