"""OCI runtime bundles (runtime-spec 1.2, bundle.md): writing one over a root, and running it by crun or runc."""

from __future__ import annotations

import json
import os
import resource
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from .disk import syscalls
from .disk.beneath import replaced
from .errors import Error, Invalid, NotFound, Unsafe, Unsupported, of_system
from .job import Job
from .model.image import ImageConfig
from .model.runtime import Choices, Network, runtime_spec, user_of
from .rootfs import confine, mountinfo, mounting
from .rootfs.accounts import find_user
from .rootfs.foreground import run_in_foreground
from .rootfs.programs import check_program, refuse_log

RUNTIMES = ("crun", "runc")
# where distributions and people put them; $PATH is the caller's to use, by naming a file
DIRECTORIES = ("/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/bin", "/sbin")
OPEN_FILES = 1 << 20
MOUNT_POINTS = ("proc", "dev", "sys")  # what the runtime itself works in, as root of this machine
_MS_NODEV = 4  # sys/mount.h
_OWN_ROOT = "own-root"  # in the scratch directory
_LOG_BYTES = 64 << 10


def write_bundle(
    directory: Path,
    config: ImageConfig,
    *,
    command: Sequence[str] = (),
    environment: Sequence[str] = (),
    workdir: str = "",
    user: str = "",
    terminal: bool = False,
    network: Network = "host",
    rootfs: Path | None = None,
    cgroups: bool = False,
) -> Path:
    """Write `directory`/config.json for the tree at `rootfs` (default: `directory`/rootfs, which must be there).

    Returns the path of config.json. Empty arguments mean "as the image says". Account files are read from the
    tree. Whoever calls without root gets a user namespace. `cgroups`: show the container its own, where there
    are any; a runtime then needs the right to make them. `Usage`, `Invalid`, `NotFound` (user), `Unsafe`.
    """
    tree = rootfs or directory / "rootfs"
    _refuse_links(tree)
    rootless = os.geteuid() != 0
    spec = runtime_spec(
        config,
        Choices(
            user=find_user(tree, user_of(config.process, user)),
            command=command,
            environment=environment,
            workdir=workdir,
            terminal=terminal,
            network=network,
            owner=(os.geteuid(), os.getegid()) if rootless else None,
            cgroups=cgroups and not rootless and cgroups_writable(),
            seccomp=Path("/proc/sys/kernel/seccomp").exists(),
            files=_resolver_files() if network == "host" else (),
            open_files=min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], OPEN_FILES),
            rootfs="rootfs" if rootfs is None else str(tree.absolute()),
        ),
    )
    target = directory / "config.json"
    try:
        with replaced(target) as out:
            out.write(json.dumps(spec, indent=2).encode() + b"\n")
    except OSError as error:
        raise _translated(error, target) from error
    return target


def _refuse_links(tree: Path) -> None:
    """runc 1.1 makes the standard links of /dev wherever a linked /dev leads (CVE-2026-41579)."""
    for name in MOUNT_POINTS:
        place = tree / name
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            raise Unsafe(f"image: /{name} is not a directory; a runtime would be led out of the root")


@contextmanager
def writable_root(lower: Path, scratch: Path, target: Path) -> Iterator[Path]:
    """A writable view of the read-only tree `lower` at `target`; what is written goes to `scratch`.

    Both directories are made if they are not there. Where `scratch` is on a file system that cannot be the
    upper one of an overlay, it is covered with memory. Device nodes in it are dead: the runtime makes the few
    that a container needs. Everything is unmounted at the end. Needs root.
    """
    with ExitStack() as undo:
        make_directories(scratch, target)
        try:
            mount_writable(lower, scratch, target)
        except (Invalid, Unsupported):
            mounting.mount_memory(scratch)
            undo.callback(mounting.unmount, scratch, lazy=True)
            mount_writable(lower, scratch, target)
        undo.callback(mounting.unmount, target, lazy=True)
        yield target


