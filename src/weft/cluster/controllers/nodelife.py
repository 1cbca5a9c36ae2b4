"""Nodes that no longer report: they become Unknown, are tainted, and their pods leave the endpoints."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import LEASES, NODES, PODS, Kind
from weft.cluster.controllers.changes import Change, Patch, Plan
from weft.cluster.controllers.events import Tell
from weft.cluster.controllers.loop import Controller, World
from weft.cluster.controllers.objects import Key, condition, is_finished, is_going, is_ready, moment, timestamp
from weft.cluster.controllers.placing import NOT_READY, UNREACHABLE, UNSCHEDULABLE

_GRACE = timedelta(seconds=40)
_LEASES = "kube-node-lease"
_TTL = "node.alpha.kubernetes.io/ttl"
_SILENT = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
_PRESSURES = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
_OURS = {NOT_READY, UNREACHABLE, UNSCHEDULABLE, *_PRESSURES.values()}


class NodeLife(Controller):
    """Keeps each node's conditions and taints true to its lease. `since` is when this controller began to look."""

    name = "node-controller"
    watches: tuple[Kind, ...] = (NODES, LEASES, PODS)

    def __init__(self, since: datetime) -> None:
        self._since = since
        self._registered: dict[Key, Json] = {}

    def keys(self, kind: Kind, obj: Json, world: World) -> Iterable[Key]:  # noqa: ARG002, the names are in the object
        """A node, the one whose lease this is, or the one that a pod is on."""
        if kind == NODES:
            return [("", obj["metadata"]["name"])]
        if kind == LEASES:
            mine = obj["metadata"]["namespace"] == _LEASES
            return [("", obj["metadata"]["name"])] if mine else []
        name = obj["spec"].get("nodeName")
        return [("", name)] if name and condition(obj, "ContainersReady").get("status") == "True" else []

    def plan(self, key: Key, world: World) -> Plan:
        """Mark a silent node, set the taints that its conditions ask for, and unready its pods."""
        node = world.of(NODES).get(key)
        if node is None:
            gone = self._registered.pop(key, None)
            return Plan(
                [self._tell(gone, "RemovingNode", f"Removing Node {key[1]} from Controller")] if gone else ()
            )
        left = self._last_sign(node, world) + _GRACE - world.now
        silent = left <= timedelta()
        changes: list[Change] = []
        if key not in self._registered:
            changes.append(self._tell(node, "RegisteredNode", f"Registered Node {key[1]} in Controller"))
        self._registered[key] = node
        if silent and condition(node, "Ready").get("status") != "Unknown":
            status = {"conditions": _unknown(node, world)}
            told = f"Node {key[1]} status is now: NodeNotReady"
            changes += [
                Patch(NODES, node, {"status": status}, "status"),
                Tell(node, NODES, "NodeNotReady", told, self.name),
            ]
            node = node | {"status": node.get("status", {}) | status}
        taints = _taints(node, world)
        if taints != (node.get("spec", {}).get("taints") or []):
            patch = {"metadata": {"uid": node["metadata"]["uid"]}, "spec": {"taints": taints or None}}
            changes.append(Patch(NODES, node, patch))
        if _TTL not in (node["metadata"].get("annotations") or {}):
            # for how many seconds kubelets may believe what they know of secrets: none, in a cluster this small
            changes.append(Patch(NODES, node, {"metadata": {"annotations": {_TTL: "0"}}}))
        if condition(node, "Ready").get("status") == "Unknown":
            changes += self._unready(node, world)
        elif condition(node, "Ready").get("status") == "True":
            changes += _readied(node, world)
        return Plan(changes, None if silent else left)

    def _tell(self, node: Json, reason: str, message: str) -> Change:
        return Tell(node, NODES, reason, f"Node {node['metadata']['name']} event: {message}", self.name)

    def _last_sign(self, node: Json, world: World) -> datetime:
        lease = world.of(LEASES).get((_LEASES, node["metadata"]["name"]))
        renewed = ((lease or {}).get("spec") or {}).get("renewTime") or node["metadata"]["creationTimestamp"]
        # a server that was down itself must not find every node dead when it is back
        return max(moment(renewed), self._since)

    def _unready(self, node: Json, world: World) -> list[Change]:
        told = "Node is not ready"
        return [
            change
            for pod in _pods_on(node, world)
            if is_ready(pod)
            for change in (
                _with_ready(pod, "False", world),
                Tell(pod, PODS, "NodeNotReady", told, self.name, warning=True),
            )
        ]


def _readied(node: Json, world: World) -> list[Change]:
    """Pods that kept running while their node was silent are ready again."""
    return [
        _with_ready(pod, "True", world)
        for pod in _pods_on(node, world)
        if condition(pod, "ContainersReady").get("status") == "True"
        and condition(pod, "Ready").get("status") == "False"
        and not is_going(pod)
        and all(
            condition(pod, gate["conditionType"]).get("status") == "True"
            for gate in pod["spec"].get("readinessGates") or ()
        )
    ]


def _pods_on(node: Json, world: World) -> list[Json]:
    name = node["metadata"]["name"]
    return [pod for pod in world.of(PODS) if pod["spec"].get("nodeName") == name and not is_finished(pod)]


def _with_ready(pod: Json, status: str, world: World) -> Change:
    fresh = {"status": status, "lastTransitionTime": timestamp(world.now)}
    conditions = [entry | fresh if entry["type"] == "Ready" else entry for entry in pod["status"]["conditions"]]
    return Patch(PODS, pod, {"status": {"conditions": conditions}}, "status")


def _unknown(node: Json, world: World) -> list[Json]:
    """The node's conditions, with those that its kubelet would report as nobody knows them."""
    held = {entry["type"]: entry for entry in node.get("status", {}).get("conditions") or ()}
    for kind in _SILENT:
        never = kind not in held
        held[kind] = {
            **held.get(kind, {}),
            "type": kind,
            "status": "Unknown",
            "reason": "NodeStatusNeverUpdated" if never else "NodeStatusUnknown",
            "message": "Kubelet never posted node status." if never else "Kubelet stopped posting node status.",
            "lastTransitionTime": timestamp(world.now),
        }
    return list(held.values())


def _taints(node: Json, world: World) -> list[Json]:
    """The node's taints: other people's, and those that its conditions call for."""
    held: list[Json] = node.get("spec", {}).get("taints") or []
    wanted: list[tuple[str, str]] = []
    if node.get("spec", {}).get("unschedulable"):
        wanted.append((UNSCHEDULABLE, "NoSchedule"))
    ready = condition(node, "Ready").get("status", "False")
    if ready != "True":
        key = UNREACHABLE if ready == "Unknown" else NOT_READY
        wanted += [(key, "NoSchedule"), (key, "NoExecute")]
    for kind, key in _PRESSURES.items():
        if condition(node, kind).get("status") == "True":
            wanted.append((key, "NoSchedule"))
    kept = [taint for taint in held if taint["key"] not in _OURS or (taint["key"], taint["effect"]) in wanted]
    there = {(taint["key"], taint["effect"]) for taint in kept}
    new = [
        {"key": key, "effect": effect, "timeAdded": timestamp(world.now)}
        for key, effect in wanted
        if (key, effect) not in there
    ]
    return kept + new
