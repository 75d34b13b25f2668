"""The map from what the seed systems did to the tests that hold it: `python -m tests.house.lineage` writes it down.

A row's ID is in the names of its tests: F the repository fetcher, G the graph, T tags and jobs, E the engine, R the
registry's client, S its server, X formats.
"""

from __future__ import annotations

from .hazards import ROOT, named_in_tests

PAGE = ROOT / "docs" / "lineage.md"
_BEGIN, _END = "<!-- rows:begin -->\n", "<!-- rows:end -->\n"

KINDS = {
    "F": "The repository fetcher",
    "G": "The image graph",
    "T": "Tags and jobs",
    "E": "The engine",
    "R": "The client of a registry of version 1",
    "S": "The registry of version 1",
    "X": "Formats",
}
ROWS = {
    "F01": "a fetch downloads from the base up and gives the ID of the tag",
    "F02": "the tag is `latest` by default; an unknown one is named",
    "F03": "endpoints are tried in order, the first success ends",
    "F04": "all endpoints fail: the last error, and the others",
    "F05": "what is there is not asked for",
    "F06": "what a failed endpoint finished is kept for the next",
    "F07": "no repository data, no tags: nothing is registered",
    "F08": "one layer wanted twice at once is one download",
    "F09": "the first of two fails, the second tries itself",
    "F10": "locks are free again after every failure",
    "F11": "layers are closed as they end",
    "F12": "an image that says another ID is refused",
    "F13": "ancestries that cannot be are refused",
    "F14": "environment and volumes of an image",
    "F15": "nothing leaks from one fetch into the next",
    "F16": "volumes are made, existing directories kept",
    "F17": "three tries, but not of a quota",
    "F18": "a directory as an image: its ID is of path and time",
    "F19": "the scheme picks the fetcher",
    "F20": "the list of insecure registries",
    "F21": "verified before it is registered",
    "F22": "an ID without a download",
    "G01": "register keeps the JSON byte for byte",
    "G02": "a register that is cut leaves nothing",
    "G03": "a second register is refused, the image stays",
    "G04": "IDs are checked before anything touches the disk",
    "G05": "an unknown parent is refused",
    "G06": "lookup by prefix",
    "G07": "an entry of another ID is told",
    "G08": "sizes are counted where they are not written down",
    "G09": "a restart keeps what is whole and nothing else",
    "G10": "delete by ID and prefix",
    "G11": "map, by parent, heads",
    "G12": "new images, whose IDs never look like numbers",
    "G13": "no layer, and an empty stream, are an image without a layer",
    "G14": "modes of files",
    "G15": "a temporary archive of a layer goes when it was read",
    "G16": "the init layer of a root, over hostile links",
    "G17": "drivers: writable roots over images",
    "G18": "differences and their application",
    "G19": "a crash in the middle heals by itself",
    "T01": "the file of tags",
    "T02": "names of repositories",
    "T03": "names of tags",
    "T04": "lookup by name, ID and parts of them",
    "T05": "deleting tags",
    "T06": "each job's arguments, errors and output",
    "T07": "`image_set`",
    "T08": "`image_get`, `image_inspect`, `image_tarlayer`",
    "T09": "`images`",
    "T10": "`history`",
    "T11": "`image_delete`",
    "T12": "`image_export` and `load`",
    "T13": "`import`",
    "T14": "pools of pulls and pushes",
    "T15": "`pull`",
    "T16": "`push`, `search`, `auth`",
    "T17": "the stream format",
    "T18": "HTTP status by the words of an error",
    "E01": "an engine, its handlers, `commands`, the catch-all",
    "E02": "a job of any name can be made",
    "E03": "a run, its status, its error",
    "E04": "the lines `+job` and `-job`",
    "E05": "what a job says",
    "E06": "the environment",
    "E07": "the environment as JSON",
    "E08": "the environment from JSON",
    "E09": "outputs",
    "E10": "inputs",
    "E11": "the tail of what was said",
    "E12": "tables",
    "E13": "a job on one line",
    "E14": "shutdown",
    "R01": "ping",
    "R02": "endpoints in headers",
    "R03": "tokens",
    "R04": "tags from the first endpoint that answers",
    "R05": "the size of a layer, told or not",
    "R06": "a cut layer is resumed",
    "R07": "redirects to storage, without credentials",
    "R08": "names and hosts of repositories",
    "R09": "login, search, credentials",
    "R10": "checksums of payloads and tars",
    "R11": "both names of the checksum's header",
    "R12": "failed connections are tried again",
    "X01": "unknown fields of a JSON stay",
    "X02": "pitfalls of layers",
    "X03": "IDs of schema 1, strong IDs",
    "X04": "from version 1 to 2 and back",
}


def rows() -> dict[str, str]:
    """All, with those of the server, which its own tests list."""
    from tests.serve.v1.test_rows import ROWS as SERVED

    return {**ROWS, **SERVED}


def page() -> str:
    """The document, with its tables as the tests are now."""
    found = named_in_tests()
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    after = rest.partition(_END)[2]
    return before + _BEGIN + "\n".join(_tables(found)) + "\n" + _END + after


def _tables(found: dict[str, list[str]]) -> list[str]:
    lines = []
    for kind, title in KINDS.items():
        lines += ["", f"### {title}", "", "| row | behaviour | tests |", "|---|---|---|"]
        for row, text in rows().items():
            if row[0] == kind:
                tests = [f"`{test}`" for test in found.get(row, [])]
                lines.append(f"| {row} | {text} | {'<br>'.join(tests) or 'none'} |")
    return lines


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
