from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from orlop.bundle import find_runtime, run_bundle, writable_root, write_bundle
from orlop.errors import Cancelled, NotFound, Unsafe, Usage
from orlop.job import Job
from orlop.rootfs.mountinfo import mounts
from orlop.rootfs.programs import NoProgram, NotExecutable, check_program
from tests.support.programs import image_config, make_root, user_namespaces
from tests.support.stranger import Stranger

PROGRAMS = ("sh", "cat", "id", "ls", "grep", "sleep", "mknod", "touch", "env", "head")

# a root that is no mount, as in a plain chroot: everything at the top of this one, bound below a directory
_CHROOT = """
set -e; mkdir "$0"
for each in /*; do
    if [ -L "$each" ]; then cp -P "$each" "$0$each"
    elif [ -d "$each" ]; then mkdir -p "$0$each"; mount --rbind "$each" "$0$each"; fi
done
exec /usr/sbin/chroot "$0" "$@"
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("tree") / "root", *PROGRAMS)


def run_here(tree: Path, place: Path, script: str, *, user: str = "", network: str = "host") -> tuple[int, str]:
    """Exit status and output of a script in a container over `tree`, by the runtime of this machine."""
    out = place / "out"
    code = f"""
import sys
from pathlib import Path
from orlop.bundle import run_bundle, writable_root, write_bundle
from tests.support.programs import image_config
place = Path({str(place)!r})
with writable_root(Path({str(tree)!r}), place / "scratch", place / "rootfs"):
    config = image_config({{"Env": ["COLOUR=red"], "WorkingDir": "/not/there/yet"}})
    write_bundle(place, config, command=["/bin/sh", "-c", {script!r}], user={user!r}, network={network!r})
    sys.exit(run_bundle(place, scratch=place / "state"))
"""
    with out.open("wb") as stream:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=stream, stderr=stream, env=_environment(), timeout=60
        )
    return done.returncode, out.read_text()


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry), "PATH": os.defpath}


@pytest.mark.root
@pytest.mark.peer
@pytest.mark.parametrize("network", ["host", "none"])
def test_a_container_runs_over_a_tree_that_it_does_not_change(tree: Path, tmp_path: Path, network: str) -> None:
    script = "id -u; pwd; echo $COLOUR; touch /new && ls /new; grep NoNewPrivs /proc/self/status; exit 7"
    status, out = run_here(tree, tmp_path, script, network=network)
    assert status == 7, out
    assert out.split("\n")[:4] == ["0", "/not/there/yet", "red", "/new"]
    assert "NoNewPrivs:\t1" in out
    assert not (tree / "new").exists()
    assert not [mount for mount in mounts() if str(mount.target).startswith(str(tmp_path))]


@pytest.mark.root
@pytest.mark.peer
def test_a_container_runs_as_the_user_of_the_image(tree: Path, tmp_path: Path) -> None:
    status, out = run_here(tree, tmp_path, "id; echo $HOME; grep CapEff /proc/self/status", user="alice")
    assert status == 0, out
    assert out.startswith("uid=1000(alice) gid=100(users) groups=100(users),7(crew)\n/home/alice\n")
    assert "CapEff:\t0000000000000000" in out


@pytest.mark.root
@pytest.mark.peer
def test_device_nodes_are_dead_and_cannot_be_made(tmp_path: Path) -> None:
    tree = make_root(tmp_path / "tree", *PROGRAMS)
    os.mknod(tree / "zero", 0o666 | 0o020000, os.makedev(1, 5))
    place = tmp_path / "place"
    place.mkdir()
    status, out = run_here(
        tree, place, "head -c1 /zero; mknod /mine c 1 5; mknod /dev/mine c 1 5; head -c3 /dev/zero | cat"
    )
    assert "'/zero'" in out  # what head and mknod say comes in any order
    assert "Permission denied" in out
    assert out.count("Operation not permitted") == 2
    assert "\0\0\0" in out
    assert status == 0


@pytest.mark.root
@pytest.mark.peer
def test_EX26_a_linked_working_directory_is_made_inside_the_root(tree: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    evil = make_root(tmp_path / "evil", *PROGRAMS)
    (evil / "not").symlink_to(outside)
    place = tmp_path / "place"
    place.mkdir()
    run_here(evil, place, "touch here")
    assert list(outside.iterdir()) == []


@pytest.mark.root
@pytest.mark.peer
def test_EX26_linked_files_of_the_machine_are_not_reached(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    evil = make_root(tmp_path / "evil", *PROGRAMS)
    (evil / "etc/mtab").symlink_to(outside / "mtab")
    (evil / "etc/resolv.conf").symlink_to(outside / "resolv.conf")
    place = tmp_path / "place"
    place.mkdir()
    run_here(evil, place, "cat /etc/mtab")
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("name", ["dev", "proc", "sys"])
def test_EX26_a_linked_mount_point_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "rootfs" / name).symlink_to("/tmp")
    with pytest.raises(Unsafe, match=f"/{name} is not a directory"):
        write_bundle(tmp_path, image_config(), command=["x"])
    assert not (tmp_path / "config.json").exists()


@pytest.mark.root
@pytest.mark.peer
@pytest.mark.parametrize("chroot", [False, True])
@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_each_runtime_takes_what_we_write(tree: Path, tmp_path: Path, runtime: str, chroot: bool) -> None:
    place = tmp_path / "place"
    place.mkdir()
    code = f"""
