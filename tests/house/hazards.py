"""The map from known hazards to the tests that hold them off: `python -m tests.house.hazards` writes it down.

The IDs are those in the names of the tests. A hazard that cannot occur here says why instead.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "hazards.md"
_TEST = re.compile(r"test_((?:[A-Z]{1,2}[0-9]{2}_)+)", re.ASCII)

KINDS = {
    "EX": "Extracting layers",
    "PA": "Parsing archives, JSON, names",
    "RX": "Exhausting resources",
    "CR": "Credentials and trust",
    "NF": "Networks that fail",
    "ST": "The store, processes, disks",
}
HAZARDS = {
    "EX01": "`..` in the name of a member",
    "EX02": "an absolute name",
    "EX03": "a symlink, then a member written through it",
    "EX04": "a symlinked parent that an earlier layer planted; the root replaced",
    "EX05": "a member over a symlink of its own name",
    "EX06": "a hard link to something outside",
    "EX07": "a hard link whose mode or data would change what it links to",
    "EX08": "a directory over a symlink, its mode through it",
    "EX09": "names that slip past checks: longer than PATH_MAX when resolved, empty, with NUL or dots",
    "EX10": "another process that swaps directories for symlinks meanwhile",
    "EX11": "odd whiteouts: of parents, of the root, through links, of the same layer",
    "EX12": "opaque whiteouts in any order and place",
    "EX13": "members that overlayfs would take for its own",
    "EX14": "entries that change their type between layers",
    "EX15": "devices, fifos, sockets",
    "EX16": "setuid, setgid and sticky bits, and the order in which they are set",
    "EX17": "file capabilities lost, or given to another file",
    "EX18": "extended attributes: large, oddly named, through links",
    "EX19": "owners out of range, which must not wrap to root",
    "EX20": "times before 1970, far in the future, of nanoseconds",
    "EX21": "names that a file system folds together, or that are no UTF-8",
    "EX22": "names, paths and depths beyond what Linux takes",
    "EX23": "programs or libraries taken from the image",
    "EX24": "implied parents, and the umask",
    "EX25": "a half-done tree taken for a whole one",
    "EX26": "what an image config and files in the image may make a bundle do",
    "PA01": "a PAX size that holds for the data but not for where the next header is",
    "PA02": "a PAX size that differs from the header's",
    "PA03": "extended headers twice, mixed, global, unknown",
    "PA04": "sizes that are negative, huge, signed, hexadecimal or garbage",
    "PA05": "memory by header: extended headers, sparse maps",
    "PA06": "data on members that have none; unknown types",
    "PA07": "zero blocks, ends, junk, wrong checksums",
    "PA08": "two members with one name",
    "PA09": "gzip and zstd: members, junk, wrong trailers, windows, tables of contents that lie",
    "PA10": "JSON: keys twice, depth, huge numbers, other encodings",
    "PA11": "a manifest that is an index too",
    "PA12": "media types that are missing, odd, or disagree",
    "PA13": "indexes that go round, are deep or long",
    "PA14": "data in a descriptor that is not what it describes",
    "PA15": "sizes that are wrong, negative, huge",
    "PA16": "digests that are paths, short, of unknown algorithms",
    "PA17": "names and tags that are paths, or look like others",
    "PA18": "version 1: IDs, endpoints, ancestries",
    "PA19": "`docker save` archives: names as paths, links, names twice",
    "PA20": "OCI layouts: huge indexes, linked blobs, blobs that are not their names",
    "RX01": "decompression bombs",
    "RX02": "Content-Encoding, bodies of redirects",
    "RX03": "huge manifests, headers, tokens",
    "RX04": "endless lists, pages that link in a circle, signatures without end",
    "RX05": "a decoder closed in the middle",
    "RX06": "many ranges in one request",
    "RX07": "floods of HTTP requests and frames",
    "RX08": "slow clients and slow servers",
    "RX09": "members and layers without end",
    "RX10": "references to the same things without end",
    "RX11": "metrics with a label for each name",
    "RX12": "patterns that take for ever",
    "CR01": "foreign layers' URLs",
    "CR02": "credentials on redirects",
    "CR03": "a Location on another host",
    "CR04": "pages on another host",
    "CR05": "a token realm on another host",
    "CR06": "credentials of one registry for another",
    "CR07": "TLS that is checked for the registry, not for its token server",
    "CR08": "plain HTTP where nobody allowed it",
    "CR09": "credential helpers: names, paths, what they are told and say",
    "CR10": "secrets in messages, logs, files",
    "CR11": "signed URLs kept, shown or reused",
    "CR12": "other content under a digest",
    "CR13": "a tag looked up twice; a tag and a digest that disagree",
    "CR14": "tokens: whose, for how long, by which clock",
    "CR15": "proxies: exceptions, credentials",
    "CR16": "hosts that are not what they look like",
    "CR17": "short names and mirrors",
    "CR18": "metadata services and private addresses",
    "NF01": "bodies that are shorter or longer than said",
    "NF02": "content that changed before it was resumed",
    "NF03": "ranges ignored or answered wrongly",
    "NF04": "bits that flip on the way",
    "NF05": "429 and Retry-After",
    "NF06": "5xx, 408, 425",
    "NF07": "cuts and resets anywhere",
    "NF08": "HTTP/2 connections that go away",
    "NF09": "names that do not resolve, hosts that do not answer",
    "NF10": "a token server that is down, a token that expires on the way",
    "NF11": "an answer lost after the server did it",
    "NF12": "captive portals",
    "NF13": "a clock that is wrong",
    "ST01": "a power cut after success",
    "ST02": "damage that nobody notices or that a pull does not heal",
    "ST03": "short writes, no space",
    "ST04": "an fsync that failed",
    "ST05": "no descriptors left",
    "ST06": "errors of the system, one by one",
    "ST07": "killed processes",
    "ST08": "many processes that want the same",
    "ST09": "a store that others can read or prepare",
    "ST10": "bytes that change between check and use",
    "ST11": "a root file system that writes into the store",
    "ST12": "bits that rot on the disk",
    "ST13": "clocks that jump",
    "ST14": "network file systems",
    "ST15": "stores of other versions",
    "ST16": "locks lost by closing another descriptor",
    "ST17": "SQLite's own faults",
    "ST18": "names that become paths",
    "ST19": "deadlocks",
}
# hazards that cannot occur, and why
EXEMPT = {
    "RX11": "there are no metrics yet",
    "ST14": "no network file system is promised; the catalog uses no shared memory, all else locks, links and renames",
}


def named_in_tests() -> dict[str, list[str]]:
    """`file::test` of every test that names a hazard, or a row of the lineage."""
    found: dict[str, list[str]] = defaultdict(list)
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and (match := _TEST.match(node.name)):
                for hazard in match[1].strip("_").split("_"):
                    found[hazard].append(f"{file.relative_to(ROOT / 'tests')}::{node.name}")
    return found


def page() -> str:
    """The whole document."""
    found = named_in_tests()
    lines = [
        "# Hazards",
        "",
        "What has gone wrong in this field, and the tests that see to it that it does not here. Made by",
        "`make hazards` from the names of the tests; another test holds that none is missing.",
    ]
    for kind, title in KINDS.items():
        lines += ["", f"## {title}", "", "| ID | hazard | tests |", "|---|---|---|"]
        for hazard, text in HAZARDS.items():
            if hazard.startswith(kind):
                tests = [f"`{test}`" for test in found.get(hazard, [])]
                told = "<br>".join(tests) or f"none: {EXEMPT.get(hazard, 'to be written')}"
                lines.append(f"| {hazard} | {text} | {told} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
