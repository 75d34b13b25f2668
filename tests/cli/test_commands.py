"""Each command over a real store, filled from layouts."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import tarfile
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from orlop.blobs.partial import Partials
from orlop.model.digest import Digest
from tests.cli.conftest import IMAGE, INDEX
from tests.support.command_line import Orlop
from tests.support.images import make_image, make_layer, write_layout
from tests.support.stores import parts


def test_pull_prints_a_digest_a_line_and_nothing_else(orlop: Orlop, layout: Path) -> None:
    result = orlop("pull", f"oci:{layout}:one", f"oci:{layout}:many")
    assert (result.status, result.lines) == (0, [IMAGE.digest, INDEX.digest])
    assert f"done: {IMAGE.document.layers[0].digest.short}" in result.err
    assert "localhost/shelf:one: " in result.err
    for mode in ("auto", "plain", "json"):
        assert orlop("pull", "-q", "--progress", mode, f"oci:{layout}:many").err == ""


def test_pull_goes_on_after_a_failure_and_exits_6(orlop: Orlop, layout: Path) -> None:
    result = orlop("pull", f"oci:{layout}:none", f"oci:{layout}:one")
    assert (result.status, result.lines) == (6, [IMAGE.digest])
    assert result.err.count(f"oci:{layout}:none") == 1
    assert result.err.endswith("orlop: 1 of 2 references failed; the others are in the store\n")
    assert orlop("pull", f"oci:{layout}:none").status == 3
    both = orlop("pull", f"oci:{layout}:none", f"oci:{layout}:neither")
    assert both.err.endswith("orlop: 2 of 2 references failed\n")
    assert both.status == 3


def test_pull_as_json_has_these_keys(orlop: Orlop, layout: Path) -> None:
    result = orlop("pull", "--json", "--platform", "all", f"oci:{layout}:many", f"oci:{layout}:none")
    done, failed = result.json()
    assert list(done) == ["reference", "name", "digest", "manifests", "fetched", "present", "seconds"]
    assert done["name"] == "localhost/shelf:many"
    assert len(done["manifests"]) == 2
    assert set(failed) == {"reference", "error"}
    alone = orlop("pull", "--json", f"oci:{layout}:none")
    assert (alone.status, alone.json()) == (3, [{"reference": f"oci:{layout}:none", "error": failed["error"]}])


def test_a_dry_run_tells_the_plan_and_keeps_nothing(orlop: Orlop, layout: Path) -> None:
    (planned,) = orlop("pull", "--dry-run", "--json", f"oci:{layout}:one").json()
    assert list(planned) == ["reference", "name", "digest", "blobs", "fetch", "present", "requests"]
    sizes = [layer.size for layer in IMAGE.document.layers]
    assert planned["fetch"] == sum(sizes)
    assert [blob["size"] for blob in planned["blobs"]] == sorted(sizes, reverse=True)
    table = orlop("pull", "--dry-run", f"oci:{layout}:one")
    assert table.lines[0].split() == ["BLOB", "SIZE", "KEPT"]
    assert len(table.lines) == 3
    assert orlop("images", "--json").json() == []


def test_images_are_listed_short_for_people_and_whole_for_programs(filled: Orlop) -> None:
    table = filled("images").lines
    assert table[0].split() == ["NAME", "DIGEST", "PLATFORMS", "CREATED", "SIZE"]
    assert [line.split()[0] for line in table[1:]] == ["debian:12", "ghcr.io/owner/tools:1"]
    rows = filled("images", "--json").json()
    assert list(rows[0]) == ["name", "digest", "platforms", "created", "updated", "size", "complete"]
    assert [row["name"] for row in rows] == ["docker.io/library/debian:12", "ghcr.io/owner/tools:1"]
    assert rows[0]["digest"] == IMAGE.digest
    datetime.fromisoformat(rows[0]["updated"])
    assert filled("images", "-q").lines == ["debian:12", "ghcr.io/owner/tools:1"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [("deb", ["debian:12"]), ("debian:*", ["debian:12"]), ("ghcr.io/*", ["ghcr.io/owner/tools:1"]), ("zzz", [])],
)
def test_images_are_found_by_pattern(filled: Orlop, pattern: str, found: list[str]) -> None:
    assert filled("images", "-q", pattern).lines == found


def test_manifest_and_config_are_the_raw_bytes(filled: Orlop, layout: Path) -> None:
    assert filled("manifest", "debian:12").raw == IMAGE.document.raw
    assert filled("manifest", "ghcr.io/owner/tools:1").raw == INDEX.document.raw
    assert filled("manifest", f"oci:{layout}:many").raw == INDEX.document.raw
    assert filled("config", "debian:12").raw == IMAGE.config
    assert filled("config", "store:debian:12").raw == IMAGE.config


def test_digest_is_that_of_the_name(filled: Orlop, layout: Path) -> None:
    assert filled("digest", "ghcr.io/owner/tools:1").lines == [INDEX.digest]
    assert filled("digest", f"oci:{layout}:one").lines == [IMAGE.digest]
    assert filled("digest", "--json", "debian:12").json() == {
        "reference": "debian:12",
        "digest": IMAGE.digest,
        "mediaType": IMAGE.document.media_type,
        "size": len(IMAGE.document.raw),
    }


def test_inspect_shows_an_image_and_its_index(filled: Orlop) -> None:
    shown = filled("inspect", "--json", "ghcr.io/owner/tools:1").json()
    assert shown["digest"] == INDEX.digest
    assert shown["manifest"]["digest"] == IMAGE.digest
    assert shown["platform"] == "linux/amd64"
    assert [child["platform"] for child in shown["manifests"]] == ["linux/amd64", "linux/arm64/v8"]
    assert shown["layersSize"] == sum(layer.size for layer in IMAGE.document.layers)
    assert [layer["diffId"] for layer in shown["layers"]] == json.loads(IMAGE.config)["rootfs"]["diff_ids"]
    assert shown["config"]["Cmd"] == ["/bin/sh"]
    text = filled("inspect", "debian:12").out
    for part in ("docker.io/library/debian:12", IMAGE.digest, "linux/amd64", "/bin/sh", "2 layers"):
        assert part in text


def test_inspect_of_a_source_keeps_nothing(orlop: Orlop, layout: Path) -> None:
    shown = orlop("inspect", "--json", f"oci:{layout}:many").json()
    assert shown["platforms"] == ["linux/amd64", "linux/arm64/v8"]
    assert "linux/arm64/v8" in orlop("inspect", f"oci:{layout}:many").out
    assert orlop("images", "-q").lines == []


def test_history_is_newest_first_with_sizes_of_layers(orlop: Orlop, tmp_path: Path) -> None:
    history: list[dict[str, Any]] = [
        {"created": "2020-01-01T00:00:00.123456789Z", "created_by": "/bin/sh -c #(nop) ADD file:x in / "},
        {"created": "2020-01-02T00:00:00Z", "created_by": "ENV A=\x1b[31mB", "empty_layer": True},
        {"created": "2020-01-03T00:00:00Z", "created_by": "RUN x", "comment": "buildkit"},
    ]
    image = make_image([make_layer({"a": b"a"}), make_layer({"b": b"b"})], config={"history": history})
    shelf = write_layout(tmp_path / "h", {"1": image})
    orlop("pull", f"oci:{shelf}:1")
    rows = orlop("history", "--json", "localhost/h:1").json()
    assert [row["createdBy"] for row in rows] == [step["created_by"] for step in reversed(history)]
    assert [row["layer"] for row in rows] == [image.document.layers[1].digest, None, image.document.layers[0].digest]
    text = orlop("history", "localhost/h:1").out
    assert "ADD file:x in /\n" in text
    assert "#(nop)" not in text
    assert "\x1b" not in text


def test_tags_are_local_unless_a_source_is_named(filled: Orlop, layout: Path) -> None:
    assert filled("tags", "debian").lines == ["12"]
    assert filled("tags", f"oci:{layout}").lines == ["one", "many"]
    assert filled("tags", "--json", "debian").json() == {"repository": "debian", "tags": ["12"]}
    missing = filled("tags", "alpine")
    assert (missing.status, missing.err) == (3, "orlop: alpine: not in the store; try orlop tags docker://alpine\n")


@pytest.mark.parametrize("command", ["inspect", "manifest", "config", "digest", "history"])
def test_what_is_not_in_the_store_is_not_looked_for_elsewhere(filled: Orlop, command: str) -> None:
    result = filled(command, "alpine:3")
    assert (result.status, result.out) == (3, "")
    assert result.err == "orlop: alpine:3: not in the store; try docker://alpine:3, or orlop pull alpine:3\n"
    assert "did you mean debian:12?" in filled(command, "debian:13").err
    ours = filled(command, "localhost/nix:1")
    assert (ours.status, ours.err) == (3, "orlop: localhost/nix:1: not in the store; `orlop images` lists what is\n")


@pytest.mark.parametrize("command", ["inspect", "config", "history"])
def test_an_image_for_another_platform_is_told(filled: Orlop, command: str) -> None:
    result = filled(command, "--platform", "linux/arm64", "debian:12")
    assert (result.status, result.err) == (3, "orlop: debian:12: no linux/arm64/v8 in it; it is linux/amd64\n")


def test_a_name_that_the_store_gave_is_not_asked_for_elsewhere(orlop: Orlop, layout: Path, tmp_path: Path) -> None:
    assert orlop("pull", "-q", f"oci:{layout}:one").status == 0
    for command in (["unpack"], ["export", "-o"]):
        order = [command[0], "localhost/shelf:two", *command[1:], str(tmp_path / "out")]
        result = orlop(*order)
        assert result.status == 3
        assert result.err == "orlop: localhost/shelf:two: not in the store; did you mean localhost/shelf:one?\n"
    result = orlop("unpack", "--platform", "linux/arm64", "localhost/shelf:one", str(tmp_path / "out"))
    assert (result.status, result.err) == (
        3,
        "orlop: localhost/shelf:one: no linux/arm64/v8 in it; it is linux/amd64\n",
    )


def test_a_failed_fetch_says_first_that_the_image_is_not_here(filled: Orlop, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        host = f"127.0.0.1:{taken.getsockname()[1]}"
    failed = f"and a pull failed: {host}: cannot connect: connection refused (connect)"
    result = filled("unpack", f"{host}/app:1", str(tmp_path / "out"))
    assert (result.status, result.err) == (1, f"orlop: {host}/app:1: not in the store, {failed}\n")
    assert filled("tag", "debian:12", f"{host}/app:2").status == 0
    result = filled("unpack", f"{host}/app:1", str(tmp_path / "out"))
    assert result.err == f"orlop: {host}/app:1: not in the store, {failed}; did you mean {host}/app:2?\n"
    result = filled("unpack", "--platform", "linux/arm64", f"{host}/app:2", str(tmp_path / "out"))
    assert result.err == f"orlop: {host}/app:2: no linux/arm64/v8 in it (it is linux/amd64), {failed}\n"


def test_tag_and_untag_move_names(filled: Orlop) -> None:
    assert filled("tag", "debian:12", "mine:1").lines == [IMAGE.digest]
    assert filled("tag", "ghcr.io/owner/tools:1", "mine:1").lines == [INDEX.digest]
    assert filled("untag", "mine:1").lines == [INDEX.digest]
    assert filled("untag", "mine:1").status == 3
    assert filled("tag", "debian:12", "mine@sha256:" + "0" * 64).status == 2


def test_rm_removes_names_and_goes_on_after_a_failure(filled: Orlop) -> None:
    result = filled("rm", "none:1", "debian:12")
    assert result.status == 6
    assert "orlop: none:1: not in the store; " in result.err
    assert result.err.endswith("orlop: 1 of 2 names was not removed\n")
    assert filled("images", "-q").lines == ["ghcr.io/owner/tools:1"]
    assert filled("rm", "none:1", "none:2").status == 3
    removed, failed = filled("rm", "--json", "ghcr.io/owner/tools:1", "none:1").json()
    assert failed == {"reference": "none:1", "error": "none:1: not in the store"}
    assert set(removed) == {"reference", "removed", "bytes"}
    assert IMAGE.digest in removed["removed"]
    assert filled("df", "--json").json()["blobs"] == 0


def test_gc_frees_what_has_no_name(filled: Orlop) -> None:
    filled("untag", "debian:12")
    filled("untag", "ghcr.io/owner/tools:1")
    dry = filled("gc", "--dry-run", "--json").json()
    assert list(dry) == ["removed", "derived", "partials", "bytes", "kept", "dryRun"]
    assert dry["dryRun"] is True
    assert filled("df", "--json").json()["blobs"] > 0
    done = filled("gc")
    assert sorted(done.lines) == sorted(dry["removed"])
    assert "freed " in done.err
    assert filled("df", "--json").json()["blobs"] == 0


def test_gc_says_what_it_keeps_of_pulls_that_were_cut(filled: Orlop) -> None:
    assert "pulls that were cut" not in filled("gc").err
    digest = Digest.of(b"half" * 10)
    with parts(filled.store) as (disk, _, _session), Partials(disk).open(digest, 40) as partial:
        partial.write(0, b"half")
    shown = filled("df", "--json").json()
    assert (shown["partials"], filled("gc", "--json").json()["kept"]) == (1, shown["partialBytes"])
    kept = filled("gc").err.splitlines()[-1]
    assert kept.endswith(" kB of pulls that were cut are kept for a day; orlop gc --partials frees them")
    assert "pulls that were cut" not in filled("gc", "--partials").err


def test_fsck_tells_damage_and_exits_5(filled: Orlop) -> None:
    whole = filled("fsck")
    assert (whole.status, whole.out) == (0, "")
    assert "no faults in " in whole.err
    quick = filled("fsck", "--quick").err
    assert quick.startswith("plan: ")
    assert " B" not in quick
    layer = IMAGE.document.layers[1]
    blob = filled.store / "blobs/sha256" / layer.digest.encoded
    blob.chmod(0o644)
    blob.write_bytes(b"x" * layer.size)
    broken = filled("fsck")
    assert broken.status == 5
    assert layer.digest in broken.out
    shown = filled("fsck", "--json").json()
    assert list(shown) == ["blobs", "bytes", "derived", "findings"]
    assert set(shown["findings"][0]) == {"kind", "subject", "text", "mended"}


def test_df_counts_bytes(filled: Orlop) -> None:
    shown = filled("df", "--json").json()
    keys = ["images", "blobs", "blobBytes", "derivedBytes", "partials", "partialBytes", "freeBytes"]
    assert list(shown) == keys
    assert shown["images"] == 2
    files = [path for path in (filled.store / "blobs/sha256").iterdir() if path.is_file()]
    assert shown["blobs"] == len(files)
    assert shown["blobBytes"] == sum(path.stat().st_size for path in files)
    assert filled("df").lines[0].split() == ["WHAT", "COUNT", "SIZE"]


def test_unpack_says_what_became_of_owners(filled: Orlop, tmp_path: Path) -> None:
    result = filled("unpack", "debian:12", str(tmp_path / "out"))
    assert (result.status, result.lines) == (0, [str(tmp_path / "out")])
    assert "; ownership " in result.err
    assert (tmp_path / "out/etc/motd").read_text() == "changed\n"
    assert not (tmp_path / "out/etc/gone").exists()
    shown = filled("unpack", "--json", "debian:12", str(tmp_path / "more")).json()
    assert list(shown) == ["directory", "digest", "entries", "bytes", "ownership", "notes"]


def test_unpack_fetches_what_is_missing_unless_told_not_to(orlop: Orlop, layout: Path, tmp_path: Path) -> None:
    reference = f"oci:{layout}:one"
    never = orlop("unpack", "--pull", "never", reference, str(tmp_path / "out"))
    assert never.status == 3
    assert "--pull never" in never.err
    assert orlop("unpack", "--pull", "never", "localhost/shelf:one", str(tmp_path / "out")).status == 3
    assert orlop("unpack", reference, str(tmp_path / "out")).status == 0
    assert orlop("images", "-q").lines == ["localhost/shelf:one"]
    assert orlop("unpack", "--pull", "never", "localhost/shelf:one", str(tmp_path / "again")).status == 0


def test_export_is_one_tar_on_stdout_or_in_a_file(filled: Orlop, tmp_path: Path) -> None:
    raw = filled("export", "debian:12").raw
    assert filled("export", "debian:12", "-o", str(tmp_path / "x.tar")).out == ""
    assert (tmp_path / "x.tar").read_bytes() == raw
    missing = filled("export", "debian:12", "-o", str(tmp_path / "no/such/x.tar"))
    assert (missing.status, missing.err) == (3, f"orlop: {tmp_path}/no/such/x.tar: no such file or directory\n")
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        names = tar.getnames()
        motd = tar.extractfile("etc/motd")
        assert motd is not None
        assert motd.read() == b"changed\n"
    assert "etc/gone" not in names


def test_a_failed_export_leaves_no_file(filled: Orlop, tmp_path: Path) -> None:
    target = tmp_path / "place"
    target.mkdir()
    for path in (filled.store / "blobs/sha256").iterdir():
        path.unlink()
    assert filled("export", "debian:12", "-o", str(target / "x.tar")).status != 0
    assert list(target.iterdir()) == []


@pytest.mark.root
def test_mounts_are_made_listed_and_undone(filled: Orlop, tmp_path: Path) -> None:
    target = tmp_path / "mnt"
    made = filled("mount", "debian:12", str(target))
    assert (made.status, made.lines) == (0, [str(target)])
    assert made.err.startswith("mounted with ")
    try:
        assert (target / "etc/motd").read_text() == "changed\n"
        (listed,) = filled("mount", "--json").json()
        assert list(listed) == ["name", "digest", "directory", "driver", "why"]
        assert listed["directory"] == str(target)
        assert str(target) in filled("mount").out
    finally:
        undone = filled("umount", "debian:12")
    assert (undone.status, undone.err) == (0, f"{target}: unmounted\n")
    assert not target.is_mount()
    assert filled("mount", "--json").json() == []
    assert filled("umount", "debian:12").status == 3


@pytest.mark.root
def test_a_mount_that_is_in_use_is_undone_when_asked_to_be_lazy(filled: Orlop, tmp_path: Path) -> None:
    target, before = tmp_path / "mnt", Path.cwd()
    assert filled("mount", "debian:12", str(target)).status == 0
    try:
        with (target / "etc/motd").open():
            held = filled("umount", str(target))
            assert held.status == 1
            assert f"({os.getpid()}); end what uses it, or unmount it with --lazy\n" in held.err
        os.chdir(target)
        inside = filled("umount", "debian:12").err
        assert inside == (
            f"orlop: {target}: mount is in use: this process's working directory is inside; "
            "leave it, or unmount it with --lazy\n"
        )
    finally:
        done = filled("umount", "--lazy", str(target))
        os.chdir(before)
    assert (done.status, done.err) == (0, f"{target}: unmounted\n")
    assert not target.is_mount()


@pytest.mark.root
def test_the_shell_in_a_mount_is_told_from_others(filled: Orlop, tmp_path: Path) -> None:
    target = tmp_path / "mnt"
    assert filled("mount", "debian:12", str(target)).status == 0
    script = f'cd {target} && "$0" -m orlop umount .; exit $?'  # not exec: the shell stays the parent
    environment = {"PYTHONPATH": ":".join(entry for entry in sys.path if entry), "ORLOP_STORE": str(filled.store)}
    done = subprocess.run(
        ["/bin/sh", "-c", script, sys.executable], env=environment, capture_output=True, text=True, check=False
    )
    assert filled("umount", str(target)).status == 0
    assert (done.returncode, done.stdout) == (1, "")
    assert "mount is in use: this shell's working directory is inside; leave it, or " in done.stderr


@pytest.mark.root
def test_a_forced_driver_is_the_one_that_is_told(filled: Orlop, tmp_path: Path) -> None:
    for driver in ("overlay", "directory"):
        shown = filled("mount", "--json", "--driver", driver, "debian:12", str(tmp_path / driver)).json()
        assert shown["driver"] == driver
        assert filled("umount", str(tmp_path / driver)).status == 0
