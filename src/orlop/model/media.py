"""Media types (OCI image-spec 1.1 media-types.md; Docker image manifest v2 schema 1 and 2), and what each is."""

from __future__ import annotations

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = OCI_LAYER + "+gzip"
OCI_LAYER_ZSTD = OCI_LAYER + "+zstd"
# of no specification: layers of version 1 images that were compressed so are kept as they came
OCI_LAYER_BZIP2 = OCI_LAYER + "+bzip2"
OCI_LAYER_XZ = OCI_LAYER + "+xz"
_OCI_FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = DOCKER_LAYER + ".gzip"
DOCKER_LAYER_ZSTD = DOCKER_LAYER + ".zstd"
_DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar"
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"

MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
SCHEMA1 = frozenset({DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED})
DOCUMENTS = MANIFESTS | INDEXES | SCHEMA1
CONFIGS = frozenset({OCI_CONFIG, DOCKER_CONFIG})
FOREIGN_LAYERS = frozenset(
    {
        _OCI_FOREIGN,
        _OCI_FOREIGN + "+gzip",
        _OCI_FOREIGN + "+zstd",
        _DOCKER_FOREIGN,
        _DOCKER_FOREIGN + ".gzip",
    }
)
LAYERS = (
    frozenset({OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, OCI_LAYER_BZIP2, OCI_LAYER_XZ})
    | frozenset({DOCKER_LAYER, DOCKER_LAYER_GZIP, DOCKER_LAYER_ZSTD})
    | FOREIGN_LAYERS
)

# what a client says it takes, newest first; all of it at once, as some servers convert for those who do not ask.
ACCEPT = (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST, DOCKER_SCHEMA1_SIGNED, DOCKER_SCHEMA1)
