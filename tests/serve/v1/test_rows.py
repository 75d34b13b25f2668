"""The transcript of a registry of version 1, row by row: first what the reference server was seen to answer (S01 to
S36), then the end points that it did not come to. Where the reference was wrong, `wrong:` says what it did.
"""

from __future__ import annotations

import re
from pathlib import Path

ROWS = {
    "S01": "GET images of an unknown repository: 404",
    "S02": "PUT repository: 200, token and end points",
    "S03": "PUT json of a child before its parent: 400",
    "S04": "PUT json with another ID in it: 400",
    "S05": "PUT json that is no JSON: 400",
    "S06": "PUT json without an ID: 400",
    "S07": "GET of an image that is not complete: 400",
    "S08": "PUT checksum before the layer: 400 (wrong: 500)",
    "S09": "PUT checksum without a header: 412",
    "S10": "PUT checksum that is another's: 400",
    "S11": "PUT checksum again: 409",
    "S12": "PUT json again: 409",
    "S13": "PUT layer again: 409",
    "S14": "PUT tag with a bad name: 400",
    "S15": "PUT tag without quotes: 400",
    "S16": "PUT tag to an unknown image: 404",
    "S17": "GET layer: 200, ranges, cached for a year",
    "S18": "GET layer, range 0-9: 206 (wrong: Content-Range without its unit)",
    "S19": "GET layer, one byte: 206 (wrong: 416)",
    "S20": "GET layer, from 100 and to beyond the end: 206 (wrong: Content-Length one too large)",
    "S21": "GET layer, range beyond the end: 416",
    "S22": "GET layer, the last five bytes: 206 (wrong: 200)",
    "S23": "GET layer, ranges that are none: 200",
    "S24": "If-Modified-Since of an image: 304",
    "S25": "an ID that is none: 404 (wrong: 16 digits were one)",
    "S26": "DELETE tag: 200, again 404",
    "S27": "DELETE images: 204",
    "S28": "DELETE repository: 200, again 404; the images stay",
    "S29": "GET search: 200",
    "S30": "GET users: 200",
    "S31": "POST users: 201",
    "S32": "PUT user: 204",
    "S33": "GET properties: 200",
    "S34": "PUT auth: 200",
    "S35": "GET _ping: 200, standalone",
    "S36": "a name without a namespace is in library/",
    "S37": "GET /_ping",
    "S38": "GET images: the list, with token and end points",
    "S39": "PUT images at the end of a push: 204",
    "S40": "GET tags: 200",
    "S41": "GET tag: 200; 404",
    "S42": "DELETE tags: 200",
    "S43": "GET repository json: who pushed it",
    "S44": "GET tag json",
    "S45": "PUT properties: 200",
    "S46": "GET json: its bytes, size and checksum",
    "S47": "PUT layer in chunks, without a length: 200",
    "S48": "GET ancestry: the image first",
    "S49": "GET files: the list of a layer",
    "S50": "GET diff: changes against the parent (wrong: needed a worker)",
    "S51": "PUT checksum with the sum of the tar only: 200",
    "S52": "nothing is pushed without --writable: 405",
    "S53": "an image in one client's hands: 409 for another, until it is silent",
}


def test_every_row_has_a_test_and_every_test_a_row() -> None:
    found = {
        row
        for module in Path(__file__).parent.glob("test_*.py")
        for rows in re.findall(r"^def test_((?:S\d\d_)+)", module.read_text(), re.MULTILINE)
        for row in rows.strip("_").split("_")
    }
    assert found == set(ROWS)
