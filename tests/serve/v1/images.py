"""Two images that the tests of this directory share."""

from __future__ import annotations

from tests.support.images import Hardlink, Symlink
from tests.support.version_one import old_image

BASE = old_image(
    "base",
    {
        "etc/": None,
        "etc/motd": b"hello\n",
        "etc/old": b"old\n",
        "var/": None,
        "var/cache/": None,
        "var/cache/a": b"a",
        "big": bytes(range(256)) * 400,
    },
    docker_version="1.0.0",
    architecture="amd64",
    os="linux",
    config={"Env": ["A=1"]},
)
TOP = old_image(
    "top",
    {
        "etc/": None,
        "etc/motd": b"good bye\n",
        "etc/.wh.old": b"",
        "etc/new": b"new",
        "var/cache/.wh..wh..opq": b"",
        "var/cache/b": b"b",
        "link": Symlink("etc/motd"),
        "same": Hardlink("etc/new"),
    },
    parent=BASE,
    docker_version="1.0.0",
    architecture="amd64",
    os="linux",
)
