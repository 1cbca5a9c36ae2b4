"""The API server as the process that `weft up` runs: to be flooded, limited and killed."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from tests.cluster.apiserver.servers import Home

from weft.adapters.kube.client import ApiError, Kube


@dataclass(frozen=True)
class Running:
    """A running server, by its process."""

    home: Home
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def files(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    @property
    def memory(self) -> float:
        """Resident MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)


def command(home: Home, port: int) -> list[str]:
    """The command line of a server that serves and does nothing else."""
    server = [sys.executable, "-m", "weft", "apiserver", "--home", str(home.path)]
    return [*server, "--bind", f"127.0.0.1:{port}", "--without-controllers"]


@asynccontextmanager
async def running(home: Home, *, files: int = 0) -> AsyncIterator[Running]:
    """The server, ready; ended with the block. `files`: how many it may open at first."""

    # not by a function that runs between fork and exec: gRPC's handlers of forks would run there too
    limit = ["prlimit", f"--nofile={files}:"] if files else []
    log = home.path / "apiserver.log"
    with log.open("ab") as errors:
        process = subprocess.Popen([*limit, *command(home, home.port)], stderr=errors)  # noqa: ASYNC220 -- returns at once
    try:
        await ready(home, process)
        yield Running(home, process, log)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


async def ready(home: Home, process: subprocess.Popen[bytes]) -> None:
    async with asyncio.timeout(30), Kube(home.access) as kube:
        while True:
            assert process.poll() is None, (home.path / "apiserver.log").read_text()
            try:
                await kube.call("GET", "/api/v1/namespaces/default")
            except (ApiError, OSError, aiohttp.ClientError):
                await asyncio.sleep(0.05)  # another process tells nobody that it is ready
            else:
                return


async def until(condition: Callable[[], bool], *, seconds: float = 30) -> None:
    """Wait for what the kernel or another process tells nobody."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)
