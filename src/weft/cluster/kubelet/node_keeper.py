"""Keeps the Node object and its lease fresh: two loops, so that a slow runtime does not make a node look dead."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from weft.adapters.cri.client import CriError, Runtime
from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import LEASES, NODES
from weft.cluster.kubelet import node_object, pressure
from weft.cluster.kubelet.node_object import Machine, Registration, State
from weft.cluster.kubelet.recorder import Event, Recorder

Json = dict[str, Any]
_BEAT = 10.0  # seconds between renewals of the lease, and between looks at the node
_SOON = 0.5  # seconds between looks at a node that is not ready
_REPORT = 300.0  # seconds after which an unchanged status is written again (nodeStatusReportFrequency)
_ANSWER = 5.0  # seconds that the runtime gets for an answer
_SILENCE = 30.0  # seconds for which a silent runtime is taken to be well
_TROUBLE = (ApiError, aiohttp.ClientError, OSError, TimeoutError)
_log = logging.getLogger(__name__)


class Health:
    """What a runtime lacks, where it says so; one that is silent is well for half a minute more."""

    def __init__(self, runtime: Runtime, clock: Callable[[], float], silence: float = _SILENCE) -> None:
        self._runtime, self._clock, self._silence = runtime, clock, silence
        self._answered, self._lacking = clock(), dict[str, str]()

    async def look(self) -> Mapping[str, str]:
        """Condition (`RuntimeReady`, `NetworkReady`) to what is wrong with it; empty when all is well."""
        try:
            async with asyncio.timeout(_ANSWER):
                self._lacking = await self._runtime.conditions()
        except (CriError, TimeoutError) as error:
            _log.warning("containerd does not tell how it is: %s", error or "no answer")
            if self._clock() - self._answered > self._silence:
                return {"": "container runtime is down"}
        else:
            self._answered = self._clock()
        return self._lacking


@dataclass(slots=True)
class Keeper:
    """One node. `folder` is where pods' files lie."""

    kube: Kube
    runtime: Runtime
    who: Registration
    machine: Machine
    folder: Path
    clock: Callable[[], float]
    recorder: Recorder
    health: Health
    beat: float = _BEAT
    _uid: str = ""
    _registered: asyncio.Event = field(default_factory=asyncio.Event)
    _reported: float = 0.0

    async def run(self) -> None:
        """Register the node and keep its status and lease fresh, for ever; what fails is tried again."""
        self.recorder.tell_node(Event("Starting", "Starting kubelet."))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._always(self._look))
            await self._registered.wait()
            group.create_task(self._always(self._renew))

    async def _always(self, work: Callable[[], Awaitable[float]]) -> None:
        """Do some work again and again, each time after as many seconds as it says."""
        delay = 0.2
        while True:
            try:
                delay = await work()
            except _TROUBLE as error:
                _log.warning("node %s: the API server: %s", self.who.name, error)
                delay = min(delay * 2, self.beat)
            await asyncio.sleep(delay)

    async def _look(self) -> float:
        # read every time: the node controller writes over our status when we have been silent
        node = await self._node()
        self._uid = node["metadata"]["uid"]
        self._registered.set()
        told: Json = node.get("status") or {}
        state = State(await self.health.look(), pressure.look(self.folder), await self._images(told))
        now = self.clock()
        fresh = node_object.status(self.who, self.machine, state, told, now)
        if node_object.lasting(fresh) != node_object.lasting(told) or now - self._reported >= _REPORT:
            await self.kube.patch(NODES, self.who.name, {"status": fresh}, subresource="status")
            self._reported = now
        for reason in node_object.turns(told, fresh):
            self.recorder.tell_node(Event(reason, f"Node {self.who.name} status is now: {reason}"))
        # one that is not ready will be in a moment, and nobody should wait for the next beat
        return _SOON if state.lacking else self.beat

    async def _images(self, told: Json) -> list[Json]:
        try:
            async with asyncio.timeout(_ANSWER):
                return node_object.images(await self.runtime.images())
        except (CriError, TimeoutError):
            return list(told.get("images") or ())

    async def _node(self) -> Json:
        """The Node object; made where there is none, and brought up to date when this kubelet begins."""
        if self._uid:
            try:
                return await self.kube.get(NODES, self.who.name)
            except ApiError as error:
                if error.code != 404:
                    raise
        wanted = node_object.node(self.who.name, self.who.pod_cidr, self.machine)
        try:
            return await self.kube.create(NODES, wanted)
        except ApiError as error:
            if error.code != 409:
                raise
            return await self.kube.patch(NODES, self.who.name, {"metadata": wanted["metadata"]})

    async def _renew(self) -> float:
        wanted = node_object.lease(self.who.name, self._uid, self.clock())
        try:
            await self.kube.patch(LEASES, self.who.name, {"spec": wanted["spec"]}, wanted["metadata"]["namespace"])
        except ApiError as error:
            if error.code != 404:
                raise
            await self.kube.create(LEASES, wanted)  # the server made their namespace when it began
        return self.beat
