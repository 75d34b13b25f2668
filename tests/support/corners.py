"""Layers with every corner case of a root file system: types, owners, times, links, whiteouts, names."""

from __future__ import annotations

from orlop.model.tree import Kind

from .tars import entry, opaque, tar, whiteout

LONG = "n" * 255
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
ACL = bytes.fromhex(
    "02000000 01000600 ffffffff 02000400 e8030000 04000400 ffffffff 10000600 ffffffff 20000400 ffffffff"
)


def base() -> bytes:
    """The lowest layer."""
    return tar(
        entry("./", Kind.DIRECTORY, mode=0o751, uid=3, gid=4, mtime=1_500_000_000),
        entry("bin/", Kind.DIRECTORY, mtime=1_500_000_001),
        entry("bin/tool", data=b"#!/bin/sh\n" * 300, mode=0o755, mtime=1_500_000_002),
        entry("bin/su", data=b"x", mode=0o4755, mtime=1_500_000_003),
        entry("bin/wall", data=b"y" * 511, mode=0o2711, gid=5, mtime=1_500_000_004),
        entry("bin/ping", data=b"z" * 512, mode=0o755, xattrs={"security.capability": CAPABILITY}),
        entry("bin/alias", Kind.HARDLINK, link="bin/tool"),
        entry("etc/", Kind.DIRECTORY, mode=0o755),
        entry("etc/empty", mtime=1_600_000_000),
        entry("etc/kept", data=b"k" * 513, uid=1000, gid=1001, pax={"mtime": "1600000000.123456789"}),
        entry("etc/old", data=b"before", mtime=-1, pax={"mtime": "-86400.5"}),
        entry("etc/big-owner", data=b"o", pax={"uid": 4_000_000_000, "gid": 4_000_000_001}),
        entry("etc/gone", data=b"g"),
        entry("etc/link", Kind.SYMLINK, link="/etc/kept"),
        entry("etc/far", Kind.SYMLINK, link="x/" * 400, uid=7, gid=8, mtime=5),
        entry("etc/acl", data=b"a", mode=0o664, xattrs={"system.posix_acl_access": ACL}),
        entry("etc/noted", data=b"n", xattrs={"user.one": b"1", "user.none": b"", "trusted.two": bytes(range(256))}),
        entry("dev/", Kind.DIRECTORY),
        entry("dev/null", Kind.CHARACTER, mode=0o666, major=1, minor=3),
        entry("dev/disk", Kind.BLOCK, mode=0o660, gid=6, major=259, minor=70_000),
        entry("run/", Kind.DIRECTORY, mode=0o1777),
        entry("run/pipe", Kind.FIFO, mode=0o622, uid=9),
        entry("shared/", Kind.DIRECTORY, mode=0o2775, gid=50),
        entry("shared/of-group", data=b"s", gid=0),
        entry("shared/below/", Kind.DIRECTORY, mode=0o700, gid=0),
        entry("closed/", Kind.DIRECTORY, mode=0o000, uid=12),
        entry("closed/inside", data=b"i", mode=0o000),
        entry("replaced/", Kind.DIRECTORY),
        entry("replaced/a", data=b"1"),
        entry("replaced/deep/", Kind.DIRECTORY),
        entry("replaced/deep/b", data=b"2"),
        entry("hidden/", Kind.DIRECTORY, mode=0o711),
        entry("hidden/lower", data=b"3"),
        entry("hidden/sub/", Kind.DIRECTORY),
        entry("hidden/sub/lower", data=b"4"),
        entry("was-file", data=b"5"),
        entry("was-link", Kind.SYMLINK, link="bin"),
        entry("was-device", Kind.CHARACTER, major=5, minor=1),
        entry("removed/", Kind.DIRECTORY),
        entry("removed/all", data=b"6"),
        entry(LONG, data=b"long"),
        entry(b"not-utf8-\xff\xfe/", Kind.DIRECTORY),
        entry(b"not-utf8-\xff\xfe/\x80", data=b"8"),
        entry("spaces and\nnewline\\", data=b"9"),
        *(entry(f"many/{number:05}", data=b"%d" % number, mtime=number) for number in range(400)),
    )


def middle() -> bytes:
    """Changes of everything below."""
    return tar(
        whiteout("etc/gone"),
        entry("etc/kept", data=b"changed", mode=0o600, mtime=1_700_000_000),
        entry("bin/again", Kind.HARDLINK, link="bin/tool"),
        entry("lib/", Kind.DIRECTORY, mode=0o755),
        entry("lib/tool", Kind.HARDLINK, link="bin/tool"),
        entry("replaced", data=b"now a file"),
        entry("was-file/", Kind.DIRECTORY, mode=0o500),
        entry("was-file/in", data=b"in"),
        entry("was-link/", Kind.DIRECTORY),
        entry("was-link/in", data=b"in"),
        entry("was-device", Kind.SYMLINK, link="nowhere"),
        opaque("hidden"),
        entry("hidden/upper", data=b"upper"),
        whiteout("removed"),
        entry("closed/more", data=b"more"),
    )


def top() -> bytes:
    """Removes and brings back; files whose parents no layer mentions."""
    return tar(
        entry("removed/", Kind.DIRECTORY, mode=0o750),
        entry("removed/new", data=b"new"),
        entry("implied/by/name", data=b"implied"),
        whiteout("bin/alias"),
        whiteout("many/00007"),
        entry("etc/gone", Kind.SYMLINK, link="kept"),
        entry("lib/again", Kind.HARDLINK, link="lib/tool"),
    )


IMPLIED = (b"implied", b"implied/by", b"many")
