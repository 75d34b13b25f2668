"""Copies out of the store and past it: from any location to any other, each the shortest way."""

from __future__ import annotations

import time
from collections.abc import Callable

from . import graph
from .errors import Usage
from .graph import Choice, Plan
from .images import local_name
from .job import Job
from .model.document import Document
from .model.platform import Platform
from .model.reference import Location, Reference
from .model.v1_names import is_reserved
from .parts import Parts
from .ports import Source
from .push import Pushed, plan, push, refuse_sparse
from .settings import Settings
from .sources import open_session, open_source, open_target
from .stored import Stored


class Copying:
    """`Store.push` and `Store.copy`. `fetch` is `Store.pull` of a reference for a platform, and returns the name:
    what cannot be streamed goes through the store. A `platform` is None for the default, "all", or one."""

    def __init__(self, parts: Parts, settings: Settings, fetch: Callable[[str, str | None, Job], str]) -> None:
        self._parts = parts
        self._settings = settings
        self._fetch = fetch

    def push(self, reference: str, destination: str, platform: str | None, job: Job) -> Pushed:
        """From the store. By default the whole image that the name points at, an index with all that is below it."""
        if destination:
            location = Location.parse(destination)
        else:
            tagged = self._parts.images.resolve(reference)
            if not tagged.name or is_reserved(tagged.name):
                raise Usage(f"{reference}: has no name, so where to is not known", hint=f"orlop push {reference} DEST")
            location = Location("docker", reference=Reference.parse(tagged.name))
        if location.transport == "store":
            raise Usage(f"{location}: is in this store, so there is nothing to push", hint="use `orlop tag`")
        return self._send(reference, location, platform or "all", job)

    def copy(self, source: str, destination: str, platform: str | None, job: Job) -> Pushed:
        """From anywhere to anywhere. By default for one platform, this machine's if there are several."""
        start, end = Location.parse(source), Location.parse(destination)
        self._refuse_two_hosts(start, end)
        if start.transport == "store" and end.transport == "store":
            return self._tag(source.removeprefix("store:"), end)
        if start.transport == "store":
            return self._send(source.removeprefix("store:"), end, platform, job)
        if end.transport == "store" and start.transport != "v1":
            return self._take(start, end, platform, job)
        if "v1" in (start.transport, end.transport):
            name = self._fetch(source, platform, job)
            return self._tag(name, end) if end.transport == "store" else self._send(name, end, platform, job)
        with open_source(start, self._settings, self._parts.disk, self._parts.session, job) as opened:
            root = graph.read(opened, start.asked)
            if not root.is_schema1:
                planned = plan(opened, root, self._choice(platform), explicit=platform is not None, job=job)
                return self._deliver(opened, planned, start.reference, end, job)
        # what is sent then is what the store makes of it: hardly a registry takes the original
        return self._send(self._fetch(source, platform, job), end, platform, job)

    def _send(self, reference: str, end: Location, platform: str | None, job: Job) -> Pushed:
        """An image of the store. Nothing of it is collected meanwhile."""
        parts = self._parts
        if end.transport == "v1" and end.reference is not None:
            return self._send_v1(reference, end.reference, platform, job)
        tagged = parts.images.resolve(reference)
        root = self._root(reference, platform)
        came_from = Location.parse(tagged.origin).reference if tagged.origin.startswith("docker://") else None
        with parts.session.lease() as lease:
            source = Stored(parts.blobs, parts.catalog, parts.images)
            planned = plan(source, root, None, explicit=False, job=job)
            lease.rely_on(planned.digests)
            return self._deliver(source, planned, came_from, end, job)

    def _send_v1(self, reference: str, end: Reference, platform: str | None, job: Job) -> Pushed:
        """One image with its ancestors, under the IDs that it brought along or that Docker would give them."""
        from .registry.v1.uploads import V1Uploads
        from .v1.push import push as push_images

        started = time.monotonic()
        if end.digest is not None:
            raise Usage(f"v1://{end}: expected a tag, a registry of version 1 knows no digests")
        parts = self._parts
        wanted = Platform.parse(platform) if platform not in (None, "all") and platform else None
        image = parts.images.image(reference, wanted)
        with parts.session.lease() as lease:
            lease.rely_on([image.manifest.digest, *(each.digest for each in image.manifest.successors)])
            identity = parts.graph.adopt(image, job=job)
            with open_session(end.host, self._settings) as session:
                tags = {end.tag: identity}
                pushed = push_images(V1Uploads(session), parts.graph, end.repository, tags, job=job)
        digest, seconds = image.manifest.digest, time.monotonic() - started
        return Pushed(f"v1://{end}", digest, (digest,), pushed.sent, pushed.kept, seconds)

    def _root(self, reference: str, platform: str | None) -> Document:
        """What to send of a name in the store. `NotFound` if that is an index that was not pulled whole."""
        images = self._parts.images
        document = images.document(reference)
        if platform == "all" and document.is_index:
            there = graph.stored_documents(document.digest, self._parts.blobs.read)
            refuse_sparse(there, document.digest, Stored.origin)
        if platform == "all" or (platform is None and not document.is_index):
            return document
        return images.image(reference, Platform.parse(platform) if platform else None).manifest

    def _deliver(self, source: Source, planned: Plan, near: Reference | None, end: Location, job: Job) -> Pushed:
        """`near`: where the blobs are as well, perhaps in the same registry."""
        reference = end.reference
        neighbour = near.repository if near and reference and near.host == reference.host else ""
        with open_target(end, self._settings, near=neighbour) as target:
            if reference and reference.digest not in (None, planned.root.digest):
                raise Usage(f"{end}: is the name of another image, this one has digest {planned.root.digest}")
            return push(source, planned, target, reference.tag if reference else end.name, str(end), job)

    def _take(self, start: Location, end: Location, platform: str | None, job: Job) -> Pushed:
        """Into the store, under another name than it would get by itself."""
        choice = self._choice(platform)
        name = _name(end)
        with open_source(start, self._settings, self._parts.disk, self._parts.session, job) as opened:
            pulled = self._parts.transfer.pull(
                opened,
                start.asked,
                name,
                choice,
                claimed=False,
                explicit=platform is not None,
                prepare=choice is not None,
                job=job,
            )
        return Pushed(pulled.name, pulled.digest, pulled.manifests, pulled.fetched, pulled.present, pulled.seconds)

    def _tag(self, reference: str, end: Location) -> Pushed:
        tagged = self._parts.images.tag(reference, _name(end))
        return Pushed(tagged.name, tagged.target.digest, (), 0, 0, 0.0)

    def _choice(self, platform: str | None) -> Choice:
        if platform == "all":
            return None
        return Platform.parse(platform) if platform else self._settings.platform

    def _refuse_two_hosts(self, *ends: Location) -> None:
        """--creds are for one registry; the other must not see them."""
        hosts = sorted({end.reference.host for end in ends if end.reference and end.transport != "store"})
        if self._settings.network.username and len(hosts) > 1:
            raise Usage(f"credentials: are for one registry, got {' and '.join(hosts)}", hint="log in to them instead")


def _name(end: Location) -> str:
    if end.reference is not None and end.reference.digest is not None:
        raise Usage(f"{end}: expected a name with a tag, got one with a digest")
    return local_name(end)
