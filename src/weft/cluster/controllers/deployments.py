"""Deployments: one ReplicaSet for each version of the template, and the way from the old to the new."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from weft.adapters.kube.client import ApiError, Json
from weft.adapters.kube.kinds import DEPLOYMENTS, PODS, REPLICASETS, Kind
from weft.cluster.controllers.changes import Change, Create, Delete, Patch, Plan
from weft.cluster.controllers.events import Tell
from weft.cluster.controllers.loop import Controller, World
from weft.cluster.controllers.objects import (
    Key,
    condition,
    differs,
    is_finished,
    is_going,
    key_of,
    moment,
    owned_by,
    owner_of,
    owner_reference,
    selects,
    with_condition,
)
from weft.cluster.controllers.pods import adopt, release, share, strayed
from weft.cluster.controllers.proportions import Part, shares
from weft.cluster.controllers.revisions import digest

REVISION = "deployment.kubernetes.io/revision"
_HASH = "pod-template-hash"
_DESIRED, _MOST = "deployment.kubernetes.io/desired-replicas", "deployment.kubernetes.io/max-replicas"
_PAST = "deployment.kubernetes.io/revision-history"
_NOT_COPIED = {"kubectl.kubernetes.io/last-applied-configuration", REVISION, _PAST, _DESIRED, _MOST}


class Deployments(Controller):
    """Keeps a ReplicaSet of the current template and scales it up as the others go down."""

    name = "deployment-controller"
    watches: tuple[Kind, ...] = (DEPLOYMENTS, REPLICASETS, PODS)

    def keys(self, kind: Kind, obj: Json, world: World) -> Iterable[Key]:
        """A Deployment, that of a ReplicaSet or (for Recreate) of its pod, or those that might adopt one."""
        if kind == DEPLOYMENTS:
            return [key_of(obj)]
        owner = owner_of(obj)
        if kind == REPLICASETS and owner is None:
            inside = world.of(DEPLOYMENTS).within(obj["metadata"]["namespace"])
            return [key_of(each) for each in inside if _adoptable(each, obj)]
        if kind == PODS and owner and owner["kind"] == "ReplicaSet":
            replicaset = world.of(REPLICASETS).get((obj["metadata"]["namespace"], owner["name"]))
            owner = owner_of(replicaset) if replicaset else None
        return [(obj["metadata"]["namespace"], owner["name"])] if owner and owner["kind"] == "Deployment" else []

    def plan(self, key: Key, world: World) -> Plan:
        """One step of the rollout, and the status that people watch."""
        deployment = world.of(DEPLOYMENTS).get(key)
        if deployment is None or is_going(deployment):
            return Plan()
        strays = [rs for rs in world.of(REPLICASETS).within(key[0]) if _adoptable(deployment, rs)]
        if strays:
            return Plan([adopt(DEPLOYMENTS, deployment, REPLICASETS, rs) for rs in strays], timedelta())
        owned = [rs for rs in owned_by(deployment, world.of(REPLICASETS).within(key[0])) if not is_going(rs)]
        if lost := strayed(deployment["spec"]["selector"], owned):
            return Plan([release(deployment, REPLICASETS, rs) for rs in lost], timedelta())
        wanted = template_hash(deployment["spec"]["template"])
        new = next((rs for rs in owned if rs["metadata"]["labels"].get(_HASH) == wanted), None)
        old = [rs for rs in owned if rs is not new]
        changes: list[Change] = []
        if deployment["spec"].get("paused") or _is_rescaled(deployment, owned):
            changes += self._rescale(deployment, new, old)
        else:
            changes += self._roll(deployment, new, old, wanted, world)
        changes += _forget(deployment, old)
        status, again = _status(deployment, new, old, world)
        if differs(deployment.get("status", {}), status):
            changes.append(Patch(DEPLOYMENTS, deployment, {"status": status}, "status"))
        return Plan(changes, again)

    def refused(self, key: Key, error: ApiError, world: World) -> Plan:
        """A ReplicaSet that the API refuses is told on the Deployment."""
        deployment = world.of(DEPLOYMENTS).get(key)
        if deployment is None:
            return Plan()
        message = f"Failed to create new replica set: {error.message}"
        return Plan([Tell(deployment, DEPLOYMENTS, "ReplicaSetCreateError", message, self.name, warning=True)])

    def _roll(
        self, deployment: Json, new: Json | None, old: Sequence[Json], wanted: str, world: World
    ) -> list[Change]:
        goal = _goal(deployment)
        revision = str(max((_revision(rs) for rs in old), default=0) + 1)
        if new is None:
            first = goal.replicas if not old else _surge(goal, _wanted(old), 0)
            if goal.recreate and (_wanted(old) or _pods_left(old, world)):
                return self._scale_all(deployment, old)
            replicaset = _replicaset(deployment, wanted, first, revision)
            message = f"Scaled up replica set {replicaset['metadata']['name']} from 0 to {first}"
            tell = Tell(deployment, DEPLOYMENTS, "ScalingReplicaSet", message, self.name)
            return [Create(REPLICASETS, replicaset, tell if first else None), *_numbered(deployment, revision)]
        changes: list[Change] = []
        told = _annotations(deployment, new, max(_revision(new), int(revision)))
        if differs(new["metadata"].get("annotations") or {}, told):
            changes.append(Patch(REPLICASETS, new, {"metadata": {"annotations": told}}))
        changes += _numbered(deployment, max(revision, str(_revision(new)), key=int))
        if goal.recreate and (_wanted(old) or _pods_left(old, world)):
            return changes + self._scale_all(deployment, old)
        return changes + self._step(deployment, goal, new, old)

    def _scale_all(self, deployment: Json, old: Sequence[Json]) -> list[Change]:
        return [change for rs in old if _size(rs) for change in self._scale(deployment, rs, 0)]

    def _step(self, deployment: Json, goal: "_Goal", new: Json, old: Sequence[Json]) -> list[Change]:
        changes: list[Change] = []
        size = goal.replicas if not old else min(goal.replicas, _surge(goal, _wanted(old), _size(new)))
        if size > _size(new) or _size(new) > goal.replicas:
            changes += self._scale(deployment, new, min(size, goal.replicas))
        for rs, fewer in _shrinking(goal, new, old):
            changes += self._scale(deployment, rs, _size(rs) - fewer)
        return changes

    def _rescale(self, deployment: Json, new: Json | None, old: Sequence[Json]) -> list[Change]:
        """Another size, in the midst of a rollout or while it is paused: every ReplicaSet gets its share."""
        goal = _goal(deployment)
        active = [rs for rs in (*old, *([new] if new else [])) if _size(rs)]
        if len(active) <= 1:
            only = active[0] if active else new
            return self._scale(deployment, only, goal.replicas) if only else []
        if goal.recreate:
            return []
        if new and _size(new) == goal.replicas == _available(new):
            return self._scale_all(deployment, old)
        parts = [
            Part(rs["metadata"]["name"], _size(rs), _number(rs, _MOST), str(rs["metadata"]["creationTimestamp"]))
            for rs in active
        ]
        sizes = shares(goal.replicas + goal.max_surge if goal.replicas else 0, goal.replicas, parts)
        return [change for rs in active for change in self._scale(deployment, rs, sizes[rs["metadata"]["name"]])]

    def _scale(self, deployment: Json, replicaset: Json, size: int) -> list[Change]:
        before, name = _size(replicaset), replicaset["metadata"]["name"]
        sizes = _sizes(deployment)
        if size == before:
            marked = not differs(replicaset["metadata"].get("annotations") or {}, sizes)
            return [] if marked else [Patch(REPLICASETS, replicaset, {"metadata": {"annotations": sizes}})]
        way = "up" if size > before else "down"
        message = f"Scaled {way} replica set {name} from {before} to {size}"
        return [
            Patch(REPLICASETS, replicaset, {"metadata": {"annotations": sizes}, "spec": {"replicas": size}}),
            Tell(deployment, DEPLOYMENTS, "ScalingReplicaSet", message, self.name),
        ]


@dataclass(frozen=True, slots=True)
class _Goal:
    replicas: int
    max_surge: int
    max_unavailable: int
    recreate: bool


def _goal(deployment: Json) -> _Goal:
    spec = deployment["spec"]
    replicas = spec.get("replicas", 1)
    strategy = spec.get("strategy") or {}
    rolling = strategy.get("rollingUpdate") or {}
    surge = share(rolling.get("maxSurge", "25%"), replicas, up=True)
    unavailable = share(rolling.get("maxUnavailable", "25%"), replicas, up=False)
    if not surge and not unavailable:
        unavailable = 1  # otherwise no step could ever be taken
    return _Goal(replicas, surge, min(unavailable, replicas), strategy.get("type") == "Recreate")


def _shrinking(goal: _Goal, new: Json, old: Sequence[Json]) -> list[tuple[Json, int]]:
    """By how many pods each old ReplicaSet may shrink now, the oldest first."""
    least = goal.replicas - goal.max_unavailable
    room = _wanted(old) + _size(new) - least - max(0, _size(new) - _available(new))
    spare = sum(map(_available, old)) + _available(new) - least
    shrinking = []
    for rs in sorted(old, key=lambda rs: moment(rs["metadata"]["creationTimestamp"])):
        # pods that never became ready go first: they serve nobody
        idle = max(0, min(room, _size(rs) - _available(rs)))
        busy = max(0, min(room - idle, spare, _size(rs) - idle))
        room, spare = room - idle - busy, spare - busy
        if idle + busy:
            shrinking.append((rs, idle + busy))
    return shrinking


def _surge(goal: _Goal, old: int, new: int) -> int:
    """How large the new ReplicaSet may become now."""
    return max(new, min(goal.replicas, new + max(0, goal.replicas + goal.max_surge - old - new)))


def template_hash(template: Json) -> str:
    """A short name for a pod template: equal templates, equal names."""
    labels = {k: v for k, v in (template["metadata"].get("labels") or {}).items() if k != _HASH}
    return digest(template | {"metadata": template["metadata"] | {"labels": labels}})


def _replicaset(deployment: Json, wanted: str, size: int, revision: str) -> Json:
    template, spec, meta = deployment["spec"]["template"], deployment["spec"], deployment["metadata"]
    hashed = {_HASH: wanted}
    labels = (template["metadata"].get("labels") or {}) | hashed
    annotations = {k: v for k, v in (meta.get("annotations") or {}).items() if k not in _NOT_COPIED}
    selector = spec["selector"] | {"matchLabels": (spec["selector"].get("matchLabels") or {}) | hashed}
    return {
        "metadata": {
            "name": f"{meta['name']}-{wanted}",
            "namespace": meta["namespace"],
            "labels": labels,
            "annotations": annotations | {REVISION: revision} | _sizes(deployment),
            "ownerReferences": [owner_reference(DEPLOYMENTS, deployment)],
        },
        "spec": {
            "replicas": size,
            "minReadySeconds": spec.get("minReadySeconds", 0),
            "selector": selector,
            "template": template | {"metadata": template["metadata"] | {"labels": labels}},
        },
    }


def _sizes(deployment: Json) -> dict[str, str]:
    """What every ReplicaSet remembers of the Deployment's size, to notice that it has changed."""
    goal = _goal(deployment)
    return {_DESIRED: str(goal.replicas), _MOST: str(goal.replicas + goal.max_surge)}


