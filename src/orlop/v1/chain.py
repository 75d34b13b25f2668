"""The version 1 view of the store's images: the chain of images that one was made of, or one that is computed."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from ..catalog.sqlite import SqliteCatalog
from ..errors import Error, Invalid
from ..images import Image, Images
from ..model import v1_ids, v1_names, v1_record
from ..model.document import Document
from ..model.image import ImageConfig
from ..model.v1 import ImageId
from ..model.v1_record import Step
from ..ports import Tagged

# chains that are kept: each has the JSON of all its images
_KEPT = 256
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chain:
    """An image and its ancestors, base first. `is_computed`: nobody said these IDs, its layers make them."""

    steps: tuple[Step, ...]
    is_computed: bool

    @property
    def id(self) -> ImageId:
        return self.steps[-1].image.id


def chain_of(manifest: Document, config: ImageConfig) -> Chain:
    """What an image brought along, else what a registry would tell a client of schema 1. `Invalid` if it has neither
    layers nor a history."""
    try:
        return Chain(tuple(v1_record.read(manifest, config)), is_computed=False)
    except Invalid as error:
        _log.debug("IDs are computed: %s", error)
    links = v1_ids.chain(config.raw, [layer.digest for layer in manifest.layers])
    layers = iter(zip(manifest.layers, config.diff_ids, strict=True))
    steps = (Step(link.image) if link.layer is None else Step(link.image, *next(layers)) for link in links)
    return Chain(tuple(steps), is_computed=True)


class Chains:
    """The chains of a store's images. Safe for many threads."""

    def __init__(self, catalog: SqliteCatalog, images: Images) -> None:
        self._catalog = catalog
        self._images = images
        self._known: OrderedDict[str, Chain] = OrderedDict()  # manifests never change

    def of(self, manifest: Document) -> Chain:
        """`NotFound` if its config is not there, `Invalid` if it is no image."""
        known = self._known.get(manifest.digest)
        if known is None:
            known = chain_of(manifest, self._images.config(manifest))
            self._known[manifest.digest] = known
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return known

    def named(self, tagged: Tagged) -> tuple[Document, Chain] | None:
        """The manifest and chain of what a name points at (of an index: the image for this machine); None for what
        is no image, or not whole."""
        try:
            image: Image = self._images.image(tagged.name)
            return image.manifest, self.of(image.manifest)
        except Error as error:
            _log.debug("%s: has no version 1 view: %s", tagged.name, error)
            return None

    def users(self) -> Iterator[tuple[Tagged, Document, Chain]]:
        """Everything that has a name of a user, as `named`."""
        for tagged in self._catalog.names():
            if not v1_names.is_reserved(tagged.name) and (found := self.named(tagged)) is not None:
                yield tagged, *found
