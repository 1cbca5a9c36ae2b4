"""Workloads outside the cluster that register themselves: their WorkloadEntries come, stay and go with them."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

import aiohttp
import grpc

from weft.adapters.grpc_server import RefusedError
from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import WORKLOADENTRIES, WORKLOADGROUPS
from weft.api.decode import decode
from weft.api.workload_entry import HEALTH_CHECKED
from weft.api.workload_group import WorkloadGroup
from weft.model.auto_registration import (
    ASKED,
    CONNECTED,
    DISCONNECTED,
    GRACE,
    GROUP,
    HEARTBEAT,
    Arrival,
    connected,
    entry,
    is_over,
    refusal,
    stamp,
    with_health,
)
from weft.model.registered import Key
from weft.processes.controlplane.connection import Client

_TROUBLE = (ApiError, aiohttp.ClientError, OSError, TimeoutError)
_LOOK_EVERY = 60.0

log = logging.getLogger("weft.registering")


class Registrar:
    """Keeps the entries of connected workloads. `controller` is this istiod's name, `now` the time."""

    def __init__(self, kube: Kube, controller: str, now: Callable[[], datetime]) -> None:
        self._kube, self._controller, self._now = kube, controller, now
        self._here: dict[Key, int] = {}
        self._renewed = now()
        self._tasks: set[asyncio.Task[None]] = set()

    async def connected(self, client: Client) -> None:
        """A proxy has connected. Raises RefusedError if it asks for a registration that it may not have."""
        arrival = _arrival(client)
        if arrival is None:
            return
        key = (arrival.namespace, arrival.entry_name)
        try:
            await self._register(arrival)
        except _TROUBLE as error:
            raise RefusedError(
                grpc.StatusCode.UNAVAILABLE, f"the workload could not be registered: {error}"
            ) from error
        self._here[key] = self._here.get(key, 0) + 1

    def disconnected(self, client: Client) -> None:
        """A proxy that had connected is gone; returns at once."""
        arrival = _arrival(client)
        if arrival is None:
            return
        key = (arrival.namespace, arrival.entry_name)
        self._here[key] = self._here.get(key, 1) - 1
        if self._here[key] <= 0:
            del self._here[key]
            self._start(self._leave(key))

    def reported(self, client: Client, trouble: str | None) -> None:
        """A proxy has reported its workload's health; `trouble` None: it is well. Returns at once."""
        arrival = _arrival(client)
        if arrival is not None:
            self._start(self._write_health((arrival.namespace, arrival.entry_name), trouble))

    async def run(self) -> None:
        """Renew what is connected here, and take away what nobody is behind any more, for ever."""
        try:
            while True:
                await asyncio.sleep(_LOOK_EVERY)
                try:
                    await self.look()
                except _TROUBLE as error:
                    log.warning("the entries of workloads could not be looked through: %s", error)
        finally:
            self.close()

    async def look(self) -> None:
        """Renew and take away once; connection trouble is the caller's."""
        if self._now() - self._renewed >= HEARTBEAT:
            self._renewed = self._now()
            for key in list(self._here):
                await self._annotate(key, {CONNECTED: stamp(self._renewed)})
        for each in await self._kube.list(WORKLOADENTRIES):
            await self._end_if_over(each)

    @property
    def pending(self) -> bool:
        """Whether something is still to be written."""
        return bool(self._tasks)

    def close(self) -> None:
        """Leave what waits to others: they see the same in the entries."""
        for task in self._tasks:
            task.cancel()

    async def _register(self, arrival: Arrival) -> None:
        try:
            found = await self._kube.get(WORKLOADGROUPS, arrival.group, arrival.namespace)
        except ApiError as error:
            if error.code != 404:
                raise
            said = f"there is no WorkloadGroup {arrival.namespace}/{arrival.group}"
            raise RefusedError(grpc.StatusCode.NOT_FOUND, said) from error
        group = decode(WorkloadGroup, found)
        if not isinstance(group, WorkloadGroup):
            said = f"WorkloadGroup {arrival.namespace}/{arrival.group} is not valid: {group[0]}"
            raise RefusedError(grpc.StatusCode.FAILED_PRECONDITION, said)
        if why := refusal(arrival, group):
            raise RefusedError(grpc.StatusCode.PERMISSION_DENIED, why)
        made = entry(arrival, group, str(found["metadata"]["uid"]), self._controller, self._now())
        try:
            await self._kube.create(WORKLOADENTRIES, made)
            log.info("WorkloadEntry %s/%s registered", arrival.namespace, arrival.entry_name)
        except ApiError as error:
            if error.code != 409:
                raise
            await self._take_over(arrival, made)

    async def _take_over(self, arrival: Arrival, made: dict[str, Any]) -> None:
        """The workload has come back, or somebody has written an entry of this name, which stays as it is."""
        known = await self._kube.get(WORKLOADENTRIES, arrival.entry_name, arrival.namespace)
        if (known["metadata"].get("annotations") or {}).get(GROUP) != arrival.group:
            log.warning("WorkloadEntry %s/%s is somebody's own", arrival.namespace, arrival.entry_name)
            return
        annotations = {**connected(self._controller, self._now()), DISCONNECTED: None}
        patch = {"metadata": {"annotations": annotations}, "spec": made["spec"]}
        await self._kube.patch(WORKLOADENTRIES, arrival.entry_name, patch, arrival.namespace)

    async def _leave(self, key: Key) -> None:
        await self._annotate(key, {DISCONNECTED: stamp(self._now())})
        await asyncio.sleep(GRACE.total_seconds() + 1)  # stamps are whole seconds
        if key not in self._here:
            namespace, name = key
            await self._end_if_over(await self._kube.get(WORKLOADENTRIES, name, namespace))

    async def _end_if_over(self, known: dict[str, Any]) -> None:
        meta = known["metadata"]
        key = (str(meta.get("namespace", "")), str(meta["name"]))
        if key in self._here or not is_over(meta.get("annotations") or {}, self._now()):
            return
        # of the version that was looked at only: the workload may have come back to another istiod
        await self._kube.delete(WORKLOADENTRIES, key[1], key[0], uid=meta["uid"])
        log.info("WorkloadEntry %s/%s is over", *key)

    async def _write_health(self, key: Key, trouble: str | None) -> None:
        namespace, name = key
        known = await self._kube.get(WORKLOADENTRIES, name, namespace)
        if (known["metadata"].get("annotations") or {}).get(HEALTH_CHECKED) != "true":
            return
        conditions = with_health((known.get("status") or {}).get("conditions"), trouble, self._now())
        version = known["metadata"]["resourceVersion"]
        patch = {"metadata": {"resourceVersion": version}, "status": {"conditions": conditions}}
        await self._kube.patch(WORKLOADENTRIES, name, patch, namespace, subresource="status")

    async def _annotate(self, key: Key, annotations: dict[str, str]) -> None:
        namespace, name = key
        await self._kube.patch(WORKLOADENTRIES, name, {"metadata": {"annotations": annotations}}, namespace)

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(_told(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _told(work: Any) -> None:
    try:
        await work
    except ApiError as error:
        if error.code != 404:
            log.warning("an entry could not be kept: %s", error)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        log.warning("an entry could not be kept: %s", error)


def _arrival(client: Client) -> Arrival | None:
    """What a proxy asks to be registered as; None if it does not. Nobody may who has not proved who it is."""
    metadata = client.node.metadata
    group = str(metadata.get(ASKED) or "")
    if not group:
        return None
    if client.identity is None:
        said = "a workload that registers itself has to prove who it is: use the TLS port and a token"
        raise RefusedError(grpc.StatusCode.UNAUTHENTICATED, said)
    labels = metadata.get("LABELS")
    return Arrival(
        group=group,
        namespace=client.identity.namespace,
        service_account=client.identity.service_account,
        address=client.told_address,
        network=str(metadata.get("NETWORK") or ""),
        labels=tuple(sorted((str(key), str(value)) for key, value in labels.items())) if labels else (),
    )
