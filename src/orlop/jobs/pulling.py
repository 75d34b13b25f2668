"""The job `pull`: a repository of a registry of version 1, or one tag of it, into the graph, in Docker's words."""

from __future__ import annotations

from ..engine.format import Progress, StreamFormatter
from ..engine.streams import Output
from ..errors import Error, NoSpace, NotFound
from ..job import Job as Work
from ..model.v1 import ImageId
from ..store import Store
from ..v1.fetch import Found, RepositoryFetcher, Watch
from ..v1.pools import InProgress, Pools
from .registries import Asking, reference_of

# bytes between two lines about one layer
_STEP = 512 << 10


def pull(
    store: Store, pools: Pools, name: str, tag: str, asking: Asking, form: StreamFormatter, out: Output, *, work: Work
) -> None:
    """With "" for the tag, all tags. Who wants what another one is pulling waits, and ends as that does."""
    key = f"{name}:{tag}"
    try:
        pools.add("pull", key)
    except InProgress as taken:
        if taken.work.kind != "pull":
            raise
        text = f"Repository {name} already being pulled by another client. Waiting."
        out.write(form.status("", text))
        taken.work.wait(work)
        return
    failed: Error | None = None
    try:
        _Pull(store, name, tag, form, out, work).run(asking)
    except Error as error:
        failed = error
        raise
    finally:
        pools.remove("pull", key, failed)


class _Pull:
    def __init__(self, store: Store, name: str, tag: str, form: StreamFormatter, out: Output, work: Work) -> None:
        self._store = store
        self._name = name
        self._tag = tag
        self._form = form
        self._out = out
        self._work = work

    def run(self, asking: Asking) -> None:
        store, tag = self._store, self._tag
        store.tags.checked(self._name, tag)
        place = reference_of(self._name, tag or "latest")
        self._say(f"Pulling repository {self._name}")
        with asking.session(place.host, store.settings) as session:
            fetcher = RepositoryFetcher(session, store.graph)
            found = self._found(fetcher, place.repository)
            if tag and tag not in found.tags:
                raise NotFound(f"Tag {tag} not found in repository {self._name}")
            wanted = {tag: found.tags[tag]} if tag else dict(sorted(found.tags.items()))
            first: dict[ImageId, str] = {}
            for each, id in wanted.items():
                first.setdefault(id, each)
            news = [self._image(fetcher, found, id, each) for id, each in first.items()]
        for each, id in wanted.items():
            store.tags.set(self._name, each, id, force=True)
        asked = f"{self._name}:{tag}" if tag else self._name
        self._say(f"Status: {'Downloaded newer image' if any(news) else 'Image is up to date'} for {asked}")

    def _found(self, fetcher: RepositoryFetcher, repository: str) -> Found:
        try:
            return fetcher.find(repository, job=self._work)
        except NotFound as error:
            raise NotFound(f"Error: image {self._name} not found") from error

    def _image(self, fetcher: RepositoryFetcher, found: Found, id: ImageId, tag: str) -> bool:
        """Whether anything of it was new."""
        watch = _Words(self._form, self._out, id, f"({tag}) from {self._name}")
        watch.line(id, f"Pulling image ({tag}) from {self._name}")
        try:
            fetcher.fetch_image(found, id, watch=watch, job=self._work)
        except NoSpace:
            raise
        except Error as error:
            if watch.last is None:
                raise
            text = f"Error pulling image ({tag}) from {self._name}, {watch.last}"
            watch.line(id, text)
            error.message, error.args = text, (text,)
            raise
        watch.line(id, "Download complete")
        return watch.news

    def _say(self, text: str) -> None:
        self._out.write(self._form.status("", text))


class _Words(Watch):
    """What is said while one image is fetched."""

    def __init__(self, form: StreamFormatter, out: Output, wanted: ImageId, what: str) -> None:
        self._form = form
        self._out = out
        self._wanted = wanted
        self._what = what
        self._begun = False
        self._told = 0
        self.news = False
        self.last: str | None = None  # what the last endpoint said

    def line(self, id: ImageId, text: str, progress: Progress | None = None) -> None:
        self._out.write(self._form.progress(id.short, text, progress))

    def trying(self, identity: ImageId, endpoint: str) -> None:
        self._begun = False
        self.line(identity, f"Pulling image {self._what}, endpoint: {endpoint}")

    def existing(self, identity: ImageId) -> None:
        self._begin()
        self.line(identity, "Download complete")

    def metadata(self, identity: ImageId) -> None:
        self._begin()
        self.line(identity, "Pulling metadata")

    def downloading(self, identity: ImageId, size: int) -> None:  # noqa: ARG002 -- shown as it comes
        self._told = 0
        self.line(identity, "Pulling fs layer")

    def received(self, identity: ImageId, done: int, size: int) -> None:
        if done - self._told >= _STEP or done == size:
            self._told = done
            self.line(identity, "Downloading", Progress(done, max(size, 0)))

    def downloaded(self, identity: ImageId) -> None:
        self.news = True
        self.line(identity, "Download complete")

    def failed(self, identity: ImageId, endpoint: str, error: Error) -> None:
        self.last = error.message
        self.line(identity, f"Error pulling image {self._what}, endpoint: {endpoint}, {error.message}")

    def _begin(self) -> None:
        """The ancestry is known."""
        if not self._begun:
            self._begun = True
            self.line(self._wanted, "Pulling dependent layers")
