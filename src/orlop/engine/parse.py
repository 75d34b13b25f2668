"""A job written on one line: its name, arguments and environment."""

from __future__ import annotations

from ..errors import Invalid
from .env import Env


def parse_job(text: str) -> tuple[str, tuple[str, ...], Env]:
    """Words are split at blanks, without quoting. `KEY=VALUE` is of the environment wherever it stands; of the rest,
    the first is the name. `Invalid` if there is none."""
    env = Env()
    words = []
    for word in text.split():
        key, equals, value = word.partition("=")
        if equals:
            env.set(key, value)
        else:
            words.append(word)
    if not words:
        raise Invalid(f"empty command: '{text}'")
    return words[0], tuple(words[1:]), env
