"""For all tests: examples of hypothesis are not timed, as machines are shared and slow at times."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("orlop", deadline=None)
settings.load_profile("orlop")
