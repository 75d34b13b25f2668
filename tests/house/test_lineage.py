"""Everything that the seed systems did has a test that carries its row's ID."""

from __future__ import annotations

import re

from tests.house.hazards import named_in_tests
from tests.house.lineage import PAGE, page, rows


def test_no_row_is_without_a_test() -> None:
    found = named_in_tests()
    assert sorted(set(rows()) - set(found)) == []
    assert {row for row in found if re.fullmatch(r"[FGTERSX]\d\d", row)} <= set(rows()), "a row that nobody knows"


def test_the_page_of_the_lineage_is_as_the_tests_are() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make hazards`"
