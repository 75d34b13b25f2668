"""Bars by rich. Imported only on a terminal, when there is something to draw."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column, Table
from rich.text import Text

_WIDE = 60  # columns: in fewer there is no room for speed and time beside a bar
# what a terminal writes behind the last line when Ctrl-C is typed; it must not begin a line that rich knows nothing of
_ECHO = len("^C")


class Display:
    """The live part of the screen. Not thread-safe by itself: `progress.Bars` holds a lock.

    `notice` may be set from a signal handler: the thread that draws shows it below the bars.
    """

    def __init__(self, stream: TextIO, notice: str = "") -> None:
        console = Console(file=stream, stderr=True, highlight=False)
        self._progress = _Progress(console, notice)
        self._tasks: dict[str, TaskID] = {}
        self._total: TaskID | None = None
        self._progress.start()

    @property
    def notice(self) -> str:
        return self._progress.notice

    @notice.setter
    def notice(self, text: str) -> None:
        self._progress.notice = text

    @property
    def height(self) -> int:
        """Lines that it takes."""
        lines = len(self._tasks) + (self._total is not None) + bool(self.notice)
        return min(lines, self._progress.console.height)

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


class _Progress(Progress):
    """One line a task, however narrow the terminal is at that moment."""

    def __init__(self, console: Console, notice: str) -> None:
        self.notice = notice
        self._screen = console  # drawn for the first time before rich has its own name for it
        super().__init__(console=console, transient=True, refresh_per_second=10, expand=True)

    def make_tasks_table(self, tasks: Iterable[Task]) -> Table:
        self.columns = _columns(wide=self._screen.width >= _WIDE)
        return super().make_tasks_table(tasks)

    def get_renderables(self) -> Iterable[RenderableType]:
        for each in super().get_renderables():
            yield _Inset(each)
        if self.notice:
            yield Text(self.notice, no_wrap=True, overflow="ellipsis")


class _Inset:
    """What it is given, ending a little before the right edge."""

    def __init__(self, inside: RenderableType) -> None:
        self._inside = inside

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from console.render(self._inside, options.update_width(max(1, options.max_width - _ECHO - 1)))


def _columns(*, wide: bool) -> tuple[ProgressColumn, ...]:
    line = Column(no_wrap=True)
    columns: tuple[ProgressColumn, ...] = (
        TextColumn("{task.description}", markup=False, table_column=line),
        BarColumn(bar_width=None),
        DownloadColumn(table_column=line),
    )
    if not wide:
        return columns
    return (*columns, TransferSpeedColumn(table_column=line), TimeRemainingColumn(compact=True, table_column=line))
