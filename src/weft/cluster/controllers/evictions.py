"""Pods that cannot stay: taints that throw them out, nodes that are gone, and finished pods that pile up."""

from collections.abc import Iterable
from datetime import timedelta

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import NODES, PODS, Kind
from weft.cluster.controllers.changes import Change, Delete, Patch, Plan
from weft.cluster.controllers.events import Tell
from weft.cluster.controllers.loop import Controller, World
from weft.cluster.controllers.objects import (
    Key,
    condition,
    is_finished,
    is_going,
    is_ready,
    key_of,
    moment,
    timestamp,
)
from weft.cluster.controllers.placing import toleration_for

_QUARANTINE = timedelta(seconds=40)  # a node may be registered again, and its pods are still there
_OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
_MANY_FINISHED = 12_500


class TaintEvictions(Controller):
    """Deletes pods from nodes with NoExecute taints, once what they tolerate has run out."""

    name = "taint-eviction-controller"
    watches: tuple[Kind, ...] = (NODES, PODS)

    def __init__(self) -> None:
        self._doomed: set[Key] = set()  # pods whose time on their node is running out

    def keys(self, kind: Kind, obj: Json, world: World) -> Iterable[Key]:
        """A pod, or all on a node."""
        if kind == PODS:
            return [key_of(obj)]
        name = obj["metadata"]["name"]
        return [key_of(pod) for pod in world.of(PODS) if pod["spec"].get("nodeName") == name]

    def plan(self, key: Key, world: World) -> Plan:
        """Evict the pod, or look again when its time is up."""
        pod = world.of(PODS).get(key)
        if pod is None or is_going(pod):
            self._doomed.discard(key)
            return Plan()
        node = world.of(NODES).get(("", pod["spec"].get("nodeName", "")))
        left = _stay(pod, node, world) if node else None
        if left is None:
            pardoned = key in self._doomed
            self._doomed.discard(key)
            return Plan([self._pardon(pod)] if pardoned else ())
        if left > timedelta():
            self._doomed.add(key)
            return Plan((), left)
        message = f"Marking for deletion Pod {key[0]}/{key[1]}"
        why = "Taint manager: deleting due to NoExecute taint"
        return Plan(
            [
                *disrupted(pod, "DeletionByTaintManager", why, world),
                Tell(pod, PODS, "TaintManagerEviction", message, self.name),
                Delete(PODS, pod),
            ]
        )

    def _pardon(self, pod: Json) -> Change:
        namespace, name = key_of(pod)
        return Tell(pod, PODS, "TaintManagerEviction", f"Cancelling deletion of Pod {namespace}/{name}", self.name)


def _stay(pod: Json, node: Json, world: World) -> timedelta | None:
    """How long a pod may still stay; None for ever."""
    taints = [taint for taint in node.get("spec", {}).get("taints") or () if taint["effect"] == "NoExecute"]
    waits: list[timedelta] = []
    for taint in taints:
        meant = [entry for entry in pod["spec"].get("tolerations") or () if toleration_for(entry, taint)]
        if not meant:
            return timedelta()
        limits = [entry["tolerationSeconds"] for entry in meant if entry.get("tolerationSeconds") is not None]
        if limits:
            since = moment(taint["timeAdded"]) if taint.get("timeAdded") else world.now
            waits.append(since + timedelta(seconds=max(0, min(limits))) - world.now)
    return min(waits, default=None)


class PodCollector(Controller):
    """Removes what no kubelet will ever remove. A pod's key is its own."""

    name = "pod-garbage-collector"
    watches: tuple[Kind, ...] = (NODES, PODS)

    def __init__(self, many: int = _MANY_FINISHED) -> None:
        self._many = many

    def keys(self, kind: Kind, obj: Json, world: World) -> Iterable[Key]:
        """A pod, or all that were on a node."""
        if kind == PODS:
            return [key_of(obj)]
        name = obj["metadata"]["name"]
        held = world.of(NODES).get(("", name))
        if held and not _is_out_of_service(held):
            return []
        return [key_of(pod) for pod in world.of(PODS) if pod["spec"].get("nodeName") == name]

    def plan(self, key: Key, world: World) -> Plan:
        """Remove the pod if its node is gone, if it never had one, or if it is one finished pod too many."""
        pod = world.of(PODS).get(key)
        if pod is None:
            return Plan()
        node = pod["spec"].get("nodeName")
        if node and world.of(NODES).get(("", node)) is None:
            return self._orphan(pod, world)
        held = world.of(NODES).get(("", node or ""))
        if is_going(pod) and (not held or _is_out_of_service(held)):
            return Plan([Delete(PODS, pod, grace=0)])
        if is_finished(pod) and len(world.of(PODS)) > self._many:
            finished = sorted(
                (each for each in world.of(PODS) if is_finished(each)),
                key=lambda each: str(each["metadata"]["creationTimestamp"]),
            )
            surplus = finished[: max(0, len(finished) - self._many)]
            return Plan([Delete(PODS, each, grace=0) for each in surplus if not is_going(each)])
        return Plan()

    def _orphan(self, pod: Json, world: World) -> Plan:
        marked = condition(pod, "DisruptionTarget")
        if not marked and not is_finished(pod):
            message = "PodGC: node no longer exists"
            return Plan(disrupted(pod, "DeletionByPodGC", message, world), _QUARANTINE)
        since = marked.get("lastTransitionTime") or pod["metadata"]["creationTimestamp"]
        left = moment(since) + _QUARANTINE - world.now
        if left > timedelta() and not is_going(pod):
            return Plan((), left)
        return Plan([Delete(PODS, pod, grace=0)])


def _is_out_of_service(node: Json) -> bool:
    """Whether people say of a node that is not ready that it will never tell of its pods again."""
    taints = node.get("spec", {}).get("taints") or ()
    return not is_ready(node) and any(taint["key"] == _OUT_OF_SERVICE for taint in taints)


def disrupted(pod: Json, reason: str, message: str, world: World) -> list[Change]:
    """Say on the pod that it is not its own fault: Jobs do not count such an end."""
    if is_finished(pod):
        return []
    entry = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": timestamp(world.now),
    }
    kept = [each for each in pod.get("status", {}).get("conditions") or () if each["type"] != entry["type"]]
    return [Patch(PODS, pod, {"status": {"conditions": [*kept, entry]}}, "status")]
