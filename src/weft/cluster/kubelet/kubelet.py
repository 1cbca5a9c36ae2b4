"""The kubelet of one node: its pods, its server and its Node object."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weft.adapters.cri import descriptors
from weft.adapters.cri.client import Runtime
from weft.adapters.kube.client import Kube
from weft.adapters.kube.kinds import PODS
from weft.adapters.kube.reflector import Applied, Change, Deleted, Replaced
from weft.cluster.kubelet import addresses, node_object, pressure, server
from weft.cluster.kubelet.environment import NodeFacts
from weft.cluster.kubelet.evictor import Evictor
from weft.cluster.kubelet.images import Images
from weft.cluster.kubelet.kube_cluster import KubeCluster
from weft.cluster.kubelet.meter import Meter
from weft.cluster.kubelet.node_keeper import Health, Keeper
from weft.cluster.kubelet.node_object import Registration
from weft.cluster.kubelet.pods import Pods
from weft.cluster.kubelet.podspec import ClusterDns
from weft.cluster.kubelet.recorder import Recorder
from weft.cluster.kubelet.runtime_config import RuntimePaths
from weft.cluster.kubelet.station import Station


@dataclass(frozen=True, slots=True)
class Settings:
    """One node. `home` is the cluster's home; `cgroup_parent` the cgroup of all pods (`/weft-ID`)."""

    home: Path
    name: str
    ip: str
    pod_cidr: str
    paths: RuntimePaths
    cgroup_parent: str
    dns: ClusterDns
    api: tuple[str, int]


async def run(kube: Kube, settings: Settings, clock: Callable[[], float]) -> None:
    """Be the node's kubelet, for ever. Cancelled, it leaves the containers running; another may take over.

    Runs inside the node's network namespace, beside its containerd.
    """
    messages = descriptors.load(cache=settings.paths.root.parent)
    async with Runtime(settings.paths.socket, messages) as runtime:
        machine = node_object.look(settings.paths.home, await runtime.version())
        images = Images(runtime, settings.paths.socket, settings.home / "images.yaml", clock)
        await images.bring_pause()
        cluster = KubeCluster(kube, clock)
        recorder = Recorder(settings.name, clock, cluster.write_event)
        station = Station(
            runtime=runtime,
            images=images,
            cluster=cluster,
            recorder=recorder,
            node=NodeFacts(
                settings.name, settings.ip, machine.cpu, machine.memory, node_object.allocatable(machine)
            ),
            folder=settings.paths.home,
            run=settings.paths.run,
            cgroup_parent=settings.cgroup_parent,
            clock=clock,
            dns=settings.dns,
            api=settings.api,
        )
        pods = Pods(station)
        home = settings.paths.home
        context = server.tls(home / "kubelet.crt", home / "kubelet.key", settings.home / "pki" / "ca.crt")
        who = Registration(settings.name, settings.ip, server.PORT, settings.pod_cidr)
        health = Health(runtime, clock)
        keeper = Keeper(kube, runtime, who, machine, home, clock, recorder, health)
        meter = Meter(station, pods)
        serving = server.serve(station, pods, meter, settings.ip, server.PORT, context)
        async with serving, asyncio.TaskGroup() as group:
            group.create_task(pods.run())
            group.create_task(meter.run())
            group.create_task(Evictor(station, pods, lambda: pressure.look(home)).run())
            group.create_task(recorder.run())
            group.create_task(keeper.run())
            group.create_task(addresses.keep(runtime, settings.paths.cni_state, clock))
            group.create_task(_follow(kube, settings.name, pods))


async def _follow(kube: Kube, node: str, pods: Pods) -> None:
    changes: AsyncIterator[Change[dict[str, Any]]] = kube.reflect(PODS, fields=f"spec.nodeName={node}")
    async for change in changes:
        match change:
            case Replaced(objects):
                await pods.replace(objects)
            case Applied(pod):
                pods.apply(pod)
            case Deleted(pod):
                pods.delete(pod)