def _annotations(deployment: Json, new: Json, revision: int) -> dict[str, str]:
    """What the current ReplicaSet is to tell: the Deployment's annotations, its revision, those it had before."""
    held = deployment["metadata"].get("annotations") or {}
    told = {key: value for key, value in held.items() if key not in _NOT_COPIED} | {REVISION: str(revision)}
    before = _revision(new)
    if before and before != revision:
        past = (new["metadata"].get("annotations") or {}).get(_PAST)
        told[_PAST] = f"{past},{before}" if past else str(before)
    return told


def _adoptable(deployment: Json, replicaset: Json) -> bool:
    loose = not owner_of(replicaset) and not is_going(replicaset) and not is_going(deployment)
    return loose and selects(deployment["spec"]["selector"], replicaset["metadata"].get("labels"))


def _is_rescaled(deployment: Json, owned: Iterable[Json]) -> bool:
    wanted = str(_goal(deployment).replicas)
    marks = [(rs["metadata"].get("annotations") or {}).get(_DESIRED) for rs in owned if _size(rs)]
    return any(mark is not None and mark != wanted for mark in marks)


def _number(replicaset: Json, name: str) -> int:
    return int((replicaset["metadata"].get("annotations") or {}).get(name) or _size(replicaset))


def _numbered(deployment: Json, revision: str) -> list[Change]:
    if (deployment["metadata"].get("annotations") or {}).get(REVISION) == revision:
        return []
    return [Patch(DEPLOYMENTS, deployment, {"metadata": {"annotations": {REVISION: revision}}})]


