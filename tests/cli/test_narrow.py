"""What is shown on a terminal of 80 columns, and of fewer."""

from __future__ import annotations

import sys

import pytest

from tests.support.terminal import terminal

DIGEST = "sha256:" + "0" * 64
_FACTS = "from orlop.cli.output import facts; facts([('Name', 'a:1'), ('Digest', {0!r}), ('Environment', 'A=b')])"


@pytest.mark.parametrize(
    ("columns", "lines"),
    [
        (84, ["Name         a:1", f"Digest       {DIGEST}", "Environment  A=b"]),
        (80, ["Name         a:1", "Digest", f"  {DIGEST}", "Environment  A=b"]),
        (73, ["Name         a:1", "Digest", f"  {DIGEST}", "Environment  A=b"]),
        (72, ["Name         a:1", f"Digest       {DIGEST[:59]}", DIGEST[59:], "Environment  A=b"]),
    ],
)
def test_a_digest_stays_whole_where_there_is_room_for_it(columns: int, lines: list[str]) -> None:
    command = [sys.executable, "-c", _FACTS.format(DIGEST)]
    with terminal(command, {"PYTHONPATH": ":".join(sys.path)}, columns=columns) as shown:
        assert shown.wait_for("ended")[:-1] == lines
        assert shown.screen()[-1] == "ended 0"
