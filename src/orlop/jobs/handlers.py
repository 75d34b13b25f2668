"""The handlers: arguments, environment and streams of a job on the one side, functions on the other.

The words are Docker's. A handler returns a status; what the functions raise becomes the last line of stderr.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..engine.engine import Engine
from ..engine.env import Env
from ..engine.format import StreamFormatter
from ..engine.job import Job, Status
from ..engine.streams import Sink
from ..engine.table import Table
from ..job import Job as Work
from ..store import Store
from ..v1 import archive, describe
from ..v1.pools import Pools
from . import images
from .archives import import_image, load
from .pulling import pull
from .pushing import push
from .registries import Asking, authenticate, describe_found, search


def make_engine(store: Store, *, work: Work | None = None, log: Sink | None = None) -> Engine:
    """An engine with all jobs, on a store. `log` gets the lines `+job` and `-job`."""
    engine = Engine(log=log)
    handlers = _Handlers(store, work or Work(workers=store.settings.workers))
    for name, handler in handlers.table.items():
        engine.register(name, handler)
    return engine


class _Handlers:
    def __init__(self, store: Store, work: Work) -> None:
        self._store = store
        self._work = work
        self._pools = Pools()
        self.table: Mapping[str, Callable[[Job], int]] = {
            "image_set": self.image_set,
            "image_tag": self.image_tag,
            "tag": self.tag,
            "image_get": self.image_get,
            "image_inspect": self.image_inspect,
            "image_tarlayer": self.image_tarlayer,
            "image_export": self.image_export,
            "image_delete": self.image_delete,
            "load": self.load,
            "import": self.import_,
            "history": self.history,
            "images": self.images,
            "viz": self.viz,
            "pull": self.pull,
            "push": self.push,
            "search": self.search,
            "auth": self.auth,
        }

    def image_set(self, job: Job) -> int:
        if len(job.args) != 1:
            return job.error(f"usage: {job.name} NAME")
        raw = job.env.get("json")
        if not raw:
            return job.error("mandatory key 'json' is not set")
        images.image_set(self._store, job.args[0], os.fsencode(raw), job.stdin, work=self._work)
        return Status.OK

    def image_tag(self, job: Job) -> int:
        if len(job.args) != 2:
            return job.error(f"usage: {job.name} NEWNAME OLDNAME")
        images.image_tag(self._store, *job.args)
        return Status.OK

    def tag(self, job: Job) -> int:
        if len(job.args) not in (2, 3):
            return job.error(f"Usage: {job.name} IMAGE REPOSITORY [TAG]")
        image, repository, tag = (*job.args, "")[:3]
        images.tag(self._store, image, repository, tag, force=job.env.get_bool("force"))
        return Status.OK

    def image_get(self, job: Job) -> int:
        if len(job.args) != 1:
            return job.error(f"usage: {job.name} NAME")
        node = images.image_get(self._store, job.args[0])
        job.stdout.write(_env(describe.summary(node) if node else {}).encode())
        return Status.OK

    def image_inspect(self, job: Job) -> int:
        if len(job.args) != 1:
            return job.error(f"usage: {job.name} NAME")
        node = images.image_inspect(self._store, job.args[0])
        if job.env.get_bool("raw"):
            job.stdout.write(node.image.raw)
        else:
            job.stdout.write(_env(describe.inspection(self._store.graph, node)).encode())
        return Status.OK

    def image_tarlayer(self, job: Job) -> int:
        if len(job.args) != 1:
            return job.error(f"usage: {job.name} NAME")
        images.image_tarlayer(self._store, job.args[0], job.stdout, work=self._work)
        return Status.OK

    def image_export(self, job: Job) -> int:
        if not job.args:
            return job.error(f"Usage: {job.name} IMAGE [IMAGE...]")
        archive.save(job.args, self._store.graph, self._store.tags, job.stdout, self._work)
        return Status.OK

    def image_delete(self, job: Job) -> int:
        if len(job.args) != 1:
            return job.error(f"Usage: {job.name} IMAGE")
        force, noprune = job.env.get_bool("force"), job.env.get_bool("noprune")
        rows = images.image_delete(self._store, job.args[0], force=force, noprune=noprune, work=self._work)
        job.stdout.write(_list(rows))
        return Status.OK

    def load(self, job: Job) -> int:
        if job.args:
            return job.error(f"usage: {job.name}")
        load(self._store, job.stdin, work=self._work)
        return Status.OK

    def import_(self, job: Job) -> int:
        if len(job.args) not in (2, 3):
            return job.error(f"Usage: {job.name} SRC REPO [TAG]")
        source, repository, tag = (*job.args, "")[:3]
        return import_image(self._store, job, source, repository, tag, work=self._work)

    def history(self, job: Job) -> int:
        if len(job.args) != 1:
            return job.error(f"Usage: {job.name} IMAGE")
        node = images.image_inspect(self._store, job.args[0])
        job.stdout.write(_list(describe.history(self._store.graph, self._store.tags, node)))
        return Status.OK

    def images(self, job: Job) -> int:
        if job.args:
            return job.error(f"usage: {job.name}")
        env = job.env
        wanted = describe.Wanted.read(env.get("filter"), env.get("filters"), every=env.get_bool("all"))
        job.stdout.write(_list(describe.listing(self._store.graph, self._store.tags, wanted)))
        return Status.OK

    def viz(self, job: Job) -> int:
        if job.args:
            return job.error(f"usage: {job.name}")
        graph, tags = self._store.graph, self._store.tags
        job.print(describe.drawing(graph.nodes(), tags.by_id()))
        return Status.OK

    def pull(self, job: Job) -> int:
        if len(job.args) not in (1, 2):
            return job.error(f"Usage: {job.name} IMAGE [TAG]")
        name, tag = (*job.args, "")[:2]
        asking, form = Asking.read(job.env), _form(job)
        pull(self._store, self._pools, name, tag, asking, form, job.stdout, work=self._work)
        return Status.OK

    def push(self, job: Job) -> int:
        if len(job.args) != 1:
            return job.error(f"Usage: {job.name} IMAGE")
        asking, form = Asking.read(job.env), _form(job)
        push(self._store, self._pools, job.args[0], job.env.get("tag"), asking, form, job.stdout, work=self._work)
        return Status.OK

    def search(self, job: Job) -> int:
        if len(job.args) != 1:
            return job.error(f"Usage: {job.name} TERM")
        found = search(self._store, job.args[0], Asking.read(job.env), work=self._work)
        job.stdout.write(_list([describe_found(each) for each in found]))
        return Status.OK

    def auth(self, job: Job) -> int:
        if job.args:
            return job.error(f"Usage: {job.name}")
        job.print(authenticate(self._store, Asking.read(job.env), work=self._work) + "\n")
        return Status.OK


def _form(job: Job) -> StreamFormatter:
    return StreamFormatter(json=job.env.get_bool("json"))


def _env(fields: Mapping[str, Any]) -> Env:
    env = Env()
    for key, value in fields.items():
        if isinstance(value, str):
            env.set(key, value)
        else:
            env.set_json(key, value)
    return env


def _list(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return Table(rows=map(_env, rows)).encode_list()
