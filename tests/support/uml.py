"""A machine whose power can be cut: user-mode Linux on the host's files, with an ext4 of its own.

Killing its kernel loses what it had not written to its disk, as a power cut does. The host then mounts that disk.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KERNEL = "/usr/bin/linux.uml"
_DISK_BYTES = 192 << 20
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/run", "LANG": "C.UTF-8"}
_DONE = "acknowledged: "
_BOOT_SECONDS = 120
# what a program expects of a system; /dev of the kernel itself has the disk
_INIT = """#!/bin/sh
mount -t proc proc /proc && mount -t sysfs sys /sys && mount -t tmpfs run /run
[ -b /dev/ubda ] || mount -t devtmpfs dev /dev
# skopeo and podman keep a database there, which a cut would tear on the host
[ ! -d /var/lib/containers ] || mount -t tmpfs containers /var/lib/containers
mkdir -p /dev/shm && mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t ext4 /dev/ubda {place} || exit 1
cd {here}
"""


class Machine:
    """One that runs. Its disk is mounted at `place`, in it alone."""

    def __init__(self, folder: Path, script: str) -> None:
        self.folder = folder
        self.place = folder / "place"
        self.disk = folder / "disk"
        init = folder / "init"
        init.write_text(_INIT.format(place=self.place, here=os.getcwd()) + script)
        init.chmod(0o755)
        self._console = ""
        command = [KERNEL, "mem=512M", "rootfstype=hostfs", "root=/dev/root", "rootflags=/", "rw", f"ubd0={self.disk}"]
        command += [f"init={init}", "con=null", "con0=null,fd:1", "quiet", f"uml_dir={folder}", "umid=machine"]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # its memory is a file that it must be able to run, which the usual place for that may forbid
            env=_ENVIRONMENT if _runs_from_memory() else {**_ENVIRONMENT, "TMPDIR": str(folder)},
        )

    @property
    def acknowledged(self) -> list[str]:
        """What the script has said to be done."""
        lines = self._console.splitlines()
        return [line.removeprefix(_DONE).strip() for line in lines if line.startswith(_DONE)]

    def wait(self, count: int) -> None:
        """Until that much is acknowledged. Whatever goes wrong inside ends here, with the console."""
        deadline = time.monotonic() + _BOOT_SECONDS
        while len(self.acknowledged) < count:
            if not self._read(1.0) or time.monotonic() > deadline:
                raise AssertionError(f"the machine does not get there:\n{self._console}")

    def cut(self) -> None:
        """The power. What it had said until then counts."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        while self._read(0):
            pass

    def _read(self, seconds: float) -> bool:
        """What the console has; False at its end, or if there is nothing to wait for."""
        stream = self._process.stdout
        assert stream is not None
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            if not selector.select(seconds):
                return seconds > 0
        data = os.read(stream.fileno(), 65536)
        self._console += data.decode(errors="replace")
        return bool(data)

    def close(self) -> None:
        if self._process.poll() is None:
            self.cut()
        assert self._process.stdout is not None
        self._process.stdout.close()


def _runs_from_memory() -> bool:
    return os.path.isdir("/dev/shm") and not os.statvfs("/dev/shm").f_flag & os.ST_NOEXEC


@contextmanager
def machine(folder: Path, script: str) -> Iterator[Machine]:
    """One that runs `script` in a shell, with an empty disk at `folder`/place. Lines "acknowledged: ..." that it says
    count as promises. When it ends, so does the machine."""
    (folder / "place").mkdir()
    with (folder / "disk").open("wb") as disk:
        disk.truncate(_DISK_BYTES)
    subprocess.run(["/usr/sbin/mkfs.ext4", "-q", folder / "disk"], check=True)
    made = Machine(folder, script)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def mounted(machine: Machine) -> Iterator[Path]:
    """The disk of a machine that is off."""
    subprocess.run(["/usr/bin/mount", "-o", "loop", machine.disk, machine.place], check=True)
    try:
        yield machine.place
    finally:
        subprocess.run(["/usr/bin/umount", machine.place], check=True)
