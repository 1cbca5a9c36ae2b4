"""The scheduler: a node for each pod, or the reason why there is none."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import (
    NAMESPACES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODDISRUPTIONBUDGETS,
    PODS,
    STORAGECLASSES,
    Kind,
)
from weft.cluster.controllers import placing, preemption, room, scoring, volume_needs
from weft.cluster.controllers.changes import Bind, Change, Delete, Patch, Plan
from weft.cluster.controllers.events import Tell
from weft.cluster.controllers.evictions import disrupted
from weft.cluster.controllers.loop import Controller, World
from weft.cluster.controllers.neighbours import Neighbours
from weft.cluster.controllers.objects import (
    Key,
    condition,
    is_finished,
    is_going,
    key_of,
    with_condition,
)
from weft.cluster.controllers.room import Amounts, Site
from weft.cluster.controllers.volume_needs import Volumes

_NAME = "default-scheduler"
_AGAIN = timedelta(minutes=5)  # what lets a pod in may be something that nobody watches
_AFFINITY = "node(s) didn't match Pod's node affinity/selector"
_PORTS = "node(s) didn't have free ports for the requested pod ports"
_UNHELPFUL = "Preemption is not helpful for scheduling"
_NO_VICTIMS = "No preemption victims found for incoming pod"


@dataclass(frozen=True, slots=True)
class _Objection:
    """What stands against a node, in Kubernetes' words; `lasting` if no pod's going would change it."""

    reasons: tuple[str, ...]
    lasting: bool


class Scheduler(Controller):
    """Binds pods that name this scheduler to the node that suits them best."""

    name = _NAME
    watches: tuple[Kind, ...] = (
        PODS,
        NODES,
        NAMESPACES,
        PERSISTENTVOLUMECLAIMS,
        PERSISTENTVOLUMES,
        STORAGECLASSES,
    )

    def __init__(self) -> None:
        self._waiting: dict[Key, None] = {}
        self._asked: dict[tuple[str, str], Amounts] = {}  # by uid and revision: reading quantities is dear

    def keys(self, kind: Kind, obj: Json, world: World) -> Iterable[Key]:
        """A pod without a node; all such pods when a node or volume changes, or when a pod is placed or leaves."""
        if kind != PODS:
            return list(self._waiting)
        key = key_of(obj)
        there = world.of(PODS).get(key) is not None
        if there and waits(obj):
            self._waiting[key] = None
            return [key]
        placed = key in self._waiting
        self._waiting.pop(key, None)
        left = not there or is_finished(obj) or is_going(obj)
        return list(self._waiting) if placed or left else []

    def plan(self, key: Key, world: World) -> Plan:
        """Bind the pod, or say once what stands against every node."""
        pod = world.of(PODS).get(key)
        if pod is None or not waits(pod):
            return Plan()
        if pod["spec"].get("schedulingGates"):
            return _unscheduled(
                pod, "SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates", world
            )
        sites = self._sites(pod, world)
        needs = volume_needs.needs(pod, world)
        if isinstance(needs, str):
            helpless = f"preemption: 0/{len(sites)} nodes are available: {len(sites)} {_UNHELPFUL}."
            return _told(pod, f"0/{len(sites)} nodes are available: {needs}. {helpless}", world)
        asked = self._requests(pod)
        names = {each["metadata"]["name"]: each["metadata"].get("labels") or {} for each in world.of(NAMESPACES)}
        neighbours = Neighbours(pod, sites, names)
        objections = {site.name: _objection(pod, asked, site, needs, neighbours) for site in sites}
        fitting = [site for site in sites if objections[site.name] is None]
        if fitting:
            chosen = scoring.best(pod, asked, fitting, neighbours)
            if claims := needs.awaiting(chosen):
                return Plan(claims)
            return Plan([Bind(pod, chosen.name), _scheduled(pod, chosen.name), *_denominated(pod)])
        found = {name: objection for name, objection in objections.items() if objection}
        if room_made := _preempt(pod, asked, sites, found, names, needs, world):
            return room_made
        told = _told(pod, _no_node(found), world)
        return Plan([*told.changes, *_denominated(pod)], told.again)

    def _sites(self, pod: Json, world: World) -> list[Site]:
        """The nodes with the pods there, and with those that others have made room for."""
        sites = {node["metadata"]["name"]: Site(node) for node in world.of(NODES)}
        for other in world.of(PODS):
            where = other["spec"].get("nodeName", "")
            if not where and _goes_first(other, pod):
                where = other.get("status", {}).get("nominatedNodeName") or ""
            site = sites.get(where)
            if site and not is_finished(other):
                site.add(other, self._requests(other))
        return [sites[name] for name in sorted(sites)]

    def _requests(self, pod: Json) -> Amounts:
        mark = pod["metadata"]["uid"], pod["metadata"].get("resourceVersion", "")
        if mark not in self._asked:
            if len(self._asked) > 50_000:
                self._asked.clear()
            self._asked[mark] = room.requests(pod)
        return self._asked[mark]


def waits(pod: Json) -> bool:
    """Whether a pod is this scheduler's to place."""
    spec = pod["spec"]
    return (
        not spec.get("nodeName")
        and not is_going(pod)
        and not is_finished(pod)
        and spec.get("schedulerName", _NAME) == _NAME
    )


def _goes_first(other: Json, pod: Json) -> bool:
    """Whether a pod without a node keeps the room that was made for it from this one."""
    same = other["metadata"]["uid"] == pod["metadata"]["uid"]
    return not same and waits(other) and preemption.priority(other) >= preemption.priority(pod)


