from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orlop.errors import Error, Invalid, NotFound, Unsafe
from orlop.model.runtime import User
from orlop.rootfs.accounts import ACCOUNT_BYTES, find_user, read_inside

PASSWD = """\
# a comment
root:x:0:0:root:/root:/bin/sh
alice:x:1000:100:Alice:/home/alice:/bin/sh
1001:x:5:6::/five:
+nis:::::
broken:x:many:0:::
odd:x:77:88::relative:
"""
GROUP = "root:x:0:\nusers:x:100:alice\ncrew:x:7:bob,alice\nstaff:x:50:alice\nbad:x:no:alice\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    (made / "etc").mkdir(parents=True)
    (made / "etc/passwd").write_text(PASSWD)
    (made / "etc/group").write_text(GROUP)
    (tmp_path / "outside").write_text("evil:x:0:0::/evil:\n")
    return made


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", User(0, 0, (), "/root")),
        ("root", User(0, 0, (), "/root")),
        ("alice", User(1000, 100, (7, 50), "/home/alice")),
        ("1000", User(1000, 100, (7, 50), "/home/alice")),
        ("alice:crew", User(1000, 7, (), "/home/alice")),
        ("alice:9", User(1000, 9, (), "/home/alice")),
        ("1000:9", User(1000, 9, (), "/home/alice")),
        ("4000", User(4000, 0, (), "/")),
        ("4000:4001", User(4000, 4001, (), "/")),
        ("1001", User(5, 6, (), "/five")),
        ("odd", User(77, 88, (), "/")),
    ],
)
def test_users_are_found_as_the_image_specification_says(root: Path, text: str, expected: User) -> None:
    assert find_user(root, text) == expected


@pytest.mark.parametrize(("text", "kind"), [("bob", NotFound), ("alice:nobody", NotFound), ("broken", NotFound)])
def test_names_that_are_not_there_are_not_guessed(root: Path, text: str, kind: type[Error]) -> None:
    with pytest.raises(kind, match="not in the image's"):
        find_user(root, text)


@pytest.mark.parametrize("text", [":", "alice:", ":users", "4294967295", "0:4294967295", "99999999999999999999"])
def test_malformed_users_are_refused(root: Path, text: str) -> None:
    with pytest.raises(Invalid):
        find_user(root, text)


def test_an_image_without_account_files_has_numbers_only(tmp_path: Path) -> None:
    assert find_user(tmp_path, "") == User(0, 0)
    assert find_user(tmp_path, "12:34") == User(12, 34)
    with pytest.raises(NotFound, match="a uid works without"):
        find_user(tmp_path, "alice")


def test_EX26_an_endless_account_file_is_refused_after_one_mebibyte(root: Path) -> None:
    with (root / "etc/group").open("w") as out:
        out.truncate(1 << 40)
    with pytest.raises(Unsafe, match=f"/etc/group is larger than {ACCOUNT_BYTES} bytes"):
        find_user(root, "alice")
    assert find_user(root, "1000:100").gid == 100, "numbers need no file"


@pytest.mark.parametrize(
    "target", ["/outside", "../../outside", "../../../outside", "/../outside", "/etc/../../outside"]
)
def test_EX26_links_never_lead_out_of_the_root(root: Path, target: str) -> None:
    (root / "etc/passwd").unlink()
    (root / "etc/passwd").symlink_to(target)
    assert read_inside(root, "etc/passwd") == b""
    (root / "outside").write_text("alice:x:1:2::/inside:\n")
    assert find_user(root, "alice").home == "/inside"


def test_EX26_a_linked_directory_never_leads_out_of_the_root(root: Path) -> None:
    os.rename(root / "etc", root / "real")
    (root / "etc").symlink_to("/real")
    assert find_user(root, "alice").uid == 1000
    (root / "etc").unlink()
    (root / "etc").symlink_to(root.parent)
    (root.parent / "passwd").write_text("evil:x:0:0::/evil:\n")
    with pytest.raises(NotFound):
        find_user(root, "evil")


@pytest.mark.parametrize("links", [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "a/a"}])
def test_EX26_loops_of_links_end(root: Path, links: dict[str, str]) -> None:
    for name, target in links.items():
        (root / name).symlink_to(target)
    (root / "etc/passwd").unlink()
    (root / "etc/passwd").symlink_to("/a")
    with pytest.raises(Unsafe, match="symbolic links"):
        find_user(root, "alice")


@pytest.mark.timeout(20)
def test_EX26_a_fifo_is_not_waited_for(root: Path) -> None:
    (root / "etc/passwd").unlink()
    os.mkfifo(root / "etc/passwd")
    with pytest.raises(Unsafe, match="not a plain file"):
        find_user(root, "alice")


@pytest.mark.root
def test_EX26_a_device_is_not_opened(root: Path) -> None:
    (root / "etc/passwd").unlink()
    os.mknod(root / "etc/passwd", 0o666 | 0o020000, os.makedev(1, 5))
    with pytest.raises(Unsafe, match="not a plain file"):
        find_user(root, "alice")


def test_EX26_a_directory_in_the_place_of_a_file_is_refused(root: Path) -> None:
    (root / "etc/group").unlink()
    (root / "etc/group").mkdir()
    with pytest.raises(Unsafe, match="not a plain file"):
        find_user(root, "alice")


def test_no_descriptor_is_left_open(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for text in ("alice", "bob", "4000", "alice:crew"):
        try:
            find_user(root, text)
        except NotFound:
            assert text == "bob"
    assert len(os.listdir("/proc/self/fd")) == before


@settings(deadline=None)
@given(st.binary(max_size=400), st.binary(max_size=400), st.text(max_size=20))
def test_any_account_files_give_a_user_or_an_error_of_ours(passwd: bytes, group: bytes, text: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        etc = Path(directory, "etc")
        etc.mkdir()
        (etc / "passwd").write_bytes(b"alice:x:1:2::/:\n" + passwd)
        (etc / "group").write_bytes(group)
        for wanted in ("alice", text):
            try:
                user = find_user(Path(directory), wanted)
            except Error:
                continue
            assert 0 <= user.uid < 1 << 32
            assert 0 <= user.gid < 1 << 32
            assert user.home.startswith("/")
