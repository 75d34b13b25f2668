"""What each command imports, listed: the start of the program is counted in modules, not in seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.images import small_image, write_layout

# our own, without the leading "orlop."
VERSION = "cli cli.main errors"
HELP = f"{VERSION} cli.app cli.lazy cli.options cli.output cli.root"
STORE = """
blobs blobs.derived blobs.local blobs.partial catalog catalog.names catalog.sqlite disk disk.beneath disk.disk
disk.locks disk.session disk.syscalls disk.writeback graph house images job model model.descriptor model.digest
model.document model.image model.limits model.media model.platform model.reference model.strict_json model.tree
model.v1_names parts ports settings store streams verify
"""
TAR = "tar tar.header tar.index tar.names tar.pax tar.reader"
INTAKE = f"{TAR} tar.sparse blobs.spill blobs.unfinished download intake plain tar.index_writer transfer"
REGISTRY = """
http http.addresses http.auth http.client http.connection http.credentials http.head http.hosts http.proxies
http.sending http.site http.throttle http.url http.wire registry registry.answers registry.body
registry.paging registry.v2 sources
"""
ROOTFS = """
erofs erofs.format erofs.layout erofs.writer erofs.xattrs materialise rootfs rootfs.beside rootfs.choose
rootfs.directory
rootfs.erofs rootfs.failures rootfs.metadata rootfs.mountinfo rootfs.mounting rootfs.overlay rootfs.ownership
rootfs.plain rootfs.plan rootfs.privilege rootfs.records rootfs.staging rootfs.topdir tar.changes tar.merge tar.writer
"""
LAYOUT = "files files.layout files.window sources"

# of others, what costs most to import: none of these where it is not named
COSTLY = {
    *("asyncio", "bz2", "granian", "http.client", "lzma", "multiprocessing", "rich", "shutil", "sqlite3", "ssl"),
    *("subprocess", "tarfile", "tempfile", "tomllib", "urllib.request", "click", "json", "logging", "socket"),
    *("hashlib", "isal", "zlib_ng", "backports.zstd"),
}
USUAL = {"click", "hashlib", "json", "logging", "sqlite3", "tomllib"}

_FIRST_REQUEST = """
import os, socket
def connect(self, where):
    print(*sorted(set(sys.modules) - before), file=sys.stderr, flush=True)
    os._exit(0)
socket.socket.connect = socket.socket.connect_ex = connect
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("imports")
    write_layout(place / "layout", {"one": small_image()})
    return place


def imported(*arguments: str, before: str = "import os") -> tuple[set[str], set[str]]:
    """What a command imports: our modules, and the costly ones of others."""
    code = f"""
import sys
sys.argv = ["orlop", *{list(arguments)!r}]
before = set(sys.modules)
{before}
from orlop.cli.main import main
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
print(*sorted(set(sys.modules) - before), file=sys.stderr)
"""
    environment = {"PYTHONPATH": ":".join(entry for entry in sys.path if entry), "PATH": os.defpath}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    modules = set(done.stderr.split())
    ours = {name.removeprefix("orlop.") for name in modules if name.startswith("orlop.")}
    return ours, modules & COSTLY


def test_the_version_needs_next_to_nothing() -> None:
    ours, costly = imported("--version")
    assert ours == set(VERSION.split())
    assert costly == set()


@pytest.mark.parametrize(("command", "module"), [("pull", "pull"), ("mount", "roots"), ("images", "images")])
def test_help_needs_the_command_line_alone(command: str, module: str) -> None:
    ours, costly = imported(command, "--help")
    assert ours - {"cli.where"} == {*HELP.split(), f"cli.{module}"}
    assert costly - {"shutil", "bz2", "lzma"} == {"click"}  # it looks how wide the terminal is


def test_a_pull_needs_this_to_ask_its_first_question(place: Path) -> None:
    command = ("--store", str(place / "first"), "-q", "pull", "--insecure", "127.0.0.1:9", "127.0.0.1:9/app:1")
    ours, costly = imported(*command, before=_FIRST_REQUEST)
    assert ours == set(f"{HELP} cli.progress cli.pull fetching {STORE} {INTAKE} {REGISTRY}".split())
    assert costly == USUAL | {"socket"}


@pytest.mark.root
def test_commands_need_what_they_use(place: Path) -> None:
    store = ("--store", str(place / "store"), "-q")
    ours, costly = imported(*store, "pull", f"oci:{place}/layout:one")
    assert ours == set(f"{HELP} cli.progress cli.pull fetching {STORE} {INTAKE} {LAYOUT} {ROOTFS}".split())
    assert costly == USUAL | {"isal"}
    ours, costly = imported(*store, "images")
    assert ours == set(f"{HELP} cli.images cli.where {STORE}".split())
    assert costly == USUAL
    for command in (("mount", "localhost/layout:one", str(place / "root")), ("umount", str(place / "root"))):
        ours, costly = imported(*store, *command)
        wanted = set(f"{HELP} cli.roots cli.where {STORE} {ROOTFS} {INTAKE}".split())
        assert ours - {"cli.progress"} == wanted - {"transfer", "blobs.unfinished"}
        assert costly == USUAL