def mount_writable(lower: Path, scratch: Path, target: Path) -> None:
    """A writable view of `lower` at `target`, changes below `scratch`, without device nodes. `target` exists."""
    upper, work = scratch / "upper", scratch / "work"
    make_directories(upper, work)
    upper.chmod(lower.stat().st_mode & 0o7777)  # the root directory of the overlay shows the upper one's mode
    mounting.mount_overlay([lower], target, upper=upper, work=work)
    try:
        syscalls.mount(b"", target, b"", syscalls.MS_BIND | syscalls.MS_REMOUNT | _MS_NODEV)
    except OSError as error:
        mounting.unmount(target, lazy=True)
        raise _translated(error, target) from error


def make_directories(*directories: Path) -> None:
    """Each with its parents, where they are not there yet."""
    for directory in directories:
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _translated(error, directory) from error


def find_runtime(setting: str = "") -> Path:
    """The OCI runtime to run: the absolute path or the name in `setting`, else the first found.

    Root: runc first, as crun (seen in 1.8.1) drops `nodev` from the root, and an image's device nodes come to life;
    but without any cgroups mounted runc does not run. Others: crun first, as runc cannot run as another user than 0
    then; but not beside hybrid cgroups (version 1 with a version 2 tree that has controllers), where crun does not
    run unless root hides them from it. `Unsupported` without root and user namespaces.
    """
    if os.geteuid() != 0:
        _need_user_namespaces()
    order = RUNTIMES[::-1] if (os.geteuid() == 0 and _any_cgroups()) or _hybrid_cgroups() else RUNTIMES
    if setting.startswith("/"):
        found = Path(setting)
        if not os.access(found, os.X_OK):
            raise NotFound(f"runtime {setting}: no such program")
        return found
    for name in (setting,) if setting else order:
        for directory in DIRECTORIES:
            candidate = Path(directory, name)
            if candidate.is_file() and os.access(candidate, os.X_OK):
                return candidate
    wanted = setting or " or ".join(RUNTIMES)
    raise NotFound(f"runtime: no {wanted} in {':'.join(DIRECTORIES)}", hint="install one, or set runtime to its path")


def _any_cgroups() -> bool:
    return any(mount.kind in ("cgroup", "cgroup2") for mount in mountinfo.mounts())


def _hybrid_cgroups() -> bool:
    with suppress(OSError):
        return bool(Path("/sys/fs/cgroup/unified/cgroup.controllers").read_text().strip())
    return False


def cgroups_writable() -> bool:
    """Whether containers can get cgroups of their own: the version 2 tree is there and ours to write."""
    return Path("/sys/fs/cgroup/cgroup.controllers").exists() and os.access("/sys/fs/cgroup", os.W_OK)


def run_bundle(
    bundle: Path, *, runtime: str = "", scratch: Path, job: Job | None = None, keep: Sequence[int] = ()
) -> int:
    """Run the bundle in the foreground, with this process's stdin, stdout and stderr; returns the exit status.

    128 + n if signal n ended it, or came twice. `scratch` takes the runtime's state. Signals that would end this
    process go to the container instead, see `rootfs.foreground`; stopping `job` ends it. Nothing of it is left.
    The runtime inherits the descriptors `keep`.
    `NoProgram` and `NotExecutable` (`rootfs.programs`) of what it is to start.
    """
    program = find_runtime(runtime)
    spec = _read_spec(bundle)
    _refuse_user(program, spec)
    _look_for_program(bundle, spec)
    job = job or Job()
    state, log = scratch / "state", scratch / "log"
    make_directories(state)
    name = f"orlop-{secrets.token_hex(8)}"
    prefix = [*_confined(program, scratch), "--root", str(state), "--log", str(log), *_manager(program, spec)]

    def start() -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen([*prefix, "run", "--bundle", str(bundle), name], pass_fds=keep)
        except OSError as error:
            raise Unsupported(f"runtime {program}: cannot be run: {(error.strerror or '').lower()}") from error

    def kill() -> None:
        _quietly([*prefix, "kill", name, "KILL"])

    def clean() -> None:
        # after a normal end there is nothing to delete, and the runtime says so: not worth a word
        _quietly([*prefix, "delete", "--force", name])
        # gone with its namespace, unless what it stands on is shared with ours
        if (scratch / _OWN_ROOT).is_mount():
            mounting.unmount(scratch / _OWN_ROOT, lazy=True)

    status = run_in_foreground(start, kill, clean, job)
    job.check()
    if status and log.is_file():
        with log.open(errors="replace") as written:
            refuse_log(written.read(_LOG_BYTES), spec["process"]["args"][0])
    return status if status >= 0 else 128 - status


