"""The progress of `weft up`: live on a terminal, one line per step elsewhere."""

import os
import sys
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class Steady(Console):
    """Standard output that may end before we do (`weft up | head -1`, a full disk): what was begun goes on."""

    def print(self, *objects: Any, **how: Any) -> None:
        """As rich prints; what cannot be written is dropped, and all that follows."""
        try:
            super().print(*objects, **how)
        except OSError:
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        """Rich's own ends the program here."""
        self.quiet = True
        # Python flushes at its end, and would complain then
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


class Display(Protocol):
    """A watcher of steps that is also a context: the display lasts as long as the body."""

    def begin(self, step: str) -> None:
        """A step has begun."""

    def end(self, step: str, seconds: float, note: str) -> None:
        """A step is done."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def display(console: Console) -> Display:
    """The one that suits the console."""
    return Live(console) if console.is_terminal else Plain(console)


def _done(step: str, seconds: float, note: str) -> str:
    return f"{step} ({seconds:.1f} s){f': {note}' if note else ''}"


class Plain:
    """For logs and pipes: a line when a step is done."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def begin(self, step: str) -> None:
        """Nothing yet."""

    def end(self, step: str, seconds: float, note: str) -> None:
        """One line."""
        self._console.print(f"  {_done(step, seconds, note)}", highlight=False, markup=False, soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to end."""


class Live:
    """For people: a spinner for what is under way, a tick for what is done."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._console = console
        self._tasks: dict[str, TaskID] = {}

    def begin(self, step: str) -> None:
        """A spinner."""
        self._tasks[step] = self._progress.add_task(step, total=1)

    def end(self, step: str, seconds: float, note: str) -> None:
        """The spinner becomes a line that stays."""
        self._progress.remove_task(self._tasks.pop(step))
        line = _done(step, seconds, note).replace("[", r"\[")
        self._progress.console.print(f"[green]✓[/] {line}", highlight=False)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
