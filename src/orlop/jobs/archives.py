"""Jobs on tars from elsewhere: `load` of what a Docker saved, `import` of a root file system."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ..engine.format import StreamFormatter
from ..engine.job import Job, Status
from ..errors import NotFound, Unavailable
from ..http.client import Client
from ..http.url import Url
from ..job import Job as Work
from ..model.v1 import ImageId, V1Image, random_id
from ..ports import Readable
from ..settings import Network
from ..store import Store


def load(store: Store, archive: Readable, *, work: Work) -> None:
    """All images of an archive of any era, and their names."""
    store.load(archive, job=work)


def import_layer(
    store: Store, layer: Readable, source: str, repository: str, tag: str, *, created: float, work: Work
) -> ImageId:
    """Make an image of one layer, under a new random ID, and name it. `created` in seconds since 1970."""
    store.tags.checked(repository, tag)
    machine = store.settings.platform
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(created))
    fields = {
        "id": random_id(),
        "comment": f"Imported from {source}",
        "created": moment,
        "container_config": {"Cmd": None},
        "architecture": machine.architecture,
        "os": machine.os,
    }
    image = V1Image.read(json.dumps(fields, separators=(",", ":")).encode())
    store.graph.register(image, layer, origin=source, job=work)
    store.tags.set(repository, tag, image.id, force=True)
    return image.id


def import_image(store: Store, job: Job, source: str, repository: str, tag: str, *, work: Work) -> int:
    """The job: SRC is `-` for stdin, or a URL."""
    store.tags.checked(repository, tag)  # before anything is downloaded
    form = StreamFormatter(json=job.env.get_bool("json"))
    if source == "-":
        id = import_layer(store, job.stdin, source, repository, tag, created=time.time(), work=work)
    else:
        url = address(source)
        job.stdout.write(form.status("", f"Downloading from {url}"))
        with download(url, store.settings.network, work) as layer:
            id = import_layer(store, layer, str(url), repository, tag, created=time.time(), work=work)
    job.stdout.write(form.status("", id))
    return Status.OK


def address(source: str) -> Url:
    """The URL of a SRC; `http://` is left out as often as not."""
    return Url.parse(source if "://" in source else f"http://{source}")


@contextmanager
def download(url: Url, network: Network, work: Work) -> Iterator[Readable]:
    """What a URL gives, without any of the user's credentials. `NotFound`, `Unavailable`."""
    plain = frozenset({url.authority}) if url.scheme == "http" else frozenset()
    stranger = replace(
        network,
        insecure=network.insecure | plain,
        username="",
        password="",
        authfile=None,
        home=None,
        docker_config=None,
        docker_auth_config="",
        registry_auth_file=None,
        runtime_dir=None,
    )
    with Client(stranger) as client, client.request(url.authority, "GET", url.target, job=work) as answer:
        if answer.status == 404:
            raise NotFound(f"{url}: not found")
        if answer.status != 200:
            raise Unavailable(f"{url}: answered {answer.status}")
        yield answer
