"""Starting again what of a cluster has died: a crashed API server, node process or containerd comes back alone.

What should run is what the record says, so what was stopped stays stopped. Whoever changes the cluster holds its
lock, and nothing is started meanwhile.
"""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from weft.adapters import files, processes
from weft.cluster.machine import commands, record, removal
from weft.cluster.machine.commands import Command
from weft.cluster.machine.layout import Layout
from weft.cluster.machine.record import Record, Started

NAME = "supervisor"
"""What it is called in the record, and its log."""

STEADY = 60.0
"""Seconds after which a process counts as one that works: its next end is the first again."""

_LONGEST = 60.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tally:
    """The ends of one process. Times are of a clock that only goes forward."""

    process: Started
    seen: float
    """When this process was first seen."""
    in_a_row: int = 0
    """How many before it ended without having been steady."""
    due: float | None = None
    """When it is started again; None while it runs."""


def delay(in_a_row: int) -> float:
    """Seconds to wait before another start: none at first, then 1, 2, 4 and so on up to a minute.

    >>> [delay(count) for count in (0, 1, 2, 3, 9)]
    [0.0, 1.0, 2.0, 4.0, 60.0]
    """
    return min(2.0 ** (in_a_row - 1), _LONGEST) if in_a_row else 0.0


def tally(before: Tally | None, process: Started, *, alive: bool, now: float) -> Tally:
    """What is known of a process after another look at it."""
    if before is None:
        before = Tally(process, seen=now)
    elif before.process != process:
        steady = (before.due or now) - before.seen >= STEADY
        before = Tally(process, seen=now, in_a_row=0 if steady else before.in_a_row + 1)
    if alive or before.due is not None:
        return before
    tried = 0 if now - before.seen >= STEADY else before.in_a_row
    return Tally(process, before.seen, tried, due=now + delay(tried))


class Keeper:
    """Looks after the processes of a home's record, in the network namespace that is the cluster's machine."""

    def __init__(
        self,
        home: Path,
        clock: Callable[[], float],
        plan: Callable[[Layout], Mapping[str, Command]] = commands.of,
    ) -> None:
        self._home, self._clock, self._plan = home, clock, plan
        self._tallies: dict[str, Tally] = {}

    def look(self) -> bool:
        """Start what has ended and is due; False where there is nothing left to look after."""
        held = record.load(self._home)
        if held is None or not _mine(held):
            return not self._dismissed()
        now = self._clock()
        self._tallies = {
            name: tally(self._tallies.get(name), one, alive=processes.alive(one.identity), now=now)
            for name, one in held.processes.items()
            if name != NAME
        }
        if any(one.due is not None and one.due <= now for one in self._tallies.values()):
            try:
                with files.locked(self._home / removal.LOCK):
                    self._restart(now)
            except files.LockedError:
                pass  # somebody works on the cluster: what is missing then is theirs, or seen at the next look
        return True

    def _dismissed(self) -> bool:
        """Whether the record is gone, or names another: for good, since nobody is about to write it."""
        try:
            with files.locked(self._home / removal.LOCK):
                held = record.load(self._home)
                return held is None or not _mine(held)
        except files.LockedError:
            return False

    def _restart(self, now: float) -> None:
        held = record.load(self._home)
        if held is None or not _mine(held):
            return
        plan = self._plan(held.layout())
        for name, known in self._tallies.items():
            gone = held.processes.get(name)
            if known.due is None or known.due > now or gone != known.process or name not in plan:
                continue
            if fresh := _start(plan[name], gone):
                held = msgspec.structs.replace(held, processes={**held.processes, name: fresh})
                record.save(self._home, held)


def _start(command: Command, gone: Started) -> Started | None:
    said = files.last_lines(command.log, 1)
    try:
        identity = processes.start(command.words, log=command.log)
    except OSError as error:
        _log.error("%s does not start: %s", command.name, error)
        return None
    _log.warning(
        "%s (pid %d) ended%s; started again as pid %d",
        command.name,
        gone.pid,
        f", its last line: {said[0].strip()[:300]}" if said else "",
        identity.pid,
    )
    return Started(identity.pid, identity.started, gone.restarts + 1)


def _mine(held: Record) -> bool:
    """Whether this process is the one that looks after the cluster, and no other."""
    mine = held.processes.get(NAME)
    return mine is not None and mine.pid == os.getpid() and processes.alive(mine.identity)
