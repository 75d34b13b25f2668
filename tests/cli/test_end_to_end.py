"""The program over a real registry, with real mounts and real containers."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.rootfs.mountinfo import mounts
from tests.cli.conftest import IMAGE, INDEX
from tests.support.images import make_image, make_layer, write_layout
from tests.support.programs import make_root, user_namespaces
from tests.support.serving import Served, serve_layout
from tests.support.stranger import Stranger

HELLO = "Hello from a container"


def environment(store: Path) -> dict[str, str]:
    return {
        "PYTHONPATH": ":".join(entry for entry in sys.path if entry),
        "PATH": os.defpath,
        "HOME": str(store.parent),
        "ORLOP_STORE": str(store),
    }


class Program:
    """`orlop` as a process of its own. Call it with arguments."""

    def __init__(self, store: Path) -> None:
        self.store = store

    def __call__(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "orlop", *arguments],
            env={**environment(self.store), **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def orlop(tmp_path: Path) -> Program:
    return Program(tmp_path / "store")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A registry with `images:1` (small), `images:many` (an index), and `images:run` (programs in it)."""
    place = tmp_path_factory.mktemp("shelf")
    root = make_root(place / "root", "sh", "cat", "id", "env", "ls")
    files = {str(path.relative_to(root)): path for path in sorted(root.rglob("*"))}
    layer = make_layer({name: None if path.is_dir() else path.read_bytes() for name, path in files.items()})
    config = {"config": {"User": "alice", "Env": ["PATH=/bin", "WORD=image"], "Entrypoint": ["/bin/sh"]}}
    greeting = make_layer({"hello.txt": HELLO.encode()})
    images = {"1": IMAGE, "many": INDEX, "run": make_image([_runnable(layer), greeting], config=config)}
    with serve_layout(write_layout(place / "layout", images)) as server:
        yield server


def _runnable(layer: bytes) -> bytes:
    """The same tar with every file executable: tests.support.images makes none."""
    import io
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(layer)) as old, tarfile.open(fileobj=out, mode="w") as new:
        for member in old:
            member.mode |= 0o555
            new.addfile(member, old.extractfile(member) if member.isreg() else None)
    return out.getvalue()


def name_of(served: Served, tag: str) -> str:
    return f"docker://{served.address}/images:{tag}"


def test_an_image_is_looked_at_and_pulled_over_http(orlop: Program, served: Served) -> None:
    name, insecure = name_of(served, "many"), ("--insecure", served.address)
    assert orlop("tags", name_of(served, "1"), *insecure).stdout.split() == ["1", "many", "run"]
    assert orlop("digest", name, *insecure).stdout == f"{INDEX.digest}\n"
    assert orlop("manifest", name, *insecure).stdout == INDEX.document.raw.decode()
    assert "linux/arm64/v8" in orlop("inspect", name, *insecure).stdout
    done = orlop("pull", name, *insecure)
    assert (done.returncode, done.stdout) == (0, f"{INDEX.digest}\n"), done.stderr
    assert orlop("pull", "--platform", "all", name, *insecure).returncode == 0
    assert orlop("fsck").returncode == 0


def test_what_is_not_there_is_not_found(orlop: Program, served: Served) -> None:
    for arguments in (["pull"], ["digest"], ["manifest"], ["inspect"]):
        done = orlop(*arguments, name_of(served, "none"), "--insecure", served.address)
        assert done.returncode == 3, done.stderr
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1


@pytest.mark.root
@pytest.mark.peer
def test_a_command_runs_in_an_image_that_is_fetched_for_it(orlop: Program, served: Served) -> None:
    image = ("--insecure", served.address, name_of(served, "run"))
    script = 'cat /hello.txt; echo " $WORD $MORE"; id -un; pwd; > /tmp/x; exit 9'
    done = orlop("run", "-q", "-e", "WORD=chosen", "-e", "MORE", "-w", "/etc", *image, "-c", script, MORE="ours")
    assert done.returncode == 9, done.stderr
    assert done.stdout.splitlines()[:3] == [f"{HELLO} chosen ours", "alice", "/etc"]
    again = orlop("run", "--pull", "never", "-u", "0", image[2].removeprefix("docker://"), "-c", "id -u; ls /tmp")
    assert (again.returncode, again.stdout) == (0, "0\n"), again.stderr
    assert not [mount for mount in mounts() if str(mount.target).startswith(str(orlop.store))]


