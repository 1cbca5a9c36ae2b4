"""A node process under test, with folders that stand for a node's."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import yaml

from weft.processes.cni import settings
from weft.processes.cni.health import Health
from weft.processes.cni.installing import Installer
from weft.processes.cni.metrics import Registry
from weft.processes.cni.settings import Settings


class Node:
    """The folders of a node, and what the node process is told of them."""

    def __init__(self, folder: Path, *arguments: str, server: str = "https://10.96.0.1:443") -> None:
        self.net, self.bin, self.run = folder / "net.d", folder / "bin", folder / "run"
        self.kubeconfig = folder / "kubeconfig"
        self.net.mkdir(exist_ok=True)
        self.write_kubeconfig(server, "first")
        self.folders = [
            *("--mounted-cni-net-dir", str(self.net)),
            *("--mounted-cni-bin-dir", str(self.bin)),
            *("--mounted-cni-agent-run-dir", str(self.run)),
            *("--host-root", "/"),
        ]
        self.arguments = ["--kubeconfig", str(self.kubeconfig), *self.folders, *arguments]
        self.health, self.registry = Health(), Registry()

    def settings(self) -> Settings:
        return settings.parse(self.arguments, {}, host="machine")

    def write_kubeconfig(self, server: str, token: str) -> None:
        config = {
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        self.kubeconfig.write_text(yaml.safe_dump(config))

    @contextlib.asynccontextmanager
    async def installing(self) -> AsyncIterator[None]:
        """The installer at work."""
        installer = Installer(self.settings(), self.health.expect("installer"), self.registry)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(installer.run())
            yield
            task.cancel()

    def metric(self, name: str) -> float:
        lines = self.registry.text().splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} ")), -1)

    async def installed(self) -> None:
        await until(lambda: not self.health.waiting)

    def waits_for(self) -> str:
        return self.health.waiting.get("installer", "")


async def until(check: Callable[[], bool], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not check():
            await asyncio.sleep(0.02)
