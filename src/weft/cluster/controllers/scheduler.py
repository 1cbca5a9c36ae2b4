"""The scheduler: a node for each pod, or the reason why there is none."""

from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import NODES, PODS, Kind
from weft.cluster.apiserver.quantities import parse
from weft.cluster.controllers.changes import Patch, Plan, Post, Tell
from weft.cluster.controllers.loop import Controller, World
from weft.cluster.controllers.objects import (
    Key,
    condition,
    is_finished,
    is_going,
    key_of,
    selects,
    with_condition,
)

_NAME = "default-scheduler"


class Scheduler(Controller):
    """Binds pods that name this scheduler to the fitting node with the fewest pods."""

    name = _NAME
    watches: tuple[Kind, ...] = (PODS, NODES)

    def keys(self, kind: Kind, obj: Json, world: World) -> Iterable[Key]:
        """A pod without a node; when a node changes or a pod frees its room, all such pods."""
        if kind == PODS and _waits(obj):
            return [key_of(obj)]
        if kind == PODS and not is_finished(obj) and not is_going(obj):
            return []
        return [key_of(pod) for pod in world.of(PODS) if _waits(pod)]

    def plan(self, key: Key, world: World) -> Plan:
        """Bind the pod, or say once what stands against every node."""
        pod = world.of(PODS).get(key)
        if pod is None or not _waits(pod):
            return Plan()
        nodes = list(world.of(NODES))
        load = {node["metadata"]["name"]: _pods_on(node, world) for node in nodes}
        objections = {
            node["metadata"]["name"]: _objection(pod, node, load[node["metadata"]["name"]]) for node in nodes
        }
        fitting = [name for name, objection in objections.items() if not objection]
        if fitting:
            chosen = min(fitting, key=lambda name: (len(load[name]), name))
            return Plan([_bind(pod, chosen), _scheduled(pod, chosen)])
        message = _no_node(list(objections.values()))
        if condition(pod, "PodScheduled").get("message") == message:
            return Plan()
        unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        conditions = with_condition(pod.get("status", {}).get("conditions") or [], unscheduled, world.now)
        for entry in conditions:
            entry.pop("lastUpdateTime", None)  # pods' conditions have none
        return Plan(
            [
                Patch(PODS, pod, {"status": {"conditions": conditions}}, "status"),
                Tell(pod, PODS, "FailedScheduling", message, _NAME, warning=True),
            ]
        )


def _waits(pod: Json) -> bool:
    spec = pod["spec"]
    return (
        not spec.get("nodeName")
        and not is_going(pod)
        and not is_finished(pod)
        and not spec.get("schedulingGates")
        and spec.get("schedulerName", _NAME) == _NAME
    )


def _pods_on(node: Json, world: World) -> list[Json]:
    name = node["metadata"]["name"]
    return [pod for pod in world.of(PODS) if pod["spec"].get("nodeName") == name and not is_finished(pod)]


def _bind(pod: Json, node: str) -> Post:
    meta = pod["metadata"]
    path = PODS.path(meta["namespace"], meta["name"], "binding")
    body = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }
    return Post(path, body)


def _scheduled(pod: Json, node: str) -> Tell:
    namespace, name = key_of(pod)
    return Tell(pod, PODS, "Scheduled", f"Successfully assigned {namespace}/{name} to {node}", _NAME)


def _objection(pod: Json, node: Json, present: Sequence[Json]) -> str:
    """Why this pod cannot go to this node, in Kubernetes' words; empty if it can."""
    if node["spec"].get("unschedulable") and not _tolerates(pod, _CORDONED):
        return "node(s) were unschedulable"
    if condition(node, "Ready").get("status") != "True":
        return "node(s) were not ready"
    for taint in node["spec"].get("taints") or ():
        if taint["effect"] in {"NoSchedule", "NoExecute"} and not _tolerates(pod, taint):
            return f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
    if not _matches(pod, node):
        return "node(s) didn't match Pod's node affinity/selector"
    return _shortage(pod, node, present)


_CORDONED = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


def _tolerates(pod: Json, taint: Json) -> bool:
    return any(_toleration(entry, taint) for entry in pod["spec"].get("tolerations") or ())


def _toleration(entry: Json, taint: Json) -> bool:
    if entry.get("effect") and entry["effect"] != taint["effect"]:
        return False
    if entry.get("key") and entry["key"] != taint["key"]:
        return False
    if entry.get("operator") == "Exists":
        return True
    return bool(entry.get("key")) and entry.get("value", "") == taint.get("value", "")


def _matches(pod: Json, node: Json) -> bool:
    labels = node["metadata"].get("labels") or {}
    if not selects({"matchLabels": pod["spec"].get("nodeSelector") or {}}, labels):
        return False
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    terms = required["nodeSelectorTerms"] if required else [{}]
    return any(selects(term, labels) for term in terms)


def _shortage(pod: Json, node: Json, present: Sequence[Json]) -> str:
    allocatable = node.get("status", {}).get("allocatable") or {}
    if len(present) >= int(allocatable.get("pods", 110)):
        return "Too many pods"
    for resource in ("cpu", "memory"):
        taken = sum(_requested(other, resource) for other in present)
        wanted = _requested(pod, resource)
        if wanted and resource in allocatable and taken + wanted > parse(str(allocatable[resource])):
            return f"Insufficient {resource}"
    return ""


def _no_node(objections: Sequence[str]) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(Counter(objections).items()))
    return (
        f"0/{len(objections)} nodes are available: {reasons}."
        if objections
        else "no nodes available to schedule pods"
    )


def _requested(pod: Json, resource: str) -> Fraction:
    """What a pod asks for of one resource: its containers together, or its hungriest init container."""

    def asked(container: Json) -> Fraction:
        resources = container.get("resources") or {}
        value = (resources.get("requests") or {}).get(resource, (resources.get("limits") or {}).get(resource, 0))
        return parse(str(value))

    together = sum((asked(container) for container in pod["spec"]["containers"]), Fraction(0))
    first = [asked(container) for container in pod["spec"].get("initContainers") or ()]
    return max([together, *first])
