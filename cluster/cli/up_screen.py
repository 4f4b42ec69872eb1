"""Where the words of ``up`` go: bars on a terminal, plain lines elsewhere.

Owns ``Screen`` and its two kinds. A log gets one line of progress a second; a terminal gets three bars, drawn ten
times a second by rich, which is imported only then and in a thread: it takes 0.1 s, in which the cluster starts.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TextIO

import trio

from cluster.cli.up_output import Goal, progress_line
from cluster.convergence import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


class Screen(Protocol):
    """A context: what is drawn in place is gone, or stays as it last was, when it is left."""

    interval: float  # seconds between two calls of ``progress``

    async def __aenter__(self) -> Screen: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def progress(self, seconds: float, progress: Progress, goal: Goal) -> None: ...

    def line(self, text: str) -> None:
        """A line that stays, above what is drawn in place."""


class PlainScreen:
    interval = 1.0

    def __init__(self, out: TextIO) -> None:
        self._out = out

    async def __aenter__(self) -> PlainScreen:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def progress(self, seconds: float, progress: Progress, goal: Goal) -> None:
        self.line(progress_line(seconds, progress, goal))

    def line(self, text: str) -> None:
        print(text, file=self._out, flush=True)


class BarScreen:
    interval = 0.1

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._bars: Bars | None = None
        self._tasks: tuple[TaskID, ...] = ()

    async def __aenter__(self) -> BarScreen:
        self._bars = await trio.to_thread.run_sync(_make_bars, self._out)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def progress(self, seconds: float, progress: Progress, goal: Goal) -> None:
        if self._bars is None:
            return
        if not self._tasks:
            self._tasks = tuple(
                self._bars.add_task(name, total=0, unit=unit)
                for name, unit in (("nodes", ""), ("sessions", "Established"), ("routes", "in the FIBs"))
            )
            self._bars.start()
        done = (progress.nodes, progress.session_ends // 2, progress.routes)
        for task, now, total in zip(self._tasks, done, (goal.nodes, goal.sessions, goal.routes), strict=True):
            self._bars.update(task, completed=now, total=total)
        self._bars.refresh()

    def line(self, text: str) -> None:
        if self._bars is None:
            print(text, file=self._out, flush=True)
        else:
            self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _make_bars(out: TextIO) -> Bars:
    from rich.console import Console  # 0.1 s, for a terminal only
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(
        TextColumn("  {task.description:<9}"),
        BarColumn(bar_width=20),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} {task.fields[unit]}"),
        console=Console(file=out),
        auto_refresh=False,  # no thread of its own
    )
