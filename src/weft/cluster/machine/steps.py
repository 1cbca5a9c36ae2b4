"""The steps of coming up, told as they begin and end."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol


class Watcher(Protocol):
    """Who is told. Steps overlap; each is named by its text."""

    def begin(self, step: str) -> None:
        """A step has begun."""

    def end(self, step: str, seconds: float, note: str) -> None:
        """A step is done, after so many seconds; the note says what it found (`already runs`), if anything."""


class Step:
    """One step under way; set `note` to say more about its end."""

    def __init__(self) -> None:
        self.note = ""


class Steps:
    """Tells a watcher of each step, with its time by the given clock (seconds)."""

    def __init__(self, watcher: Watcher, clock: Callable[[], float]) -> None:
        self._watcher, self._clock = watcher, clock

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """The body is the step; if it raises, the step never ends."""
        self._watcher.begin(name)
        begun = self._clock()
        step = Step()
        yield step
        self._watcher.end(name, self._clock() - begun, step.note)
