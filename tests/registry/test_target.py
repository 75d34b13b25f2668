"""What a registry says to have, or to lack, when images are pushed to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orlop.errors import Denied, NotFound
from orlop.http.client import Client
from orlop.job import Job
from orlop.model import media
from orlop.model.descriptor import Descriptor
from orlop.model.digest import Digest
from orlop.registry.uploads import RegistryTarget
from orlop.settings import Network
from tests.registry.pushing import BLOB, CONTENT, content_of
from tests.support.images import small_image
from tests.support.lying import Answer, Lying, redirect
from tests.support.receiving import Receiving

PATH = f"/v2/a/b/blobs/{BLOB.digest}"


@pytest.fixture
def target(server: Lying) -> Iterator[RegistryTarget]:
    with Client(Network(insecure=frozenset({server.host})), base=0.01) as client:
        yield RegistryTarget(server.host, "a/b", client)


def test_a_blob_of_another_size_is_not_the_blob(target: RegistryTarget, server: Lying) -> None:
    server.on(PATH, Answer(200, CONTENT[:-1]))
    assert not target.has(BLOB, job=Job())
    server.on(PATH, Answer(200, CONTENT))
    assert target.has(BLOB, job=Job())


def test_storage_that_will_not_say_has_nothing(target: RegistryTarget, server: Lying, other: Lying) -> None:
    server.on(PATH, redirect(f"{other.url}/bucket"))
    other.on("/bucket", Answer(403))
    assert not target.has(BLOB, job=Job())
    server.on(PATH, Answer(403))
    with pytest.raises(Denied):
        target.has(BLOB, job=Job())


def test_a_document_is_asked_for_as_one(target: RegistryTarget, server: Lying) -> None:
    registry, document = Receiving(server), small_image().document
    assert not target.has(document.descriptor, job=Job())
    registry.documents[document.digest] = document
    assert target.has(document.descriptor, job=Job())
    assert media.OCI_INDEX in server.seen[0].header("accept")


@pytest.mark.parametrize(
    ("status", "code"), [(404, "MANIFEST_BLOB_UNKNOWN"), (400, "MANIFEST_BLOB_UNKNOWN"), (400, "BLOB_UNKNOWN")]
)
def test_what_a_document_needs_and_is_not_there_is_not_found(
    target: RegistryTarget, server: Lying, status: int, code: str
) -> None:
    server.on("/v2/a/b/manifests/1", Answer(status, b'{"errors":[{"code":"%s"}]}' % code.encode()))
    with pytest.raises(NotFound, match="lacks something that it needs"):
        target.put(small_image().document, "1", job=Job())


def test_sha512_is_said_beforehand(target: RegistryTarget, server: Lying) -> None:
    registry = Receiving(server)
    wanted = Descriptor(media.OCI_LAYER, Digest.of(CONTENT, "sha512"), len(CONTENT))
    target.push(wanted, content_of(CONTENT), job=Job())
    assert registry.blobs == {wanted.digest: CONTENT}
    assert server.seen[0].target == "/v2/a/b/blobs/uploads/?digest-algorithm=sha512"
