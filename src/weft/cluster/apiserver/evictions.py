"""Evictions: deletions of pods that their disruption budgets allow (`registry/core/pod/storage/eviction.go`).

What a budget allows is counted when it is asked for, from the pods as they are: nothing can be stale.
"""

import asyncio
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from weft.cluster.apiserver import errors
from weft.cluster.apiserver.cluster import Call, Cluster, Obj
from weft.cluster.apiserver.deleting import Deleting, Options
from weft.cluster.apiserver.selectors import from_object
from weft.cluster.apiserver.store import Key

_BUDGETS = "policy/poddisruptionbudgets"
_SCALED = {
    "ReplicaSet": "apps/replicasets",
    "StatefulSet": "apps/statefulsets",
    "ReplicationController": "/replicationcontrollers",
}
_SEVERAL = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
_REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."


@dataclass(frozen=True, slots=True)
class Count:
    """What a budget says of its pods at one moment."""

    healthy: int
    desired: int

    @property
    def allowed(self) -> int:
        """How many healthy pods may go."""
        return max(self.healthy - self.desired, 0)


@dataclass(slots=True)
class Evictions:
    """The subresource eviction. One at a time, so that two cannot both take the last allowed pod."""

    cluster: Cluster
    deleting: Deleting
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def evict(self, call: Call, options: Options) -> None:
        """Delete the pod, or refuse with 429 while its budget does not allow it."""
        async with self._turn:
            pod = self.cluster.core("pods", call.namespace, call.name)
            if pod is None:
                raise errors.not_found(call.kind, call.name)
            if not _exempt(pod):
                self._check(pod)
                if not call.dry_run:
                    await self._mark(call)
            await self.deleting.delete(call, options)

    async def _mark(self, call: Call) -> None:
        """Tell on the pod why it goes."""
        stamp = self.cluster.world.stamp()
        target = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
            "lastProbeTime": None,
            "lastTransitionTime": stamp,
        }

        def change(pod: Obj) -> Obj:
            status = pod.setdefault("status", {})
            kept = [one for one in status.get("conditions") or () if one["type"] != target["type"]]
            status["conditions"] = [*kept, target]
            return pod

        one = Call(call.kind, call.namespace, call.name, call.user, "status", manager="weft-apiserver")
        await self.deleting.writing.update(one, change)

    def _check(self, pod: Obj) -> None:
        namespace = pod["metadata"]["namespace"]
        budgets = [row.decode() for row in self.cluster.store.rows(_BUDGETS, namespace)]
        mine = [budget for budget in budgets if _covers(budget, pod)]
        if not mine:
            return
        if len(mine) > 1:
            raise errors.StatusError(500, "InternalError", _SEVERAL)
        budget = mine[0]
        pods = [row.decode() for row in self.cluster.store.rows("/pods", namespace)]
        covered = [one for one in pods if _covers(budget, one)]
        count = Count(sum(map(_healthy, covered)), desired(budget, self._expected(budget, covered), len(covered)))
        if _healthy(pod):
            allowed = count.allowed > 0
        else:
            always = budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow"
            allowed = always or (count.healthy >= count.desired > 0) or count.allowed > 0
        if not allowed:
            name = budget["metadata"]["name"]
            needs = f"needs {count.desired} healthy pods and has {count.healthy} currently"
            cause = {"reason": "DisruptionBudget", "message": f"The disruption budget {name} {needs}"}
            raise errors.StatusError(429, "TooManyRequests", _REFUSED, {"causes": [cause]})

    def _expected(self, budget: Obj, pods: Iterable[Obj]) -> int:
        """How many pods their controllers want; those without one count as themselves.

        The disruption controller knows it of custom kinds too; until it has looked, the built-in ones are counted.
        """
        status = budget.get("status") or {}
        current = status.get("observedGeneration") == budget["metadata"].get("generation")
        if current and status.get("expectedPods"):
            return int(status["expectedPods"])
        owners: dict[str, int] = {}
        for pod in pods:
            owner = next(
                (one for one in pod["metadata"].get("ownerReferences") or () if one.get("controller")), None
            )
            uid = str((owner or pod["metadata"])["uid"])
            owners[uid] = self._scale(owner, budget["metadata"]["namespace"]) if owner else 1
        return sum(owners.values())

    def _scale(self, owner: Obj, namespace: str) -> int:
        resource = _SCALED.get(owner["kind"], "")
        found = self.cluster.store.get(Key(resource, namespace, owner["name"]))
        return int(found.decode()["spec"].get("replicas", 1)) if found else 1


def desired(budget: Obj, expected: int, covered: int) -> int:
    """How many healthy pods the budget asks for; a percentage is of what controllers want, rounded up."""
    spec = budget["spec"]
    if (most := spec.get("maxUnavailable")) is not None:
        return max(expected - _scaled(most, expected), 0)
    least = spec.get("minAvailable", 1 if covered else 0)
    return _scaled(least, expected)


def _scaled(value: Any, whole: int) -> int:
    if isinstance(value, int):
        return value
    return math.ceil(int(str(value).removesuffix("%")) * whole / 100)


def _covers(budget: Obj, pod: Obj) -> bool:
    selector = budget["spec"].get("selector")
    return selector is not None and from_object(selector).matches(pod["metadata"].get("labels"))


def _exempt(pod: Obj) -> bool:
    """A pod that is done, not begun or going already is nobody's loss."""
    return bool(pod["metadata"].get("deletionTimestamp")) or (pod.get("status") or {}).get("phase") in {
        "Succeeded",
        "Failed",
        "Pending",
    }


def _healthy(pod: Obj) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    ready = any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp")
