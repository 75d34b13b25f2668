"""A small image, where start-up and round trips count and bytes do not: against what only downloads it.

    python -m bench.small [ROUNDS]

As root, on a quiet machine; `make bench` ends with it. Writes its part of `docs/benchmarks.md`. crane, of
go-containerregistry, is not in Debian: it takes part if `$CRANE` names it or it is on the PATH.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.registries import docker_registry

from .image import CACHE, TAG, write
from .measure import compile_sources, measure
from .peers import WAYS, Way
from .report import Figures

_ROUNDS = 9
_LAYOUT = CACHE / "small.layout"
# Debian's packages whose files are the layers, about 5 MB together
_LAYERS = (("libc6",), ("dash", "tzdata"))
_PROGRAM = Path("/usr/bin/true")  # the one more that `peers` wants to find in an image
_PAGE = Path(__file__).parents[1] / "docs/benchmarks.md"
_HEAD = "\n## A small image\n"
_ORLOP = (str(Path(sys.executable).with_name("orlop")), "-q")
_SKOPEO = ("/usr/bin/skopeo", "--insecure-policy", "copy")
_ALLOWED = 0.2  # seconds of ours beyond the download alone


def layout() -> Path:
    """The layout, made at the first call."""
    if not _LAYOUT.exists():
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            making = Path(folder)
            (making / "layout/blobs/sha256").mkdir(parents=True)
            write(making / "layout", [_root(making / str(number), names) for number, names in enumerate(_LAYERS)])
            (making / "layout").rename(_LAYOUT)
    return _LAYOUT


def _root(root: Path, packages: tuple[str, ...]) -> Path:
    listed = subprocess.run(["/usr/bin/dpkg", "-L", *packages], check=True, capture_output=True, text=True).stdout
    for name in sorted({*listed.split("\n"), str(_PROGRAM)}):
        file = Path(name)
        if not file.is_file():
            continue
        target = root / file.parent.resolve().relative_to("/") / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, target, follow_symlinks=False)
    for name in ("bin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    return root


def _call(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _pull_and_mount(place: Path, host: str) -> None:
    orlop = (*_ORLOP, "--store", str(place / "store"))
    _call(*orlop, "pull", "--insecure", host, f"{host}/bench:1")
    _call(*orlop, "mount", f"{host}/bench:1", str(place / "root"))


def _umount(place: Path) -> None:
    _call(*_ORLOP, "--store", str(place / "store"), "umount", str(place / "root"))


def _skopeo(place: Path, host: str) -> None:
    _call(*_SKOPEO, "--src-tls-verify=false", f"docker://{host}/bench:1", f"oci:{place}/layout:1")


def _nothing(_place: Path) -> None:
    pass


def _crane(program: str) -> tuple[Way, Way]:
    def pull(place: Path, host: str) -> None:
        _call(program, "pull", "--insecure", f"{host}/bench:1", f"{place}/image.tar")

    def export(place: Path, host: str) -> None:
        (place / "root").mkdir()
        with subprocess.Popen([program, "export", "--insecure", f"{host}/bench:1", "-"], stdout=subprocess.PIPE) as out:
            subprocess.run(["/bin/tar", "-x", "-C", place / "root"], check=True, stdin=out.stdout)
        if out.returncode:
            raise SystemExit("crane export: failed")

    return Way("crane pull, download only", pull, _nothing), Way("crane export, tar -x", export, _nothing)


def _ways(crane: str) -> list[Way]:
    """The first of those that only download is what ours are compared to."""
    known = {way.name: way for way in WAYS}
    return [
        *(_crane(crane) if crane else ()),
        Way("skopeo copy, download only", _skopeo, _nothing),
        Way("orlop pull, orlop mount", _pull_and_mount, _umount),
        *(
            known[name]
            for name in ("orlop mount", "orlop unpack", "orlop unpack, unsynced", "skopeo copy + umoci unpack")
        ),
    ]


def main(rounds: int = _ROUNDS) -> None:
    compile_sources()
    crane = os.environ.get("CRANE") or shutil.which("crane") or ""
    ways, source = _ways(crane), layout()
    results = {way.name: Figures() for way in ways}
    with tempfile.TemporaryDirectory(dir=CACHE) as folder, docker_registry(Path(folder), Path(folder) / "s") as host:
        _call(*_SKOPEO, "--dest-tls-verify=false", f"oci:{source}:{TAG}", f"docker://{host}/bench:1")
        for _ in range(rounds):
            for way in ways:
                measure(way, host, results[way.name])
    before, _, _ = _PAGE.read_text(encoding="utf-8").partition(_HEAD)
    _PAGE.write_text(f"{before}{_HEAD}{_section(results, rounds, crane)}", encoding="utf-8")


def _section(results: dict[str, Figures], rounds: int, crane: str) -> str:
    size = sum(file.stat().st_size for file in layout().rglob("*") if file.is_file()) / 1e6
    name, download = next(iter(results.items()))
    rows = [
        f"| {way} | {figures.median:.3f} | {min(figures.wall):.3f}-{max(figures.wall):.3f} | "
        f"{figures.median - download.median:+.3f} |"
        for way, figures in results.items()
    ]
    table = "\n".join(rows)
    ours = [way for way in results if way.startswith("orlop")]
    behind = {way: results[way].median - download.median - _ALLOWED for way in ours}
    aim = ";\n".join(f"`{way}` {f'misses it by {by:.3f} s' if by > 0 else 'meets it'}" for way, by in behind.items())
    return f"""
{size:.1f} MB in two gzip layers, a libc, a shell and time zones, from the same registry; {time.strftime("%Y-%m-%d")},
medians of {rounds} in turn.
{_about(crane)}

| way | median s | min-max | to {name.partition(",")[0]}, s |
|---|---|---|---|
{table}

The aim is a root no more than {_ALLOWED} s after what only downloads has ended.
{aim}.
"""


def _about(crane: str) -> str:
    if not crane:
        return "crane, which Debian has not, was not at hand; skopeo stands in for it."
    version = subprocess.run([crane, "version"], check=True, capture_output=True, text=True).stdout.strip()
    return (
        f"crane is not in Debian: this is {version}, built from its source, dependencies included, by Debian's Go:\n"
        "`go build -mod=vendor ./cmd/crane`."
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else _ROUNDS)