import sys
from pathlib import Path
from orlop.bundle import run_bundle, writable_root, write_bundle
from tests.support.programs import image_config
place = Path({str(place)!r})
with writable_root(Path({str(tree)!r}), place / "scratch", place / "rootfs"):
    write_bundle(place, image_config({{"Cmd": ["/bin/id", "-un"]}}), user="alice")
    sys.exit(run_bundle(place, scratch=place / "state", runtime={runtime!r}))
"""
    outside = ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", _CHROOT, str(tmp_path / "root")] if chroot else []
    done = subprocess.run(
        [*outside, sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=_environment(),
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "alice\n"), done.stderr


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("sh", "ok"),
        ("/bin/sh", "ok"),
        ("./sh", "ok"),
        ("/bin/link", "ok"),
        ("nosuch", "missing"),
        ("/nosuch/x", "missing"),
        ("/bin/sh/x", "missing"),
        ("../etc/none", "missing"),
        ("/etc", "refused"),
        ("/etc/passwd", "refused"),
        ("plain", "refused"),
        ("/bin/out", "missing"),  # leads out of the tree, which is where the machine's own lies
        ("/proc/self/exe", "ok"),  # mounted over: the runtime will tell
        ("/bin/dangling", "ok"),
    ],
)
def test_a_program_is_looked_for_in_the_tree_and_never_outside(tmp_path: Path, name: str, state: str) -> None:
    tree = make_root(tmp_path / "tree", "sh")
    (tree / "bin/link").symlink_to("/bin/sh")
    (tree / "bin/dangling").symlink_to("/proc/self/exe")
    (tree / "bin/plain").write_text("x")
    (tmp_path / "machine").write_text("x")
    (tmp_path / "machine").chmod(0o755)
    if name == "/bin/out":
        (tree / "bin/up").symlink_to("../..")
        name = "/bin/up/machine"
    kinds = {"missing": NoProgram, "refused": NotExecutable}
    with pytest.raises(kinds[state]) if state in kinds else nullcontext():
        check_program(tree, name, "/sbin:/bin", "/bin", ["/proc"])


@pytest.mark.root
@pytest.mark.peer
@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_what_a_runtime_says_of_a_program_becomes_its_exit_code(tmp_path: Path, runtime: str) -> None:
    """Of links that lead nowhere before the mounts are made."""
    rootfs = make_root(tmp_path / "rootfs", "sh")
    (rootfs / "bin/gone").symlink_to("/proc/none")
    (rootfs / "bin/odd").symlink_to("/proc/version")
    for command, kind in (("/bin/gone", NoProgram), ("/bin/odd", NotExecutable)):
        write_bundle(tmp_path, image_config(), command=[command])
        with pytest.raises(kind) as failure:
            run_bundle(tmp_path, scratch=tmp_path / "state", runtime=runtime)
        assert command in str(failure.value)
        (tmp_path / "state/log").unlink()


@pytest.mark.root
@pytest.mark.peer
def test_the_exit_code_and_words_of_a_command_are_its_own(tree: Path, tmp_path: Path) -> None:
    status, out = run_here(tree, tmp_path, "nosuch; echo 'exec: x: permission denied' >&2; exit 126")
    assert status == 126
    assert out.splitlines()[1:] == ["exec: x: permission denied"]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that belongs to a stranger, where strangers may go."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="orlop-") as directory:
        yield Path(directory)


@pytest.mark.root
@pytest.mark.peer
def test_without_root_runc_is_not_asked_for_another_user(stranger: Stranger, place: Path) -> None:
    make_root(place / "rootfs", "sh")
    code = f"""