def _forget(deployment: Json, old: Sequence[Json]) -> list[Change]:
    keep = deployment["spec"].get("revisionHistoryLimit", 10)
    done = [rs for rs in old if not _size(rs) and not rs.get("status", {}).get("replicas")]
    done.sort(key=_revision)
    return [Delete(REPLICASETS, rs) for rs in done[: max(0, len(done) - keep)]]


def _status(
    deployment: Json, new: Json | None, old: Sequence[Json], world: World
) -> tuple[Json, timedelta | None]:
    every = [*old, *([new] if new else [])]
    goal = _goal(deployment)
    total, available = _counted(every, "replicas"), _counted(every, "availableReplicas")
    updated = _counted([new] if new else [], "replicas")
    conditions: list[Json] = deployment.get("status", {}).get("conditions") or []
    enough = available >= goal.replicas - goal.max_unavailable
    conditions = with_condition(conditions, _available_condition(enough=enough), world.now)
    progress, again = _progress(deployment, new, goal, total, updated, available, world)
    if progress:
        conditions = with_condition(conditions, progress, world.now)
    failure = condition(new, "ReplicaFailure") if new else {}
    if failure:
        kept = {key: failure[key] for key in ("type", "status", "reason", "message")}
        conditions = with_condition(conditions, kept, world.now)
    else:
        conditions = [entry for entry in conditions if entry["type"] != "ReplicaFailure"]
    status: Json = {
        "observedGeneration": deployment["metadata"].get("generation", 1),
        "replicas": total or None,
        "updatedReplicas": updated or None,
        "readyReplicas": _counted(every, "readyReplicas") or None,
        "availableReplicas": available or None,
        "terminatingReplicas": _counted(every, "terminatingReplicas"),
        "unavailableReplicas": max(0, max(goal.replicas, total) - available) or None,
        "conditions": conditions,
    }
    return status, again


