"""Subnets: pools of theirs for applications that name them, and who has which of their addresses."""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from weft.adapters.kube.client import Kube
from weft.adapters.kube.kinds import (
    DAEMONSETS,
    DEPLOYMENTS,
    JOBS,
    REPLICASETS,
    SPIDERIPPOOLS,
    SPIDERRESERVEDIPS,
    SPIDERSUBNETS,
    STATEFULSETS,
    Kind,
)
from weft.api.kubernetes import ObjectMeta, Partial
from weft.api.spider_ippool import SpiderIPPool
from weft.api.spider_reserved_ip import SpiderReservedIP
from weft.api.spider_subnet import SpiderSubnet
from weft.processes.cni.telling import Teller
from weft.processes.underlay_controller import finalizing, settings, working
from weft.processes.underlay_controller.following import Followed
from weft.underlay.ipam.auto_pools import Application
from weft.underlay.ipam.subnets import Create, Delete, Resize, Step, Tell, plan, status

_OWNERS: Final[Mapping[str, Kind]] = {
    each.kind: each for each in (DAEMONSETS, DEPLOYMENTS, JOBS, REPLICASETS, STATEFULSETS)
}
_BETWEEN: Final = 0.2
"""Seconds between looks: objects of applications change often, and mostly in what does not matter here."""

log = logging.getLogger("weft.underlay.ipam.subnets")


class Meta(ObjectMeta, frozen=True):
    """Metadata, and which one of that name it is."""

    uid: str = ""


class Template(Partial, frozen=True):
    """What pods are made of."""

    metadata: ObjectMeta = ObjectMeta()


class Spec(Partial, frozen=True):
    """How many pods there are to be."""

    replicas: int | None = None
    parallelism: int | None = None
    template: Template = Template()


class Status(Partial, frozen=True):
    """On how many nodes a pod is to be."""

    desired_number_scheduled: int | None = None


class Owner(Partial, frozen=True):
    """A Deployment and the like."""

    metadata: Meta
    spec: Spec = Spec()
    status: Status = Status()


@dataclass(frozen=True, slots=True)
class Account:
    """The subnets, and what is made of them."""

    subnets: Followed[SpiderSubnet]
    pools: Followed[SpiderIPPool]


class Subnets:
    """Give `run` a task."""

    def __init__(self, kube: Kube, account: Account, teller: Teller, chosen: settings.Subnets) -> None:
        self._kube, self._teller, self._chosen = kube, teller, chosen
        self._wake = asyncio.Event()
        self._subnets, self._pools = account.subnets.wake(self._wake), account.pools.wake(self._wake)
        self._reserved = Followed(kube, SPIDERRESERVEDIPS, SpiderReservedIP, self._wake)
        self._owners = {name: Followed(kube, kind, Owner, self._wake) for name, kind in _OWNERS.items()}
        self._told: Mapping[tuple[str, str], str] = {}

    async def run(self) -> None:
        """Make pools and keep the account, for ever."""
        own: list[Followed[Any]] = []
        if self._chosen.pools:
            own += [self._reserved]
            own += self._owners.values()
        async with asyncio.TaskGroup() as group:
            for each in own:
                group.create_task(each.run())
            awaited: list[Followed[Any]] = [self._subnets, self._pools, *own]
            for each in awaited:
                await each.synced.wait()
            group.create_task(working.keep("subnets", self._wake, self._look))

    async def _look(self) -> None:
        await asyncio.sleep(_BETWEEN)
        subnets, pools = self._subnets.all, self._pools.all
        if self._chosen.pools:
            applications = tuple(self._applications())
            steps = tuple(plan(subnets, pools, self._reserved.all, applications, self._chosen.flexible))
            self._tell([each for each in steps if isinstance(each, Tell)])
            await working.each(steps, self._do)
        await working.each(subnets, self._keep)

    async def _keep(self, subnet: SpiderSubnet) -> None:
        account = status(subnet, self._pools.all)
        if not subnet.metadata.deletion_timestamp:
            await finalizing.hold(self._kube, SPIDERSUBNETS, subnet.metadata)
        elif not account.controlled_ippools:
            await finalizing.release(self._kube, SPIDERSUBNETS, subnet.metadata)
            return
        if account != subnet.status:
            change = {"status": msgspec.to_builtins(account)}
            await self._kube.patch(SPIDERSUBNETS, subnet.metadata.name, change, subresource="status")

    async def _do(self, step: Step) -> None:
        match step:
            case Create(manifest):
                await self._kube.create(SPIDERIPPOOLS, manifest)
                log.info("pool %s: made, with %s", manifest["metadata"]["name"], manifest["spec"]["ips"])
            case Resize(name, version, ips):
                patch = {"metadata": {"resourceVersion": version}, "spec": {"ips": list(ips)}}
                await self._kube.patch(SPIDERIPPOOLS, name, patch)
                log.info("pool %s: has %s now", name, ips)
            case Delete(name, uid):
                await self._kube.delete(SPIDERIPPOOLS, name, uid=uid)
                log.info("pool %s: deleted, as its application needs it no longer", name)

    def _tell(self, steps: list[Tell]) -> None:
        """Tell what is new, as Events of the applications."""
        told = {(each.application.uid, each.message): each.reason for each in steps}
        for step in steps:
            asker = step.application
            if (asker.uid, step.message) in self._told:
                continue
            log.warning("%s %s/%s: %s", asker.kind, asker.namespace, asker.name, step.message)
            owner = {"name": asker.name, "namespace": asker.namespace, "uid": asker.uid}
            self._teller.tell({"metadata": owner}, step.reason, step.message, kind=_OWNERS[asker.kind])
        self._told = told

    def _applications(self) -> Iterator[Application]:
        for kind, followed in self._owners.items():
            for each in followed.all:
                meta = each.metadata
                # what a Deployment makes is no application of its own
                owned = kind == "ReplicaSet" and any(one.controller for one in meta.owner_references or ())
                if owned or meta.deletion_timestamp:
                    continue
                yield Application(
                    kind=kind,
                    namespace=meta.namespace,
                    name=meta.name,
                    uid=meta.uid,
                    pods=_pods(kind, each),
                    annotations=each.spec.template.metadata.annotations,
                )


def _pods(kind: str, owner: Owner) -> int:
    known: Any = {
        "DaemonSet": owner.status.desired_number_scheduled or 0,
        "Job": 1 if owner.spec.parallelism is None else owner.spec.parallelism,
    }
    usual = 1 if owner.spec.replicas is None else owner.spec.replicas
    return int(known.get(kind, usual))