from pathlib import Path
from orlop.bundle import run_bundle, write_bundle
from tests.support.programs import image_config
place = Path({str(place)!r})
write_bundle(place, image_config(), command=["/bin/sh"], user="1000")
run_bundle(place, scratch=place / "state", runtime="runc")
"""
    os.chown(place, stranger.uid, stranger.uid)
    done = stranger("-c", code)
    expected = "runc runs as user 0 only, not as 1000" if user_namespaces() else "needs a user namespace"
    assert expected in done.stderr


@pytest.mark.root
@pytest.mark.peer
def test_a_container_runs_without_root(stranger: Stranger, place: Path) -> None:
    rootfs = make_root(place / "rootfs", *PROGRAMS)
    for path in (place, rootfs, *rootfs.rglob("*")):
        os.chown(path, stranger.uid, stranger.uid, follow_symlinks=False)
    code = f"""
import sys
from pathlib import Path
from orlop.bundle import run_bundle, write_bundle
from tests.support.programs import image_config
place = Path({str(place)!r})
write_bundle(place, image_config(), command=["/bin/sh", "-c", "id -u; touch /made; exit 3"])
sys.exit(run_bundle(place, scratch=place / "state"))
"""
    done = stranger("-c", code)
    if user_namespaces():
        assert (done.returncode, done.stdout) == (3, "0\n"), done.stderr
        assert (rootfs / "made").stat().st_uid == stranger.uid
    else:
        assert done.returncode != 0
        assert "needs a user namespace, which is refused" in done.stderr


@pytest.mark.root
@pytest.mark.peer
def test_stopping_the_job_ends_the_container(tree: Path, tmp_path: Path) -> None:
    job = Job()
    with writable_root(tree, tmp_path / "scratch", tmp_path / "rootfs"):
        command = ["/bin/sh", "-c", "trap 'exit 0' TERM; touch /up; while :; do sleep 0.1; done"]
        write_bundle(tmp_path, image_config(), command=command)
        thread = threading.Thread(target=_stop_when, args=(job, tmp_path / "rootfs/up"))
        thread.start()
        with pytest.raises(Cancelled):
            run_bundle(tmp_path, scratch=tmp_path / "state", job=job)
        thread.join()
    assert list((tmp_path / "state/state").iterdir()) == [], "the runtime still knows the container"


def _stop_when(job: Job, sign: Path) -> None:
    end = time.monotonic() + 20
    while not sign.exists() and time.monotonic() < end:
        time.sleep(0.05)
    job.stop()


@pytest.mark.root
@pytest.mark.peer
def test_signals_reach_the_container(tree: Path, tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from orlop.bundle import run_bundle, writable_root, write_bundle
from tests.support.programs import image_config
place = Path({str(tmp_path)!r})
with writable_root(Path({str(tree)!r}), place / "scratch", place / "rootfs"):
    command = ["/bin/sh", "-c", "trap 'exit 42' TERM; echo up; while :; do sleep 0.1; done"]
    write_bundle(place, image_config(), command=command)
    sys.exit(run_bundle(place, scratch=place / "state"))
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=_environment()
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 42


def test_a_runtime_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such program"):
        find_runtime(str(tmp_path / "none"))
    with pytest.raises(NotFound, match="no kata in /usr/bin"):
        find_runtime("kata")


@pytest.mark.peer
def test_a_runtime_is_found_by_name_and_by_path() -> None:
    assert find_runtime("runc").name == "runc"
    assert find_runtime(str(find_runtime("crun"))).name == "crun"
    assert find_runtime().name in ("crun", "runc")


def test_a_bundle_without_a_command_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rootfs").mkdir()
    with pytest.raises(Usage, match="names no command"):
        write_bundle(tmp_path, image_config())
    assert not (tmp_path / "config.json").exists()
