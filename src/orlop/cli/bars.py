"""Bars by rich. Imported only on a terminal, when there is something to draw."""

from __future__ import annotations

from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


class Display:
    """The live part of the screen. Not thread-safe by itself: `progress.Bars` holds a lock."""

    def __init__(self, stream: TextIO) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
            console=Console(file=stream, stderr=True, highlight=False),
            transient=True,
            refresh_per_second=10,
            expand=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._total: TaskID | None = None
        self._progress.start()

    def update(self, subject: str, name: str, done: int, total: int, text: str) -> None:
        description = f"{name} {text}".rstrip()
        if subject not in self._tasks:
            self._tasks[subject] = self._progress.add_task(description, total=total or None)
        self._progress.update(self._tasks[subject], completed=done, total=total or None, description=description)

    def remove(self, subject: str) -> None:
        task = self._tasks.pop(subject, None)
        if task is not None:
            self._progress.remove_task(task)

    def whole(self, done: int, total: int, finished: int, count: int) -> None:
        if self._total is None:
            self._total = self._progress.add_task("total", total=total or None)
        # a plan may grow while it is done; more than the whole is never shown
        self._progress.update(
            self._total,
            completed=min(done, total) if total else done,
            total=total or None,
            description=f"total {finished}/{count}",
        )

    def note(self, text: str) -> None:
        self._progress.console.print(text, markup=False, soft_wrap=True)

    def refresh(self) -> None:
        """Draw now; it draws itself ten times a second."""
        self._progress.refresh()

    def close(self) -> None:
        self._progress.stop()
