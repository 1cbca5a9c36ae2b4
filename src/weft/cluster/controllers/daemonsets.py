"""DaemonSets: one pod on each node that takes it, replaced node by node."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from weft.adapters.kube.client import ApiError, Json
from weft.adapters.kube.kinds import CONTROLLERREVISIONS, DAEMONSETS, NODES, PODS, Kind
from weft.cluster.controllers import placing, revisions
from weft.cluster.controllers.changes import Change, Create, Delete, Patch, Plan
from weft.cluster.controllers.events import Tell
from weft.cluster.controllers.loop import Controller, World
from weft.cluster.controllers.objects import (
    Key,
    differs,
    is_finished,
    is_going,
    is_ready,
    key_of,
    moment,
    owned_by,
    owner_key,
)
from weft.cluster.controllers.pods import (
    adopt,
    adopters,
    available_in,
    from_template,
    is_active,
    min_ready,
    orphans_of,
    release,
    share,
    soonest,
    strayed,
)
from weft.cluster.controllers.revisions import HASH_LABEL

_GENERATION = "pod-template-generation"
_FAILED_PAUSE = timedelta(seconds=5)  # before a failed pod is replaced, so that a hopeless one does not spin
# what every daemon lives with (`util.AddOrUpdateDaemonPodTolerations`)
_TOLERATED = (
    (placing.NOT_READY, "NoExecute"),
    (placing.UNREACHABLE, "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    (placing.UNSCHEDULABLE, "NoSchedule"),
)
_NETWORK = ("node.kubernetes.io/network-unavailable", "NoSchedule")


@dataclass(slots=True)
class _Place:
    """One node, as the DaemonSet sees it."""

    node: Json
    wanted: bool
    kept: bool
    pods: list[Json] = field(default_factory=list)


class DaemonSets(Controller):
    """Creates each node's pod, bound there by node affinity, and replaces old ones within the limits."""

    name = "daemonset-controller"
    watches: tuple[Kind, ...] = (DAEMONSETS, PODS, NODES, CONTROLLERREVISIONS)

    def keys(self, kind: Kind, obj: Json, world: World) -> Iterable[Key]:
        """A DaemonSet, the one that owns a pod or revision, those that might adopt a pod; all for a node."""
        if kind == DAEMONSETS:
            return [key_of(obj)]
        if kind == NODES:
            return [key_of(each) for each in world.of(DAEMONSETS)]
        return owner_key(obj, DAEMONSETS) or adopters(obj, kind, world.of(DAEMONSETS))

    def plan(self, key: Key, world: World) -> Plan:
        """Create, delete and replace pods, and count them in the status."""
        found = world.of(DAEMONSETS).get(key)
        if found is None or is_going(found):
            return Plan()
        past = revisions.history(found, world)
        if past.current is None:
            return Plan(revisions.keep(DAEMONSETS, found, past, set()))
        pods = owned_by(found, world.of(PODS).dependents(found["metadata"]["uid"]))
        if lost := strayed(found["spec"]["selector"], pods):
            return Plan([release(found, PODS, pod) for pod in lost], timedelta())
        strays = orphans_of(found["spec"]["selector"], world.of(PODS).within(key[0]))
        if strays:
            return Plan([adopt(DAEMONSETS, found, PODS, pod) for pod in strays], timedelta())
        template = _template(found, past.hash)
        places = _places(template["spec"], world, pods)
        in_use = {f"{found['metadata']['name']}-{_hash(pod)}" for pod in pods}
        changes: list[Change] = revisions.keep(DAEMONSETS, found, past, in_use)
        work, again = self._manage(found, template, places, pods, past.hash, world)
        if not work:
            work = self._replace(found, template, places, past.hash, world)
        changes += work
        status, wait = _status(found, places, past.hash, world)
        if differs(found.get("status", {}), status):
            changes.append(Patch(DAEMONSETS, found, {"status": status}, "status"))
        return Plan(changes, soonest([again, wait]))

    def refused(self, key: Key, error: ApiError, world: World) -> Plan:
        """A pod that the API refuses is told on the DaemonSet."""
        found = world.of(DAEMONSETS).get(key)
        if found is None:
            return Plan()
        message = f"Error creating: {error.message}"
        return Plan([Tell(found, DAEMONSETS, "FailedCreate", message, self.name, warning=True)])

    def _manage(
        self,
        daemon: Json,
        template: Json,
        places: Sequence[_Place],
        pods: Sequence[Json],
        wanted: str,
        world: World,
    ) -> tuple[list[Change], timedelta | None]:
        """A pod where one is missing, none where none belongs, one where there are several."""
        changes: list[Change] = []
        waits: list[timedelta | None] = []
        for place in places:
            for pod in [pod for pod in place.pods if is_finished(pod) and not is_going(pod)]:
                wait = _FAILED_PAUSE - (world.now - moment(pod["metadata"]["creationTimestamp"]))
                if wait > timedelta():
                    waits.append(wait)
                else:
                    changes += self._bury(daemon, pod, place.node)
            active = [pod for pod in place.pods if is_active(pod)]
            if place.wanted and not place.pods:
                changes.append(self._create(daemon, template, place.node))
            elif not place.kept:
                changes += [change for pod in active for change in self._delete(daemon, pod)]
            else:
                changes += [
                    change for pod in _surplus(daemon, active, wanted) for change in self._delete(daemon, pod)
                ]
        known = {place.node["metadata"]["name"] for place in places}
        for pod in pods:
            if is_active(pod) and _node_of(pod) not in known:
                changes += self._delete(daemon, pod)
        return changes, soonest(waits)

    def _replace(
        self, daemon: Json, template: Json, places: Sequence[_Place], wanted: str, world: World
    ) -> list[Change]:
        strategy = daemon["spec"].get("updateStrategy") or {}
        if strategy.get("type", "RollingUpdate") != "RollingUpdate":
            return []  # OnDelete: people delete the old pods
        rolling = strategy.get("rollingUpdate") or {}
        count = sum(place.wanted for place in places)
        surge = share(rolling.get("maxSurge", 0), count, up=True)
        if surge:
            return self._surge(daemon, template, places, wanted, surge, world)
        room = share(rolling.get("maxUnavailable", 1), count, up=True)
        old: list[Json] = []
        for place in places:
            new = [pod for pod in place.pods if _hash(pod) == wanted]
            outdated = [pod for pod in place.pods if _hash(pod) != wanted and is_active(pod)]
            usable = any(_is_available(daemon, pod, world) for pod in place.pods if not is_going(pod))
            if place.wanted and not usable:
                room -= 1
                if outdated and not new:
                    old = [*outdated, *old]  # what serves nobody is replaced without asking for room
                    room += 1
            else:
                old += outdated
        changes: list[Change] = []
        for pod in old:
            if not _is_available(daemon, pod, world):
                changes += self._delete(daemon, pod)
            elif room > 0:
                room -= 1
                changes += self._delete(daemon, pod)
        return changes

    def _surge(
        self, daemon: Json, template: Json, places: Sequence[_Place], wanted: str, surge: int, world: World
    ) -> list[Change]:
        """New pods come up beside old ones; an old one goes once its successor is available."""
        changes: list[Change] = []
        room = surge - sum(
            any(_hash(pod) == wanted and not _is_available(daemon, pod, world) for pod in place.pods)
            and any(_hash(pod) != wanted for pod in place.pods)
            for place in places
        )
        for place in places:
            new = [pod for pod in place.pods if _hash(pod) == wanted]
            old = [pod for pod in place.pods if _hash(pod) != wanted and is_active(pod)]
            if not old:
                continue
            if any(_is_available(daemon, pod, world) for pod in new):
                changes += [change for pod in old for change in self._delete(daemon, pod)]
            elif not new and place.wanted:
                if not any(_is_available(daemon, pod, world) for pod in old):
                    changes.append(self._create(daemon, template, place.node))
                elif room > 0:
                    room -= 1
                    changes.append(self._create(daemon, template, place.node))
        return changes

    def _create(self, daemon: Json, template: Json, node: Json) -> Change:
        pod = from_template(_on_node(template, node), DAEMONSETS, daemon)
        return Create(PODS, pod, Tell(daemon, DAEMONSETS, "SuccessfulCreate", "Created pod: {name}", self.name))

    def _delete(self, daemon: Json, pod: Json) -> list[Change]:
        message = f"Deleted pod: {pod['metadata']['name']}"
        return [Delete(PODS, pod), Tell(daemon, DAEMONSETS, "SuccessfulDelete", message, self.name)]

    def _bury(self, daemon: Json, pod: Json, node: Json) -> list[Change]:
        namespace, name = key_of(pod)
        message = (
            f"Found failed daemon pod {namespace}/{name} on node {node['metadata']['name']}, will try to kill it"
        )
        tell = Tell(daemon, DAEMONSETS, "FailedDaemonPod", message, self.name, warning=True)
        return [Delete(PODS, pod), tell]


