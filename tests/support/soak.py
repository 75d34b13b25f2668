"""How much a test does: little each time, ten times as much and more for `make soak`."""

from __future__ import annotations

import os


def times(quick: int, long: int) -> int:
    """`long` in a soak, `quick` else."""
    return long if os.environ.get("ORLOP_SOAK") == "1" else quick
