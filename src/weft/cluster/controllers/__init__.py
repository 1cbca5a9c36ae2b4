"""The loops that make objects true."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from weft.adapters.kube.client import Json, Kube
from weft.adapters.kube.kinds import (
    CERTIFICATESIGNINGREQUESTS,
    CLUSTERROLES,
    CONFIGMAPS,
    CONTROLLERREVISIONS,
    CRDS,
    CRONJOBS,
    DAEMONSETS,
    DEPLOYMENTS,
    ENDPOINTS,
    ENDPOINTSLICES,
    HORIZONTALPODAUTOSCALERS,
    JOBS,
    LEASES,
    NAMESPACES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODDISRUPTIONBUDGETS,
    PODS,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    SECRETS,
    SERVICEACCOUNTS,
    SERVICES,
    STATEFULSETS,
    STORAGECLASSES,
    Kind,
)
from weft.cluster.apiserver import issuer
from weft.cluster.controllers.aggregation import Aggregation
from weft.cluster.controllers.autoscaler import Autoscaler
from weft.cluster.controllers.certificates import Certificates
from weft.cluster.controllers.changes import Create, Performer
from weft.cluster.controllers.cronjobs import CronJobs
from weft.cluster.controllers.daemonsets import DaemonSets
from weft.cluster.controllers.deployments import Deployments
from weft.cluster.controllers.disruptions import Disruptions
from weft.cluster.controllers.emptying import Emptier
from weft.cluster.controllers.endpoints import EndpointsController
from weft.cluster.controllers.evictions import PodCollector, TaintEvictions
from weft.cluster.controllers.following import Follower
from weft.cluster.controllers.garbage import Garbage
from weft.cluster.controllers.jobs import Jobs
from weft.cluster.controllers.loop import Controller, Runner, World
from weft.cluster.controllers.mirroring import Mirroring
from weft.cluster.controllers.namespaces import Namespaces
from weft.cluster.controllers.nodelife import NodeLife
from weft.cluster.controllers.replicasets import ReplicaSets
from weft.cluster.controllers.scheduler import Scheduler
from weft.cluster.controllers.statefulsets import StatefulSets
from weft.cluster.controllers.tokensecrets import TokenSecrets
from weft.cluster.controllers.volumes import Claims, VolumeGuards, Volumes, default_class
from weft.pki.authority import Authority

_KINDS = (
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
    NAMESPACES,
    NODES,
    LEASES,
    PERSISTENTVOLUMES,
    STORAGECLASSES,
    REPLICATIONCONTROLLERS,
    PODDISRUPTIONBUDGETS,
    CLUSTERROLES,
    CERTIFICATESIGNINGREQUESTS,
    HORIZONTALPODAUTOSCALERS,
)


@dataclass(frozen=True, slots=True)
class Signing:
    """With what the cluster certifies: its authority, a source of serial numbers, and the key of tokens."""

    authority: Authority
    serial: Callable[[], int]
    tokens: issuer.Key


async def run(kube: Kube, *, clock: Callable[[], datetime], volumes: Path, signing: Signing) -> None:
    """Run every controller against an API server, for ever. `volumes` is where claims get their folders."""
    controllers: list[Controller] = [
        Deployments(),
        ReplicaSets(),
        ReplicaSets(REPLICATIONCONTROLLERS),
        DaemonSets(),
        StatefulSets(),
        Jobs(),
        CronJobs(),
        Disruptions(),
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
        Aggregation(),
        Certificates(signing.authority, signing.serial),
        TokenSecrets(signing.tokens, kube.access.ca),
        Garbage(),
    ]
    performer = Performer(kube)
    # refused where it is there already, from an earlier start
    await performer.perform([Create(STORAGECLASSES, default_class())], clock())
    runners: list[Runner] = []
    async with asyncio.TaskGroup() as tasks:
        emptier = Emptier(kube, tasks, clock)

        def changed(kind: Kind, obj: Json) -> None:
            emptier.changed(kind, obj)
            if kind == CRDS and runners:
                follower.defined(obj)
            for runner in runners:
                runner.changed(kind, obj)

        follower = Follower(kube, tasks, changed)
        # a controller that saw pods but not yet their ReplicaSets would take them for orphans
        await follower.start(_KINDS)
        runners += [Runner(controller, performer, follower.caches, clock) for controller in controllers]
        for cache in list(follower.caches.values()):
            for obj in cache:
                changed(cache.kind, obj)
        for runner in runners:
            tasks.create_task(runner.run())
        tasks.create_task(Autoscaler(kube, performer, lambda: World(follower.caches, clock())).run())