@pytest.mark.root
@pytest.mark.peer
def test_options_after_the_reference_are_the_commands(orlop: Program, served: Served) -> None:
    image = ("--insecure", served.address, name_of(served, "run"))
    done = orlop("run", "-q", "-u", "root", *image, "-c", 'echo "$0 $*"', "--store", "-v", "--version")
    assert (done.returncode, done.stdout) == (0, "--store -v --version\n"), done.stderr


@pytest.mark.root
@pytest.mark.peer
def test_a_program_that_cannot_be_started_is_told_as_a_shell_tells_it(orlop: Program, served: Served) -> None:
    image = ("--insecure", served.address, name_of(served, "1"))
    missing = orlop("run", "-q", *image, "nosuch", "x")
    assert (missing.returncode, missing.stderr) == (127, "orlop: program 'nosuch': not in the image's PATH\n")
    refused = orlop("run", "-q", *image, "/etc/motd")
    assert (refused.returncode, refused.stderr) == (126, "orlop: program '/etc/motd': is not executable\n")


@pytest.mark.root
@pytest.mark.peer
def test_a_bundle_is_taken_by_a_runtime(orlop: Program, served: Served, tmp_path: Path) -> None:
    place = tmp_path / "bundle"
    made = orlop("bundle", "--insecure", served.address, name_of(served, "run"), str(place), "-c", "cat /hello.txt")
    assert (made.returncode, made.stdout) == (0, f"{place}\n"), made.stderr
    try:
        root = ["--root", str(tmp_path / "state")]
        ran = subprocess.run(
            ["/usr/sbin/runc", *root, "run", "--bundle", str(place), "orlop-test-bundle"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (ran.returncode, ran.stdout) == (0, HELLO), ran.stderr
    finally:
        undone = orlop("umount", str(place))
    assert undone.returncode == 0, undone.stderr
    assert not [mount for mount in mounts() if str(mount.target).startswith(str(tmp_path))]


@pytest.mark.root
def test_the_store_is_served_and_pulled_from(orlop: Program, served: Served, tmp_path: Path) -> None:
    assert orlop("pull", "--insecure", served.address, name_of(served, "1")).returncode == 0
    assert orlop("tag", f"{served.address}/images:1", "debian:12").returncode == 0
    command = [sys.executable, "-m", "orlop", "-q", "serve", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, env=environment(orlop.store), stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            address = server.stdout.readline().strip()
            other = Program(tmp_path / "other")
            done = other("pull", "--insecure", address, f"docker://{address}/library/debian:12")
            assert (done.returncode, done.stdout) == (0, f"{IMAGE.digest}\n"), done.stderr
        finally:
            server.terminate()
            assert server.wait(20) == 0


def test_serving_to_others_must_be_asked_for(orlop: Program) -> None:
    done = orlop("serve", "--listen", "0.0.0.0:0")
    assert done.returncode == 2
    assert done.stderr.endswith("not a loopback address, and anyone who reaches it could read; --public allows it\n")


@pytest.mark.root
@pytest.mark.peer
def test_the_demo_checks_every_step_and_leaves_nothing(orlop: Program, tmp_path: Path) -> None:
    done = orlop("demo", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    for step in ("make an image", "over HTTP", "pull it again", "mounted read-only", "unmount", "/bin/sh", "no faults"):
        assert step in done.stdout
    assert "no container was run" not in done.stdout
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []
    assert not [mount for mount in mounts() if str(mount.target).startswith(str(tmp_path))]


@pytest.mark.root
@pytest.mark.peer
def test_the_demo_works_without_root(stranger: Stranger) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="orlop-") as place:
        os.chown(place, stranger.uid, stranger.uid)
        done = stranger("-m", "orlop", "demo", environment={"HOME": place, "TMPDIR": place})
        assert done.returncode == 0, done.stderr + done.stdout
        assert "unpacked" in done.stdout
        assert ("run /bin/sh" if user_namespaces() else "user namespace, which is refused") in done.stdout
        assert os.listdir(place) == []
