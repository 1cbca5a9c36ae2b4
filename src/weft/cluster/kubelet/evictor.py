"""Looks at what pods write and at what is left of the machine, and ends pods where it must."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from weft.adapters.cri.client import CriError
from weft.adapters.cri.types import Container
from weft.cluster.kubelet import evictions, pressure
from weft.cluster.kubelet.evictions import Measured
from weft.cluster.kubelet.pods import Pods
from weft.cluster.kubelet.pressure import Room
from weft.cluster.kubelet.station import Pod, Station
from weft.cluster.kubelet.stats import ContainerUse
from weft.cluster.kubelet.worker import Worker

_PERIOD = 10.0  # seconds between looks
_log = logging.getLogger(__name__)


class Evictor:
    """One node's evictions. `room` tells what is left of the machine."""

    def __init__(self, station: Station, pods: Pods, room: Callable[[], Room]) -> None:
        self._station, self._pods, self._room = station, pods, room

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            try:
                await self.look()
            except (CriError, OSError) as error:
                _log.warning("looking for pods to evict: %s", error)
            await asyncio.sleep(_PERIOD)

    async def look(self) -> None:
        """End the pods that have written more than they may, and one where the machine is short of something."""
        shortages = pressure.shortages(self._room())
        if any(each.resource == "ephemeral-storage" for each in shortages):
            await self._station.images.collect(self._used())
            shortages = pressure.shortages(self._room())
        workers = [each for each in self._pods.workers() if each.active]
        wanted = workers if shortages else [each for each in workers if evictions.has_limits(each.pod)]
        if not wanted:
            return
        usages = await self._station.runtime.usages()
        left = []
        for worker in wanted:
            running = list(worker.seen.latest().values())
            found = [ContainerUse(each, usages[each.id], 0.0) for each in running if each.id in usages]
            measured = await asyncio.to_thread(self._measure, worker.pod, worker.maker.logs, found)
            if why := evictions.over_limits(measured):
                worker.evict(why)
            else:
                left.append((worker, measured))
        self._relieve(shortages, left)

    @staticmethod
    def _relieve(shortages: Iterable[pressure.Shortage], pods: list[tuple[Worker, Measured]]) -> None:
        for shortage in shortages:
            chosen = evictions.victim(shortage, [measured for _, measured in pods])
            for worker, measured in pods:
                if measured is chosen:
                    worker.evict(evictions.message(shortage, measured))
                    return

    def _used(self) -> set[str]:
        """The names and ids of images that must stay."""
        workers = self._pods.workers()
        specs = [spec for worker in workers for spec in (*worker.pod["spec"]["containers"], *_inits(worker.pod))]
        containers: list[Container] = [each for worker in workers for each in worker.seen.containers]
        return {spec["image"] for spec in specs} | {each.image_id for each in containers}

    def _measure(self, pod: Pod, logs: Path, found: list[ContainerUse]) -> Measured:
        folder = self._station.pod_folder(pod["metadata"]["uid"]) / "volumes"
        on_disk = [
            volume["name"]
            for volume in pod["spec"].get("volumes") or ()
            if (empty := volume.get("emptyDir")) is not None and empty.get("medium") != "Memory"
        ]
        return Measured(
            pod=pod,
            memory={each.container.name: each.usage.memory for each in found},
            files={each.container.name: each.usage.written + size(logs / each.container.name) for each in found},
            volumes={name: size(folder / name) for name in on_disk},
        )


def size(folder: Path) -> int:
    """The bytes of disk below a folder; what goes away meanwhile is not counted."""
    total, seen = 0, set()
    for at, folders, names in os.walk(folder):
        for name in (*folders, *names):
            with contextlib.suppress(OSError):
                found = Path(at, name).lstat()
                if found.st_ino not in seen:
                    seen.add(found.st_ino)
                    total += found.st_blocks * 512
    return total


def _inits(pod: Pod) -> list[dict[str, str]]:
    return list(pod["spec"].get("initContainers") or ())
