"""The status of SpiderCoordinators: the cluster's ranges, looked for wherever a cluster tells them."""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from weft.adapters.kube.client import Kube
from weft.adapters.kube.kinds import CONFIGMAPS, NODES, PODS, SPIDERCOORDINATORS, Kind
from weft.api.spider_coordinator import SpiderCoordinator
from weft.processes.underlay_controller import finalizing, working
from weft.processes.underlay_controller.following import Followed
from weft.underlay.coordination import Seen, status

log = logging.getLogger("weft.underlay.coordination")

SERVICECIDRS: Final = Kind("networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs", namespaced=False)
CALICO: Final = Kind("crd.projectcalico.org", "v1", "IPPool", "ippools", namespaced=False)
CILIUM_POOLS: Final = Kind("cilium.io", "v2alpha1", "CiliumPodIPPool", "ciliumpodippools", namespaced=False)
CILIUM_NODES: Final = Kind("cilium.io", "v2", "CiliumNode", "ciliumnodes", namespaced=False)
_SYSTEM: Final = "kube-system"
_CONTROL_PLANE: Final = "component in (kube-controller-manager,kube-apiserver)"


class Meta(msgspec.Struct, frozen=True):
    """An object's name."""

    name: str
    namespace: str = ""


class WithSpec(msgspec.Struct, frozen=True):
    """An object, for what its spec says of ranges."""

    metadata: Meta
    spec: dict[str, Any] = {}


class WithData(msgspec.Struct, frozen=True):
    """A ConfigMap."""

    metadata: Meta
    data: dict[str, str] | None = None


class Ranges(msgspec.Struct, frozen=True, rename="camel"):
    """What a node or a ServiceCIDR says of ranges."""

    pod_cidr: str = msgspec.field(name="podCIDR", default="")
    pod_cidrs: tuple[str, ...] = msgspec.field(name="podCIDRs", default=())
    cidrs: tuple[str, ...] = ()


class WithRanges(msgspec.Struct, frozen=True):
    """A node or a ServiceCIDR."""

    metadata: Meta
    spec: Ranges = Ranges()


class Container(msgspec.Struct, frozen=True):
    """What a container is started with."""

    command: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None


class PodSpec(msgspec.Struct, frozen=True):
    """The containers of a pod."""

    containers: tuple[Container, ...] = ()


class ControlPlanePod(msgspec.Struct, frozen=True):
    """A pod of the control plane."""

    metadata: Meta
    spec: PodSpec = PodSpec()


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything that may tell ranges."""

    kubeadm: Followed[WithData]
    cilium: Followed[WithData]
    pods: Followed[ControlPlanePod]
    nodes: Followed[WithRanges]
    service_cidrs: Followed[WithRanges]
    calico: Followed[WithSpec]
    cilium_pools: Followed[WithSpec]
    cilium_nodes: Followed[WithSpec]

    @classmethod
    def of(cls, kube: Kube, cilium: tuple[str, str], wake: asyncio.Event) -> "Sources":
        """Those of a cluster; `cilium` is namespace and name of its ConfigMap."""

        def config_map(namespace: str, name: str) -> Followed[WithData]:
            fields = f"metadata.name={name}"
            return Followed(kube, CONFIGMAPS, WithData, wake, namespace=namespace, fields=fields)

        def optional(kind: Kind) -> Followed[WithSpec]:
            return Followed(kube, kind, WithSpec, wake, may_lack=True)

        return cls(
            kubeadm=config_map(_SYSTEM, "kubeadm-config"),
            cilium=config_map(*cilium),
            pods=Followed(kube, PODS, ControlPlanePod, wake, namespace=_SYSTEM, labels=_CONTROL_PLANE),
            nodes=Followed(kube, NODES, WithRanges, wake),
            service_cidrs=Followed(kube, SERVICECIDRS, WithRanges, wake, may_lack=True),
            calico=optional(CALICO),
            cilium_pools=optional(CILIUM_POOLS),
            cilium_nodes=optional(CILIUM_NODES),
        )

    @property
    def all(self) -> tuple[Followed[Any], ...]:
        """Each of them."""
        return (
            self.kubeadm,
            self.cilium,
            self.pods,
            self.nodes,
            self.service_cidrs,
            self.calico,
            self.cilium_pools,
            self.cilium_nodes,
        )

    def seen(self) -> Seen:
        """What they tell now."""
        kubeadm = next((each.data or {} for each in self.kubeadm.all), {})
        return Seen(
            kubeadm=kubeadm.get("ClusterConfiguration"),
            arguments=tuple(_arguments(self.pods.all)),
            nodes=tuple(
                cidr for each in self.nodes.all for cidr in each.spec.pod_cidrs or _given(each.spec.pod_cidr)
            ),
            service_cidrs=tuple(cidr for each in self.service_cidrs.all for cidr in each.spec.cidrs),
            calico=tuple(each.spec for each in self.calico.all) if self.calico.present else None,
            cilium=next((each.data or {} for each in self.cilium.all), None),
            cilium_pools=tuple(each.spec for each in self.cilium_pools.all),
            cilium_nodes=tuple(each.spec for each in self.cilium_nodes.all),
        )


class Coordination:
    """Give `run` a task."""

    def __init__(self, kube: Kube, coordinators: Followed[SpiderCoordinator], cilium: tuple[str, str]) -> None:
        self._kube, self._wake = kube, asyncio.Event()
        self._coordinators = coordinators.wake(self._wake)
        self._sources = Sources.of(kube, cilium, self._wake)

    async def run(self) -> None:
        """Tell, for ever."""
        async with asyncio.TaskGroup() as group:
            for each in self._sources.all:
                group.create_task(each.run())
            # a source that is not read yet would look like one that is not there
            for each in (*self._sources.all, self._coordinators):
                await each.synced.wait()
            group.create_task(working.keep("ranges", self._wake, self._look))

    async def _look(self) -> None:
        await working.each(self._coordinators.all, self._tell)

    async def _tell(self, coordinator: SpiderCoordinator) -> None:
        name = coordinator.metadata.name
        if coordinator.metadata.deletion_timestamp:
            await finalizing.release(self._kube, SPIDERCOORDINATORS, coordinator.metadata)
            return
        await finalizing.hold(self._kube, SPIDERCOORDINATORS, coordinator.metadata)
        told = status(coordinator.spec, self._sources.seen())
        if told == coordinator.status:
            return
        # null takes away what was told before
        change = {"status": msgspec.to_builtins(told)}
        await self._kube.patch(SPIDERCOORDINATORS, name, change, subresource="status")
        if told.phase == "Synced":
            log.info("coordinator %s: pods %s, services %s", name, told.overlay_pod_cidr, told.service_cidr)
        else:
            log.warning("coordinator %s is not ready: %s", name, told.reason)


def _arguments(pods: tuple[ControlPlanePod, ...]) -> Iterator[str]:
    for pod in pods:
        for container in pod.spec.containers:
            yield from (*(container.command or ()), *(container.args or ()))


def _given(text: str) -> tuple[str, ...]:
    return (text,) if text else ()