def _scheduled(pod: Json, node: str) -> Tell:
    namespace, name = key_of(pod)
    message = f"Successfully assigned {namespace}/{name} to {node}"
    return Tell(pod, PODS, "Scheduled", message, _NAME, action="Binding")


def _denominated(pod: Json) -> list[Change]:
    """Keep no room for a pod any longer: it has its node, or cannot be where room was made."""
    if not pod.get("status", {}).get("nominatedNodeName"):
        return []
    return [Patch(PODS, pod, {"status": {"nominatedNodeName": None}}, "status")]


def _objection(pod: Json, asked: Amounts, site: Site, needs: Volumes, neighbours: Neighbours) -> _Objection | None:
    """What stands against this node, in the order of kube-scheduler's filters: the first that objects is told."""
    spec, node = pod["spec"], site.node
    tolerations = spec.get("tolerations")
    if node.get("spec", {}).get("unschedulable") and not placing.tolerates(tolerations, placing.CORDONED):
        return _Objection(("node(s) were unschedulable",), lasting=True)
    if taint := placing.untolerated(tolerations, node) or _unready(tolerations, node):
        reason = f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value') or ''}}}"
        return _Objection((reason,), lasting=True)
    if not placing.matches(spec, node):
        return _Objection((_AFFINITY,), lasting=True)
    if room.ports_clash(room.host_ports(pod), site.ports):
        return _Objection((_PORTS,), lasting=False)
    if lacking := room.shortages(asked, site, len(site.pods) + 1):
        return _Objection(tuple(lacking), lasting=room.too_large(asked, site))
    if why := needs.objection(site):
        return _Objection((why,), lasting=True)
    if why := neighbours.objection(site):
        return _Objection((why,), lasting=why.endswith(("pod affinity rules", "(missing required label)")))
    return None


def _unready(tolerations: Sequence[Json] | None, node: Json) -> Json | None:
    """The taint of a node that is not ready, before the node controller has set it."""
    ready = condition(node, "Ready").get("status")
    key = placing.UNREACHABLE if ready == "Unknown" else placing.NOT_READY
    taint: Json = {"key": key, "effect": "NoSchedule"}
    return None if ready == "True" or placing.tolerates(tolerations, taint) else taint


def _no_node(objections: Mapping[str, _Objection]) -> str:
    if not objections:
        return "no nodes available to schedule pods"
    total = len(objections)
    helpless = Counter(_UNHELPFUL if objection.lasting else _NO_VICTIMS for objection in objections.values())
    return f"{_reasons(objections)}. preemption: 0/{total} nodes are available: {_listed(helpless)}."


def _reasons(objections: Mapping[str, _Objection]) -> str:
    reasons = Counter(reason for objection in objections.values() for reason in objection.reasons)
    return f"0/{len(objections)} nodes are available: {_listed(reasons)}"


def _listed(reasons: Counter[str]) -> str:
    return ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))


def _told(pod: Json, message: str, world: World) -> Plan:
    plan = _unscheduled(pod, "Unschedulable", message, world)
    if not plan.changes:
        return plan
    return Plan(
        [*plan.changes, Tell(pod, PODS, "FailedScheduling", message, _NAME, warning=True, action="Scheduling")]
    )


def _unscheduled(pod: Json, reason: str, message: str, world: World) -> Plan:
    held = condition(pod, "PodScheduled")
    if (held.get("reason"), held.get("message")) == (reason, message):
        return Plan()
    return Plan([Patch(PODS, pod, {"status": _conditions(pod, reason, message, world)}, "status")])


def _conditions(pod: Json, reason: str, message: str, world: World) -> Json:
    new = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message, "lastProbeTime": None}
    conditions = with_condition(pod.get("status", {}).get("conditions") or [], new, world.now)
    # pods' conditions have no time of update
    plain = [{key: value for key, value in entry.items() if key != "lastUpdateTime"} for entry in conditions]
    return {"conditions": plain}


def _preempt(
    pod: Json,
    asked: Amounts,
    sites: Sequence[Site],
    objections: Mapping[str, _Objection],
    namespaces: Mapping[str, Mapping[str, str]],
    needs: Volumes,
    world: World,
) -> Plan | None:
    """Make room by deleting pods of lower priority, where that helps; None if it does not."""
    open_sites = [site for site in sites if not objections[site.name].lasting]
    if preemption.is_under_way(pod, open_sites):
        return Plan()

    def fits(site: Site) -> bool:
        others = [site if each.name == site.name else each for each in sites]
        return _objection(pod, asked, site, needs, Neighbours(pod, others, namespaces)) is None

    choice = preemption.choose(pod, open_sites, fits, list(world.of(PODDISRUPTIONBUDGETS)))
    if choice is None:
        return None
    message = _reasons(objections) + "."
    status = _conditions(pod, "Unschedulable", message, world) | {"nominatedNodeName": choice.node}
    changes: list[Change] = [
        Patch(PODS, pod, {"status": status}, "status"),
        Tell(pod, PODS, "FailedScheduling", message, _NAME, warning=True, action="Scheduling"),
    ]
    why = f"{_NAME}: preempting to accommodate a higher priority pod"
    for victim in choice.victims:
        told = f"Preempted by pod {pod['metadata']['uid']} on node {choice.node}"
        changes += [
            *disrupted(victim, "PreemptionByScheduler", why, world),
            Delete(PODS, victim),
            Tell(victim, PODS, "Preempted", told, _NAME, action="Preempting"),
        ]
    return Plan(changes)
