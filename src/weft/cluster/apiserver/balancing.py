"""The loop that keeps Services of type LoadBalancer in addresses, and tells of it in events."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from weft.cluster.apiserver import errors, loadbalancers
from weft.cluster.apiserver.cluster import Call, Cluster, Obj
from weft.cluster.apiserver.loadbalancers import Balancers, Give, Lack, Owner
from weft.cluster.apiserver.store import Change, CompactedError
from weft.cluster.apiserver.users import MASTERS, User
from weft.cluster.apiserver.writing import Writing

_log = logging.getLogger(__name__)
_SERVICES = "/services"
_CONTROLLER = User("system:serviceaccount:kube-system:service-controller", groups=(MASTERS,))
_NAME = "service-controller"


@dataclass(slots=True)
class Balancing:
    """Follows all Services; `waiting` are those without an address, with the reason told last."""

    cluster: Cluster
    writing: Writing
    balancers: Balancers
    waiting: dict[Owner, str] = field(default_factory=dict)

    async def run(self) -> None:
        """Assign for ever."""
        while True:
            try:
                subscription = await self.cluster.store.subscribe(_SERVICES, "", self.cluster.store.revision)
            except CompactedError:
                continue
            try:
                # who has an address keeps it: those come first
                rows = [row.decode() for row in self.cluster.store.rows(_SERVICES)]
                await self._all(sorted(rows, key=lambda service: not _has_one(service)))
                while True:
                    await self._changed(await subscription.take())
            except CompactedError:
                _log.warning("too many changes of Services at once; looking at all of them")
            finally:
                self.cluster.store.unsubscribe(subscription)

    async def _all(self, services: Iterable[Obj]) -> None:
        for service in services:
            await self._one(service)

    async def _changed(self, changes: list[Change]) -> None:
        freed = False
        for change in changes:
            owner = (change.row.key.namespace, change.row.key.name)
            service = change.row.decode()
            if change.deleted or not loadbalancers.concerns(service):
                self.waiting.pop(owner, None)
                freed |= self.balancers.forget(owner)
            else:
                await self._one(service)
        if freed:
            found = [self.cluster.core("services", *owner) for owner in list(self.waiting)]
            await self._all(service for service in found if service is not None)

    async def _one(self, service: Obj) -> None:
        if not loadbalancers.concerns(service):
            return
        owner = (service["metadata"]["namespace"], service["metadata"]["name"])
        match self.balancers.decide(service):
            case Give() as given:
                self.waiting.pop(owner, None)
                if await self._write(service, given):
                    await self._tell(service, "Normal", "EnsuredLoadBalancer", "Ensured load balancer")
            case Lack(reason) if self.waiting.get(owner) != reason:
                self.waiting[owner] = reason
                await self._tell(service, "Warning", "SyncLoadBalancerFailed", reason)
            case _:
                pass

    def _call(self, plural: str, namespace: str, name: str = "", subresource: str = "") -> Call:
        kind = self.cluster.scheme.find("", "v1", plural)
        if kind is None:
            raise LookupError(f"{plural} are missing from the catalog")
        return Call(kind, namespace, name, _CONTROLLER, subresource, manager=_NAME)

    async def _write(self, service: Obj, given: Give) -> bool:
        meta = service["metadata"]
        status = loadbalancers.status(given.address)

        def change(before: Obj) -> Obj:
            return {**before, "status": {**(before.get("status") or {}), **status}}

        try:
            await self.writing.update(self._call("services", meta["namespace"], meta["name"], "status"), change)
        except errors.StatusError as error:
            _log.info("Service %s/%s gets no address now: %s", meta["namespace"], meta["name"], error)
            return False
        return True

    async def _tell(self, service: Obj, sort: str, reason: str, message: str) -> None:
        meta, world = service["metadata"], self.cluster.world
        about = {"kind": "Service", "apiVersion": "v1", "namespace": meta["namespace"], "name": meta["name"]}
        event = {
            "metadata": {"name": f"{meta['name']}.{world.chance.getrandbits(60):x}"},
            "involvedObject": {**about, "uid": meta["uid"], "resourceVersion": meta["resourceVersion"]},
            "type": sort,
            "reason": reason,
            "message": message,
            "source": {"component": _NAME},
            "reportingComponent": _NAME,
            "reportingInstance": "",
            "count": 1,
            "firstTimestamp": world.stamp(),
            "lastTimestamp": world.stamp(),
        }
        try:
            await self.writing.create(self._call("events", meta["namespace"]), event)
        except errors.StatusError as error:
            _log.info("event of Service %s/%s dropped: %s", meta["namespace"], meta["name"], error)


def _has_one(service: Obj) -> bool:
    return bool(((service.get("status") or {}).get("loadBalancer") or {}).get("ingress"))
