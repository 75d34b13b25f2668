"""Every known hazard has a test that carries its ID, or a reason why it cannot occur."""

from __future__ import annotations

from tests.house.hazards import EXEMPT, HAZARDS, KINDS, PAGE, named_in_tests, page


def test_no_hazard_is_without_a_test_or_a_reason() -> None:
    found = named_in_tests()
    assert {hazard for hazard in found if hazard[:2] in KINDS} <= set(HAZARDS), "an ID that nobody knows"
    assert sorted(set(HAZARDS) - set(found) - set(EXEMPT)) == []
    assert sorted(set(EXEMPT) & set(found)) == [], "excused, but tested"


def test_the_page_is_as_the_tests_are() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make hazards`"