def _available_condition(*, enough: bool) -> Json:
    return {
        "type": "Available",
        "status": "True" if enough else "False",
        "reason": "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
        "message": f"Deployment {'has' if enough else 'does not have'} minimum availability.",
    }


_PAUSED = {
    "type": "Progressing",
    "status": "Unknown",
    "reason": "DeploymentPaused",
    "message": "Deployment is paused",
}
_RESUMED = _PAUSED | {"reason": "DeploymentResumed", "message": "Deployment is resumed"}


def _progress(
    deployment: Json, new: Json | None, goal: _Goal, total: int, updated: int, available: int, world: World
) -> tuple[Json | None, timedelta | None]:
    """The Progressing condition; and when its deadline is to be looked at."""
    held = condition(deployment, "Progressing")
    if deployment["spec"].get("paused"):
        return _PAUSED, None
    if held.get("reason") == _PAUSED["reason"]:
        return _RESUMED, timedelta()
    if new is None:
        return None, None
    name = new["metadata"]["name"]
    progressing = {"type": "Progressing", "status": "True"}
    if updated == goal.replicas == total == available and _observed(new):
        message = f'ReplicaSet "{name}" has successfully progressed.'
        return progressing | {"reason": "NewReplicaSetAvailable", "message": message}, None
    message = f'ReplicaSet "{name}" is progressing.'
    moving = progressing | {"reason": "ReplicaSetUpdated", "message": message}
    limit = timedelta(seconds=deployment["spec"].get("progressDeadlineSeconds", 600))
    counts = (updated, available)
    before = deployment.get("status", {})
    moved = counts != (before.get("updatedReplicas", 0), before.get("availableReplicas", 0))
    if not held or held.get("message") not in {message, _late(name)} or moved:
        return moving, limit
    waited = world.now - moment(held.get("lastUpdateTime") or held["lastTransitionTime"])
    if waited < limit and held["status"] == "True":
        return held_only(held), limit - waited
    late = {"status": "False", "reason": "ProgressDeadlineExceeded", "message": _late(name)}
    return progressing | late, None


def held_only(entry: Json) -> Json:
    """A condition without its times, to be written as it stands."""
    return {key: entry[key] for key in ("type", "status", "reason", "message")}


def _late(name: str) -> str:
    return f'ReplicaSet "{name}" has timed out progressing.'


def _observed(replicaset: Json) -> bool:
    generation = replicaset["metadata"].get("generation", 1)
    return bool(replicaset.get("status", {}).get("observedGeneration", 0) >= generation)


def _pods_left(replicasets: Sequence[Json], world: World) -> bool:
    return any(
        not is_finished(pod)
        for rs in replicasets
        for pod in owned_by(rs, world.of(PODS).within(rs["metadata"]["namespace"]))
    )


def _counted(replicasets: Iterable[Json], field: str) -> int:
    return sum(rs.get("status", {}).get(field) or 0 for rs in replicasets)


def _wanted(replicasets: Iterable[Json]) -> int:
    return sum(_size(rs) for rs in replicasets)


def _size(replicaset: Json) -> int:
    return int(replicaset["spec"].get("replicas", 1))


def _available(replicaset: Json) -> int:
    return int(replicaset.get("status", {}).get("availableReplicas") or 0)


def _revision(replicaset: Json) -> int:
    return int((replicaset["metadata"].get("annotations") or {}).get(REVISION) or 0)