def _quietly(command: list[str]) -> None:
    null = subprocess.DEVNULL
    # a session of its own: Ctrl-C is not for it
    subprocess.run(command, stdin=null, stdout=null, stderr=null, check=False, start_new_session=True)


def _need_user_namespaces() -> None:
    """Without root a container stands on one. Tried in a process of its own, as there is no way back from it."""
    trial = "import ctypes, sys; sys.exit(ctypes.CDLL(None, use_errno=True).unshare(0x10000000) and ctypes.get_errno())"
    try:
        done = subprocess.run([sys.executable, "-I", "-S", "-c", trial], check=False, stdin=subprocess.DEVNULL)
        number = done.returncode
    except OSError as error:
        raise Unsupported(f"{sys.executable}: cannot be run: {(error.strerror or '').lower()}") from error
    if number:
        why = os.strerror(number).lower()
        raise Unsupported(
            f"container: without root it needs a user namespace, which is refused: {why}",
            hint="run it as root, or use `orlop unpack`",
        )


def _confined(program: Path, scratch: Path) -> list[str]:
    """The command of a runtime, in a mount namespace of its own where things around us would stop it."""
    hide = ""
    if program.name == "crun" and os.geteuid() == 0:
        hide = "all" if not _any_cgroups() else "unified" if _hybrid_cgroups() else ""
    root = ""
    if os.geteuid() == 0 and not any(mount.target == Path("/") for mount in mountinfo.mounts()):
        make_directories(scratch / _OWN_ROOT)
        root = str(scratch / _OWN_ROOT)
    if not hide and not root:
        return [str(program)]
    return [sys.executable, "-I", "-S", confine.__file__, hide, root, str(program)]


def _read_spec(bundle: Path) -> dict[str, Any]:
    """config.json, checked as far as it is used here."""
    try:
        spec: dict[str, Any] = json.loads((bundle / "config.json").read_bytes())
        process = spec["process"]
        words = [*process["args"], *process["env"], process["cwd"], spec["root"]["path"]]
        words += [mount["destination"] for mount in spec.get("mounts", ())]
        kinds = [namespace["type"] for namespace in spec["linux"]["namespaces"]]
        whole = process["args"] and isinstance(process["user"]["uid"], int)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Invalid(f"bundle {bundle}: config.json cannot be read") from error
    if not whole or not all(isinstance(word, str) for word in words + kinds):
        raise Invalid(f"bundle {bundle}: config.json is malformed")
    return spec


def _refuse_user(program: Path, spec: dict[str, Any]) -> None:
    user = spec["process"]["user"]["uid"]
    if os.geteuid() != 0 and user != 0 and program.name == "runc":
        raise Unsupported(
            f"container: without root, runc runs as user 0 only, not as {user}",
            hint="user 0 is you there: -u 0; crun takes others",
        )


def _look_for_program(bundle: Path, spec: dict[str, Any]) -> None:
    process = spec["process"]
    hidden = [mount["destination"] for mount in spec.get("mounts", ())]
    path = next((each.removeprefix("PATH=") for each in process["env"] if each.startswith("PATH=")), None)
    if path is not None:
        check_program(bundle / spec["root"]["path"], process["args"][0], path, process["cwd"], hidden)


def _manager(program: Path, spec: dict[str, Any]) -> list[str]:
    """crun makes cgroups unless told not to; where it cannot, that would be the end."""
    if program.name != "crun":
        return []
    return ["--cgroup-manager=cgroupfs" if _has_cgroups(spec) else "--cgroup-manager=disabled"]


def _has_cgroups(spec: dict[str, Any]) -> bool:
    return any(namespace["type"] == "cgroup" for namespace in spec["linux"]["namespaces"])


def _resolver_files() -> list[tuple[str, str]]:
    """With the network of this machine, its way to find names too."""
    return [(path, path) for path in ("/etc/resolv.conf", "/etc/hosts") if Path(path).is_file()]


def _translated(error: OSError, path: Path) -> Error:
    text = f"{path}: {(error.strerror or str(error)).lower()}"
    return of_system(error, text, Invalid, space=", or choose a directory on another file system")
