"""Log lines on stderr for -v, without secrets."""

from __future__ import annotations

import logging
from collections.abc import Collection

from .output import printable


class SecretlessFormatter(logging.Formatter):
    """Log lines without the strings in `secrets`, which may grow."""

    def __init__(self, secrets: Collection[str]) -> None:
        super().__init__("%(levelname).1s %(name)s: %(message)s")
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return "\n".join(printable(line) for line in text.split("\n"))
