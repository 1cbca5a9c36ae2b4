"""The loops that make objects true."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from weft.adapters.kube.client import Json, Kube
from weft.adapters.kube.kinds import (
    CONFIGMAPS,
    CONTROLLERREVISIONS,
    CRONJOBS,
    DAEMONSETS,
    DEPLOYMENTS,
    ENDPOINTS,
    ENDPOINTSLICES,
    JOBS,
    LEASES,
    NAMESPACES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODS,
    REPLICASETS,
    SECRETS,
    SERVICEACCOUNTS,
    SERVICES,
    STATEFULSETS,
    STORAGECLASSES,
    Kind,
)
from weft.cluster.controllers.cache import Cache
from weft.cluster.controllers.changes import Create, Performer
from weft.cluster.controllers.cronjobs import CronJobs
from weft.cluster.controllers.daemonsets import DaemonSets
from weft.cluster.controllers.deployments import Deployments
from weft.cluster.controllers.endpoints import EndpointsController
from weft.cluster.controllers.evictions import PodCollector, TaintEvictions
from weft.cluster.controllers.garbage import Garbage
from weft.cluster.controllers.jobs import Jobs
from weft.cluster.controllers.loop import Controller, Runner
from weft.cluster.controllers.mirroring import Mirroring
from weft.cluster.controllers.namespaces import Emptier, Namespaces
from weft.cluster.controllers.nodelife import NodeLife
from weft.cluster.controllers.replicasets import ReplicaSets
from weft.cluster.controllers.scheduler import Scheduler
from weft.cluster.controllers.statefulsets import StatefulSets
from weft.cluster.controllers.volumes import Claims, VolumeGuards, Volumes, default_class

_OWNED = (
    PODS,
    REPLICASETS,
    DEPLOYMENTS,
    DAEMONSETS,
    STATEFULSETS,
    CONTROLLERREVISIONS,
    JOBS,
    CRONJOBS,
    SERVICES,
    ENDPOINTS,
    ENDPOINTSLICES,
    CONFIGMAPS,
    SECRETS,
    SERVICEACCOUNTS,
    PERSISTENTVOLUMECLAIMS,
)
_KINDS = (*_OWNED, NAMESPACES, NODES, LEASES, PERSISTENTVOLUMES, STORAGECLASSES)


async def run(kube: Kube, *, clock: Callable[[], datetime], volumes: Path) -> None:
    """Run every controller against an API server, for ever. `volumes` is where claims get their folders."""
    controllers: list[Controller] = [
        Deployments(),
        ReplicaSets(),
        DaemonSets(),
        StatefulSets(),
        Jobs(),
        CronJobs(),
        EndpointsController(),
        Mirroring(),
        Scheduler(),
        Claims(volumes),
        Volumes(volumes),
        VolumeGuards(),
        NodeLife(clock()),
        TaintEvictions(),
        PodCollector(),
        Namespaces(kube.access.ca),
        Garbage(_OWNED),
    ]
    # refused where it is there already, from an earlier start
    performer = Performer(kube)
    await performer.perform([Create(STORAGECLASSES, default_class())], clock())
    runners: list[Runner] = []
    async with asyncio.TaskGroup() as tasks:
        emptier = Emptier(kube, tasks)

        def changed(kind: Kind, obj: Json) -> None:
            emptier.changed(kind, obj)
            for runner in runners:
                runner.changed(kind, obj)

        caches = {kind: Cache(kind, changed) for kind in _KINDS}
        synced = {kind: asyncio.Event() for kind in _KINDS}
        for kind in _KINDS:
            tasks.create_task(_follow(kube, caches[kind], synced[kind]))
        # a controller that saw pods but not yet their ReplicaSets would take them for orphans
        await asyncio.gather(*(event.wait() for event in synced.values()))
        runners += [Runner(controller, performer, caches, clock) for controller in controllers]
        for cache in caches.values():
            for obj in cache:
                changed(cache.kind, obj)
        for runner in runners:
            tasks.create_task(runner.run())


async def _follow(kube: Kube, cache: Cache, synced: asyncio.Event) -> None:
    async for change in kube.reflect(cache.kind, decode=dict[str, Any]):
        cache.take(change)
        synced.set()
