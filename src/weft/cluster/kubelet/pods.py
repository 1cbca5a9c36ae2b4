"""All pods of one node: a worker each, woken by what the API and the runtime tell."""

import asyncio
import contextlib
import logging
from collections.abc import Iterable

from weft.adapters.cri.client import CriError
from weft.adapters.cri.types import Sandbox, State
from weft.cluster.kubelet import logs, refusals
from weft.cluster.kubelet.operations import clean
from weft.cluster.kubelet.refusals import Refusal
from weft.cluster.kubelet.station import Pod, Station
from weft.cluster.kubelet.worker import Worker

_log = logging.getLogger(__name__)
_ORPHAN_RETRIES = (0.2, 1.0, 5.0, 30.0)  # seconds
_RELIST = 10.0  # seconds between looks at everything, should an event ever be missed
# CRI hears of an exit by the same event as we do, and may take a moment longer to note it
_AGAIN = (0.02, 0.1, 1.0)


class Pods:
    """The pods of one node. `apply`, `delete` and `replace` say what the API has; `run` does the rest."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._workers: dict[str, Worker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._orphans: set[asyncio.Task[None]] = set()

    def find(self, namespace: str, name: str, uid: str = "") -> Worker | None:
        """The worker of a pod by its name (the one that is not about to go, if there are two)."""
        found = [
            worker
            for worker in self._workers.values()
            if worker.pod["metadata"]["namespace"] == namespace
            and worker.pod["metadata"]["name"] == name
            and uid in {"", worker.pod["metadata"]["uid"]}
        ]
        return min(found, key=lambda worker: worker.notes.terminating, default=None)

    def workers(self) -> tuple[Worker, ...]:
        """The workers of all pods."""
        return tuple(self._workers.values())

    def apply(self, pod: Pod) -> None:
        """A pod of this node is new or changed."""
        uid = pod["metadata"]["uid"]
        if uid in self._workers:
            self._workers[uid].update(pod)
            return
        worker = Worker(self._station, pod)
        # what has begun was let in before, by us or by the kubelet before us
        if not (pod.get("status") or {}).get("startTime") and (why := self._no_room(pod)) is not None:
            worker.reject(why)
        self._workers[uid] = worker
        task = self._tasks[uid] = asyncio.create_task(worker.run())
        task.add_done_callback(lambda done: self._ended(uid, done))

    def _no_room(self, pod: Pod) -> Refusal | None:
        others = [worker.pod for worker in self._workers.values() if worker.active]
        return refusals.no_room(pod, others, self._station.node.room())

    def delete(self, pod: Pod) -> None:
        """A pod's object is gone: so shall be what runs of it."""
        worker = self._workers.get(pod["metadata"]["uid"])
        if worker is not None:
            forced = pod["metadata"].get("deletionGracePeriodSeconds") == 0
            worker.end(1 if forced else worker.notes.grace)

    async def replace(self, pods: Iterable[Pod]) -> None:
        """The whole set of this node's pods, after a list. What runs of others is removed."""
        wanted = {pod["metadata"]["uid"]: pod for pod in pods}
        for pod in wanted.values():
            self.apply(pod)
        for uid, worker in list(self._workers.items()):
            if uid not in wanted:
                worker.end(worker.notes.grace)
        sandboxes = await self._station.runtime.sandboxes()
        self._sweep({*self._workers, *(sandbox.uid for sandbox in sandboxes)})
        for sandbox in sandboxes:
            if sandbox.uid not in self._workers:
                task = asyncio.create_task(self._remove_orphan(sandbox))
                self._orphans.add(task)
                task.add_done_callback(self._orphans.discard)

    async def run(self) -> None:
        """Wake workers when their containers end, for ever. Cancelled, it leaves every container running."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._listen())
                group.create_task(self._relist())
        finally:
            tasks = [*self._tasks.values(), *self._orphans]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def idle(self) -> None:
        """Wait until no pod is left."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    async def _listen(self) -> None:
        while True:
            try:
                async for container in self._station.runtime.exits():
                    self._heard(container)
            except CriError as error:
                _log.warning("containerd's events: %s", error)
                await asyncio.sleep(1.0)
                self._wake(self._workers.values())

    def _heard(self, container: str) -> None:
        concerned = [worker for worker in self._workers.values() if _has(worker, container)]
        workers = concerned or list(self._workers.values())
        self._wake(workers)
        loop = asyncio.get_running_loop()
        for delay in _AGAIN:
            loop.call_later(delay, self._wake, workers)

    @staticmethod
    def _wake(workers: Iterable[Worker]) -> None:
        for worker in workers:
            worker.wake()

    async def _relist(self) -> None:
        before: dict[str, frozenset[tuple[str, str]]] = {}
        runtime = self._station.runtime
        while True:
            await asyncio.sleep(_RELIST)
            try:
                sandboxes, containers = await asyncio.gather(runtime.sandboxes(), runtime.containers())
            except CriError as error:
                _log.warning("listing containers: %s", error)
                continue
            now: dict[str, set[tuple[str, str]]] = {uid: set() for uid in self._workers}
            for sandbox in sandboxes:
                now.setdefault(sandbox.uid, set()).add((sandbox.id, str(sandbox.ready)))
            for container in containers:
                now.setdefault(container.uid, set()).add((container.id, container.state))
            frozen = {uid: frozenset(found) for uid, found in now.items()}
            self._wake(worker for uid, worker in self._workers.items() if frozen[uid] != before.get(uid))
            before = frozen
            await self.turn_over_logs()

    async def turn_over_logs(self, largest: int = logs.LARGEST) -> None:
        """Begin new logs where they have grown to `largest` bytes."""
        for worker in list(self._workers.values()):
            for container in worker.seen.containers:
                path = worker.maker.logs / container.name / f"{container.attempt}.log"
                if container.state == State.RUNNING and logs.turn_over(path, self._station.clock(), largest):
                    with contextlib.suppress(CriError):
                        await self._station.runtime.reopen_log(container.id)

    def _sweep(self, known: set[str]) -> None:
        """Remove the files of pods that are neither wanted nor running: a machine that stopped left them."""
        for folder in self._station.pod_folder("x").parent.glob("*"):
            if folder.name not in known:
                for of_pod in self._station.logs.glob(f"*_{folder.name}"):
                    clean(self._station, folder.name, of_pod)
                clean(self._station, folder.name, folder)

    async def _remove_orphan(self, sandbox: Sandbox) -> None:
        runtime = self._station.runtime
        for wait in _ORPHAN_RETRIES:
            try:
                await runtime.stop_sandbox(sandbox.id)
                await runtime.remove_sandbox(sandbox.id)
                break
            except CriError as error:
                # such as a container that was just being started when the kubelet before us ended
                _log.warning("removing what is left of pod %s/%s: %s", sandbox.namespace, sandbox.name, error)
            await asyncio.sleep(wait)
        else:
            return
        logs = self._station.logs / f"{sandbox.namespace}_{sandbox.name}_{sandbox.uid}"
        clean(self._station, sandbox.uid, logs)

    def _ended(self, uid: str, task: asyncio.Task[None]) -> None:
        self._tasks.pop(uid, None)
        self._workers.pop(uid, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("the worker of pod %s ended by %r", uid, error, exc_info=error)


def _has(worker: Worker, container: str) -> bool:
    ids = {each.id for each in worker.seen.containers} | {each.id for each in worker.seen.sandboxes}
    return container in ids