def _template(daemon: Json, hashed: str) -> Json:
    template = daemon["spec"]["template"]
    spec, meta = template["spec"], template.get("metadata") or {}
    given = list(spec.get("tolerations") or ())
    tolerated = (*_TOLERATED, _NETWORK) if spec.get("hostNetwork") else _TOLERATED
    added = [{"key": key, "operator": "Exists", "effect": effect} for key, effect in tolerated]
    given += [entry for entry in added if entry not in given]
    labels = {HASH_LABEL: hashed}
    generation = (daemon["metadata"].get("annotations") or {}).get("deprecated.daemonset.template.generation")
    if generation:
        labels[_GENERATION] = generation
    return {
        "metadata": meta | {"labels": (meta.get("labels") or {}) | labels},
        "spec": spec | {"tolerations": given},
    }


def _on_node(template: Json, node: Json) -> Json:
    """The template for one node: bound by name (`util.ReplaceDaemonSetPodNodeNameNodeAffinity`)."""
    field_term = {"key": "metadata.name", "operator": "In", "values": [node["metadata"]["name"]]}
    affinity = template["spec"].get("affinity") or {}
    required = {"nodeSelectorTerms": [{"matchFields": [field_term]}]}
    node_affinity = (affinity.get("nodeAffinity") or {}) | {
        "requiredDuringSchedulingIgnoredDuringExecution": required
    }
    return template | {"spec": template["spec"] | {"affinity": affinity | {"nodeAffinity": node_affinity}}}


