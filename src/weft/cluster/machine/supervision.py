"""Starting the cluster's processes, keeping what runs, and noticing what dies."""

import asyncio
from collections.abc import Mapping

from weft.adapters import files, processes
from weft.adapters.processes import Identity
from weft.cluster.machine.commands import Command
from weft.cluster.machine.trouble import Trouble, UpError


class Supervisor:
    """The processes of one `up`: those that ran before, and those that it started."""

    def __init__(self, before: Mapping[str, Identity]) -> None:
        self.running: dict[str, Identity] = {name: one for name, one in before.items() if processes.alive(one)}
        self.started: list[Identity] = []
        self._logs: dict[str, Command] = {}

    def ensure(self, command: Command) -> bool:
        """Start a process unless it runs; True where it was started."""
        self._logs[command.name] = command
        if command.name in self.running:
            return False
        try:
            identity = processes.start(command.words, log=command.log)
        except processes.EndedError as error:
            raise UpError(self._death(command.name)) from error
        except OSError as error:
            raise UpError(Trouble(f"{command.name} does not start: {error}.", f"See {command.log}")) from error
        self.running[command.name] = identity
        self.started.append(identity)
        return True

    def check(self) -> None:
        """UpError where one of the processes has ended."""
        for name in self._logs:
            if not processes.alive(self.running[name]):
                raise UpError(self._death(name))

    async def guard(self) -> None:
        """Check for ever, a few times a second."""
        while True:
            self.check()
            await asyncio.sleep(0.1)

    def _death(self, name: str) -> Trouble:
        command = self._logs[name]
        said = files.last_lines(command.log, 1, keep=bool)
        reason = f": {said[0].strip()[:300]}" if said else ""
        return Trouble(f"{name} ended{reason or '.'}", f"Its log: {command.log}")
