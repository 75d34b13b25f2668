"""The job `push`: a repository of the tag store, or one tag of it, to a registry of version 1, in Docker's words."""

from __future__ import annotations

from ..engine.format import Progress, StreamFormatter
from ..engine.streams import Output
from ..errors import Error, NotFound
from ..job import Job as Work
from ..model.v1 import ImageId
from ..registry.v1.names import remote_name
from ..registry.v1.uploads import V1Uploads
from ..store import Store
from ..v1.pools import Pools
from ..v1.push import PushWatch, push_image
from ..v1.push import push as push_images
from .registries import Asking, reference_of

_STEP = 512 << 10


def push(
    store: Store, pools: Pools, name: str, tag: str, asking: Asking, form: StreamFormatter, out: Output, *, work: Work
) -> None:
    """All tags, or one; with an ID where a repository would stand, that image alone. A second push is refused."""
    pools.add("push", name)
    failed: Error | None = None
    try:
        _push(store, name, tag, asking, form, out, work)
    except Error as error:
        failed = error
        raise
    finally:
        pools.remove("push", name, failed)


def _push(store: Store, name: str, tag: str, asking: Asking, form: StreamFormatter, out: Output, work: Work) -> None:
    place, known = reference_of(name, tag or "latest"), store.tags.get(name)
    # a repository comes before an ID that looks like it
    alone = None if known else store.graph.get(name.rpartition("/")[2])
    if alone is not None:
        out.write(form.status("", f"The push refers to an image: [{name}]"))
        wanted = {}
    else:
        count = 1 if tag else len(known)
        out.write(form.status("", f"The push refers to a repository [{name}] (len: {count})"))
        wanted = {each: id for each, id in known.items() if tag in ("", each)}
        if not wanted:
            raise NotFound("No images found for the requested repository / tag")
    for node in [alone] if alone else [store.graph.get(id) for id in wanted.values()]:
        store.graph.own(node, work)
    with asking.session(place.host, store.settings) as session:
        uploads = V1Uploads(session)
        words = _Words(form, out, name, session.transport.client.url(session.host).scheme)
        if alone is not None:
            push_image(uploads, store.graph, alone.image.id, session.host, (), watch=words, job=work)
        else:
            push_images(uploads, store.graph, place.repository, wanted, watch=words, job=work)


class _Words(PushWatch):
    """What is said while a repository is pushed."""

    def __init__(self, form: StreamFormatter, out: Output, name: str, scheme: str) -> None:
        self._form = form
        self._out = out
        self._name = name
        self._scheme = scheme
        self._told = 0

    def listing(self, repository: str, images: int) -> None:  # noqa: ARG002 -- Docker's words have neither
        self._say("Sending image list")

    def endpoint(self, endpoint: str, repository: str, tags: int) -> None:  # noqa: ARG002 -- as it is called here
        self._say(f"Pushing repository {self._name} ({tags} tags)")

    def existing(self, identity: ImageId) -> None:
        self._say(f"Image {identity.short} already pushed, skipping")

    def pushing(self, identity: ImageId, size: int) -> None:  # noqa: ARG002 -- shown as it goes
        self._told = 0
        self._line(identity, "Pushing")

    def sent(self, identity: ImageId, done: int, size: int) -> None:
        if done - self._told >= _STEP or (done == size and done != self._told):
            self._told = done
            self._line(identity, "Pushing", Progress(done, size))

    def pushed(self, identity: ImageId) -> None:
        self._line(identity, "Image successfully pushed")

    def tagging(self, identity: ImageId, endpoint: str, repository: str, tag: str) -> None:
        place = f"{self._scheme}://{endpoint}/v1/repositories/{remote_name(repository)}/tags/{tag}"
        self._say(f"Pushing tag for rev [{identity.short}] on {{{place}}}")

    def _say(self, text: str) -> None:
        self._out.write(self._form.status("", text))

    def _line(self, identity: ImageId, text: str, progress: Progress | None = None) -> None:
        self._out.write(self._form.progress(identity.short, text, progress))
