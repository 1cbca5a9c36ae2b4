"""A node process's server for the plugin, with pods of a real API server."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.processes.cni.api import NODE, Json, create

from weft.adapters import clock
from weft.adapters.kube.client import Kube
from weft.processes.cni.attaching import Attaching
from weft.processes.cni.metrics import Registry
from weft.processes.cni.pods import Pods
from weft.processes.cni.telling import Teller

SYSTEM = "istio-system"


@dataclass
class Node:
    """`folder` has the socket, `captured` are the UIDs of pods that were captured."""

    folder: Path
    kube: Kube
    pods: Pods
    registry: Registry
    captured: list[str]

    def config(self, version: str = "1.0.0", **keys: object) -> Json:
        """The network configuration that a runtime hands over."""
        made = {"cniVersion": version, "name": "pods", "type": "istio-cni", "cni_agent_run_dir": str(self.folder)}
        return made | {"plugin_log_level": "debug", "exclude_namespaces": ["kube-system"], **keys}


@contextlib.asynccontextmanager
async def serving(kube: Kube, folder: Path, patience: float = 30.0) -> AsyncIterator[Node]:
    registry, pods, teller = Registry(), Pods(kube, NODE), Teller(kube, NODE, clock.now)
    captured: list[str] = []
    attaching = Attaching(
        pods,
        teller,
        registry,
        time.monotonic,
        namespace=SYSTEM,
        excluded=frozenset({SYSTEM}),
        patience=patience,
        captured=captured.append,
    )
    tasks = [asyncio.create_task(each.run()) for each in (pods, teller)]
    try:
        async with attaching.serving(folder):
            yield Node(folder, kube, pods, registry, captured)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def injected(kube: Kube, name: str, annotations: Json | None = None, **fields: Any) -> Json:
    """A pod with a sidecar."""
    containers = [{"name": name, "image": "x"} for name in ("app", "istio-proxy")]
    status = {"sidecar.istio.io/status": "{}"}
    return await create(kube, name, status | (annotations or {}), containers=containers, **fields)


def namespaces_open() -> int:
    """How many network namespaces this process has open."""
    found = 0
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += str(each.readlink()).startswith("net:")
    return found