def _node_of(pod: Json) -> str:
    """The node that a daemon's pod is on, or is meant for."""
    if pod["spec"].get("nodeName"):
        return str(pod["spec"]["nodeName"])
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or ():
        for entry in term.get("matchFields") or ():
            if entry["key"] == "metadata.name" and entry.get("values"):
                return str(entry["values"][0])
    return ""


def _places(spec: Json, world: World, pods: Iterable[Json]) -> list[_Place]:
    places = {}
    for node in sorted(world.of(NODES), key=key_of):
        fits = placing.matches(spec, node) and spec.get("nodeName") in {None, "", node["metadata"]["name"]}
        tolerations = spec["tolerations"]
        may_start = fits and placing.untolerated(tolerations, node) is None
        may_stay = fits and placing.untolerated(tolerations, node, ["NoExecute"]) is None
        places[node["metadata"]["name"]] = _Place(node, may_start, may_stay)
    for pod in pods:
        if place := places.get(_node_of(pod)):
            place.pods.append(pod)
    return list(places.values())


def _surplus(daemon: Json, active: Sequence[Json], wanted: str) -> list[Json]:
    """All but the oldest pod; while a rollout surges, all but the oldest of each version."""
    rolling = (daemon["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    surges = rolling.get("maxSurge", 0) not in {0, "0%"}
    groups: dict[bool, list[Json]] = {}
    for pod in active:
        groups.setdefault(surges and _hash(pod) == wanted, []).append(pod)
    surplus: list[Json] = []
    for group in groups.values():
        group.sort(key=lambda pod: (not pod["spec"].get("nodeName"), pod["metadata"]["creationTimestamp"]))
        surplus += group[1:]
    return surplus


def _hash(pod: Json) -> str:
    return str((pod["metadata"].get("labels") or {}).get(HASH_LABEL, ""))


def _is_available(daemon: Json, pod: Json, world: World) -> bool:
    return not is_going(pod) and available_in(pod, min_ready(daemon["spec"]), world.now) == timedelta()


def _status(daemon: Json, places: Sequence[_Place], wanted: str, world: World) -> tuple[Json, timedelta | None]:
    least = min_ready(daemon["spec"])
    desired = current = misplaced = ready = available = updated = 0
    waits: list[timedelta | None] = []
    for place in places:
        pods = [pod for pod in place.pods if is_active(pod)]
        if not place.wanted:
            misplaced += bool(pods)
            continue
        desired += 1
        current += bool(pods)
        pods.sort(key=lambda pod: (not is_ready(pod), pod["metadata"]["creationTimestamp"]))
        for pod in pods[:1]:
            wait = available_in(pod, least, world.now)
            waits.append(wait)
            ready += wait is not None
            available += wait == timedelta()
        updated += any(_hash(pod) == wanted for pod in pods)
    return {
        "currentNumberScheduled": current,
        "desiredNumberScheduled": desired,
        "numberMisscheduled": misplaced,
        "numberReady": ready,
        "updatedNumberScheduled": updated or None,
        "numberAvailable": available or None,
        "numberUnavailable": (desired - available) or None,
        "observedGeneration": daemon["metadata"].get("generation", 1),
    }, soonest(waits)
