"""What pods and the node use, looked at regularly, so that processor time has a rate whenever it is asked for."""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from weft.adapters.cri.client import CriError
from weft.adapters.cri.types import State
from weft.cluster.kubelet import machine_use
from weft.cluster.kubelet.pods import Pods
from weft.cluster.kubelet.station import Station
from weft.cluster.kubelet.stats import ContainerUse, NodeUse, PodUse, cores

_PERIOD = 15.0  # seconds between samples (metrics-server's resolution)


@dataclass(frozen=True, slots=True)
class _Sample:
    """Seconds of processor time, of the node and by container, and when they were read, in epoch seconds."""

    at: float
    node: float
    containers: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Use:
    """One look: the node and its pods. `window` is over how many seconds the node's rate was taken."""

    node: NodeUse
    pods: tuple[PodUse, ...]
    window: float


class Meter:
    """Measures one node. Rates are over the time since the last sample but one: between one and two periods."""

    def __init__(self, station: Station, pods: Pods) -> None:
        self._station, self._pods = station, pods
        now = machine_use.look(station.node.name, station.clock())
        self._base = self._last = _Sample(now.at, now.cpu)

    async def run(self) -> None:
        """Take samples, for ever."""
        while True:
            with contextlib.suppress(CriError):
                await self.sample()
            await asyncio.sleep(_PERIOD)

    async def sample(self) -> None:
        """Take one sample."""
        usages = await self._station.runtime.usages()
        node = machine_use.look(self._station.node.name, self._station.clock())
        taken = {container: (usage.at, usage.cpu) for container, usage in usages.items()}
        self._base, self._last = self._last, _Sample(node.at, node.cpu, taken)

    async def look(self) -> Use:
        """What is used now. CriError where the runtime does not answer."""
        usages = await self._station.runtime.usages()
        base = self._base
        node = machine_use.look(self._station.node.name, self._station.clock())
        pods = []
        for worker in self._pods.workers():
            found = []
            for container in worker.seen.latest().values():
                usage = usages.get(container.id)
                if usage is None or container.state is not State.RUNNING:
                    continue
                # one that is younger than the sample has used nothing before it began
                began, spent = base.containers.get(container.id, (container.started, 0.0))
                found.append(ContainerUse(container, usage, cores(usage.cpu - spent, usage.at - began)))
            pods.append(PodUse(worker.pod, tuple(found)))
        window = node.at - base.at
        return Use(replace(node, cores=cores(node.cpu - base.node, window)), tuple(pods), window)
