"""`orlop demo`: the main job, offline and end to end, each step's result checked."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from ..errors import Damaged, Denied, NotFound, Unavailable, Unsupported
from . import output
from .app import App
from .demo_image import GREETING, RELEASE, REMOVED, DemoImage, make_image
from .lazy import Command

if TYPE_CHECKING:
    from ..job import Job
    from ..store import Store

_START_SECONDS = 20.0


@click.command(cls=Command)
@click.pass_obj
def demo(app: App) -> None:
    """Try it all, offline, in a few seconds.

    Makes a small image of this machine's own programs, serves it as a registry, pulls it over HTTP into a
    temporary store, mounts it, reads it, runs a shell in it, and cleans up. Exit code 0 means that the result
    of each step was checked.
    """
    from ..store import Store

    if app.progress == "auto":
        app.progress = "none"  # the steps are told one by one
    job = app.job()
    started = time.monotonic()
    with ExitStack() as undo:
        place = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="orlop-demo-")))
        steps = _Steps(app, job, place)
        image = steps.make()
        address = undo.enter_context(_served(image.layout))
        settings = replace(app.settings(), store=place / "store")
        if address:
            settings = settings.with_network(insecure=frozenset({address}))
        store = undo.enter_context(Store.open(settings=settings))
        name = steps.pull(store, _reference(image, address), served=bool(address))
        with steps.root(store, name) as root:
            steps.look(root, image)
        steps.run(name, image)
        steps.check(store)
    click.echo(f"Done in {time.monotonic() - started:.1f} s, and nothing is left. Next:")
    click.echo("  orlop run debian:12 cat /etc/os-release\n  orlop mount debian:12 /mnt\n  orlop --help")


def _reference(image: DemoImage, address: str) -> str:
    return f"docker://{address}/{image.layout.name}:{image.tag}" if address else f"oci:{image.layout}:{image.tag}"


@dataclass
class _Steps:
    """The steps of the demo, told as they are done."""

    app: App
    job: Job
    place: Path

    @contextmanager
    def _told(self, what: str) -> Iterator[list[str]]:
        """Times a step; what it appends to the list is told with it. Interrupts are heeded between steps."""
        self.job.check()
        started = time.monotonic()
        details: list[str] = []
        yield details
        self.app.finish()
        seconds = time.monotonic() - started
        click.echo(f"{seconds * 1000:6.0f} ms  {what}" + (f": {', '.join(details)}" if details else ""))

    def make(self) -> DemoImage:
        with self._told("make an image of this machine's own programs") as details:
            image = make_image(self.place / "hello")
            details.append(f"2 layers, {output.size(image.size)}")
        return image

    def pull(self, store: Store, reference: str, *, served: bool) -> str:
        how = "pull it over HTTP, verify, make it ready" if served else "read its layout (granian is not installed)"
        with self._told(how) as details:
            pulled = store.pull(reference, job=self.job)
            _expect(pulled.fetched > 0, "the first pull fetched nothing")
            details.append(f"{output.size(pulled.fetched)}, {pulled.digest[:19]}")
        with self._told("pull it again") as details:
            again = store.pull(reference, job=self.job)
            _expect(again.digest == pulled.digest, "the second pull gave another digest")
            _expect(again.fetched < pulled.fetched, "the second pull fetched it all again")
            details.append(f"{output.size(again.fetched)} fetched, {output.size(again.present)} were there")
        return pulled.name

    @contextmanager
    def root(self, store: Store, name: str) -> Iterator[Path]:
        """The image as a directory: mounted if this user may, else unpacked."""
        mounted = None
        with self._told("give it back as a directory") as details:
            why = "only root may mount"
            if os.geteuid() == 0:
                try:
                    mounted = store.mount(name, self.place / "root", job=self.job)
                    details.extend(["mounted read-only with " + mounted.driver, *filter(None, [mounted.why])])
                except (Denied, Unsupported) as error:  # root, but in a container
                    why = error.message
            if mounted is None:
                target = store.unpack(name, self.place / "tree", job=self.job).target
                details.append(f"unpacked, as {why}")
        if mounted is None:
            yield target
            return
        try:
            yield mounted.target
        finally:
            with self._told("unmount it"):
                store.umount(str(mounted.target))
                _expect(not mounted.target.is_mount(), "it is still mounted")

    def look(self, root: Path, image: DemoImage) -> None:
        with self._told("list its files") as details:
            count = sum(len(files) for _, _, files in os.walk(root))
            _expect(count == image.files, f"{count} files, expected {image.files}")
            _expect(not (root / REMOVED).exists(), f"/{REMOVED} is there, though a layer removed it")
            details.append(output.count(count, "file"))
        with self._told("read one") as details:
            text = (root / "hello.txt").read_text()
            _expect(text == GREETING, "hello.txt has other content")
            _expect((root / RELEASE).read_bytes() == image.release, f"/{RELEASE} has other content")
            details.append(text.strip())

    def run(self, name: str, image: DemoImage) -> None:
        from ..bundle import find_runtime

        try:
            runtime = find_runtime(self.app.settings().runtime)
        except (NotFound, Unsupported) as error:
            click.echo(f"           no container was run: {error}")
            return
        with self._told(f"run /bin/sh in it with {runtime.name}") as details:
            command = ["run", "--pull", "never", name, "/bin/sh", "-c", f"cat /{RELEASE}"]
            ran = subprocess.run(
                [*_orlop(), "--store", str(self.place / "store"), *command],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
            )
            _expect(
                ran.returncode == 0 and ran.stdout == image.release,
                f"the container ended with {ran.returncode}: {ran.stderr.decode(errors='replace').strip()}",
            )
            details.append(ran.stdout.decode(errors="replace").partition("\n")[0])

    def check(self, store: Store) -> None:
        with self._told("check every byte of the store") as details:
            checked = store.fsck(job=self.job)
            _expect(not checked.findings, f"{len(checked.findings)} faults")
            details.append(f"{output.count(checked.blobs, 'blob')}, no faults")


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Damaged(f"demo: {otherwise}")


def _orlop() -> list[str]:
    return [sys.executable, "-m", "orlop"]


@contextmanager
def _served(layout: Path) -> Iterator[str]:
    """`orlop serve` over the layout, in a process of its own; yields its address, "" if it cannot serve here."""
    from importlib.util import find_spec

    if find_spec("granian") is None:
        yield ""
        return
    command = [*_orlop(), "-q", "serve", "--layout", str(layout), "--listen", "127.0.0.1:0"]
    # a session of its own, so that Ctrl-C is ours to pass on
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            yield _address(process.stdout, process)
        finally:
            process.terminate()
            try:
                process.wait(_START_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _address(stdout: IO[str] | None, process: subprocess.Popen[str]) -> str:
    address = stdout.readline().strip() if stdout else ""
    if not address:
        raise Unavailable(f"demo: the server ended with status {process.wait(_START_SECONDS)} before it served")
    return address
