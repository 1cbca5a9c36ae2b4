"""ReplicaSets, and the ReplicationControllers before them: as many pods as asked for."""

from collections.abc import Iterable
from datetime import timedelta

from weft.adapters.kube.client import ApiError, Json
from weft.adapters.kube.kinds import PODS, REPLICASETS, Kind
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
    owned_by,
    owner_of,
    selects,
    with_condition,
)
from weft.cluster.controllers.pods import (
    adopt,
    available_in,
    from_template,
    is_active,
    least_useful,
    min_ready,
    orphans_of,
    release,
    soonest,
    strayed,
)

_BURST = 500  # pods created or deleted in one look; the rest follows at once


class ReplicaSets(Controller):
    """Creates pods that are missing and deletes those too many, the least useful first."""

    def __init__(self, kind: Kind = REPLICASETS) -> None:
        self._kind = kind
        self.name = "replicaset-controller" if kind == REPLICASETS else "replication-controller"
        self.watches = (kind, PODS)

    def keys(self, kind: Kind, obj: Json, world: World) -> Iterable[Key]:
        """A ReplicaSet, or the one that owns a pod, or those that might adopt it."""
        if kind == self._kind:
            return [key_of(obj)]
        if owner := owner_of(obj):
            return [(obj["metadata"]["namespace"], owner["name"])] if owner["kind"] == self._kind.kind else []
        return [key_of(rs) for rs in world.of(self._kind).within(obj["metadata"]["namespace"]) if _takes(rs, obj)]

    def plan(self, key: Key, world: World) -> Plan:
        """Adopt, create or delete pods, and say in the status how many there are."""
        found = world.of(self._kind).get(key)
        if found is None or is_going(found):
            return Plan()
        pods = owned_by(found, world.of(PODS).dependents(found["metadata"]["uid"]))
        if lost := strayed(_selector(found), pods):
            return Plan([release(found, PODS, pod) for pod in lost], timedelta())
        orphans = orphans_of(_selector(found), world.of(PODS).within(key[0]))
        active = [pod for pod in pods if is_active(pod)]
        changes: list[Change] = [adopt(self._kind, found, PODS, pod) for pod in orphans]
        missing = found["spec"].get("replicas", 1) - len(active) - len(orphans)
        if missing > 0:
            born = Tell(found, self._kind, "SuccessfulCreate", "Created pod: {name}", self.name)
            changes += [
                Create(PODS, from_template(found["spec"]["template"], self._kind, found), born)
                for _ in range(min(missing, _BURST))
            ]
        elif missing < 0:
            doomed = least_useful(active, world.now, self._related(found, world))[: min(-missing, _BURST)]
            changes += [Delete(PODS, pod) for pod in doomed]
        status, again = _status(found, active, world)
        if self._kind == REPLICASETS:
            status["terminatingReplicas"] = sum(is_going(pod) and not is_finished(pod) for pod in pods)
        if differs(found.get("status", {}), status):
            changes.append(Patch(self._kind, found, {"status": status}, "status"))
        return Plan((*changes, *self._told(found, changes)), again)

    def refused(self, key: Key, error: ApiError, world: World) -> Plan:
        """A pod that the API refuses is told on the ReplicaSet and in its status."""
        found = world.of(self._kind).get(key)
        if found is None:
            return Plan()
        failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": error.message}
        conditions = with_condition(found.get("status", {}).get("conditions") or [], failure, world.now)
        tell = Tell(found, self._kind, "FailedCreate", f"Error creating: {error.message}", self.name, warning=True)
        changes: list[Change] = [tell]
        if condition(found, "ReplicaFailure").get("reason") != failure["reason"]:
            # other words alone are no news: they name another pod each time, and each write means a look at once
            changes.append(Patch(self._kind, found, {"status": {"conditions": conditions}}, "status"))
        return Plan(changes)

    def _related(self, found: Json, world: World) -> list[Json]:
        """The active pods of this one and of the others that belong to the same Deployment."""
        owner = owner_of(found)
        siblings = [found] if owner is None else world.of(self._kind).dependents(owner["uid"])
        pods = [pod for each in siblings for pod in world.of(PODS).dependents(each["metadata"]["uid"])]
        return [pod for pod in pods if is_active(pod)]

    def _told(self, found: Json, changes: list[Change]) -> list[Change]:
        deleted = [change.of["metadata"]["name"] for change in changes if isinstance(change, Delete)]
        return [Tell(found, self._kind, "SuccessfulDelete", f"Deleted pod: {name}", self.name) for name in deleted]


def _takes(replicaset: Json, pod: Json) -> bool:
    return selects(_selector(replicaset), pod["metadata"].get("labels"))


def _selector(replicaset: Json) -> Json:
    """A ReplicationController's selector is bare labels."""
    given: Json = replicaset["spec"].get("selector") or {}
    plain = not {"matchLabels", "matchExpressions"} & given.keys()
    return {"matchLabels": given} if plain else given


def _status(replicaset: Json, active: list[Json], world: World) -> tuple[Json, timedelta | None]:
    template = replicaset["spec"]["template"]["metadata"].get("labels") or {}
    least = min_ready(replicaset["spec"])
    waits = [wait for pod in active if (wait := available_in(pod, least, world.now)) is not None]
    status = {
        "replicas": len(active),
        "fullyLabeledReplicas": sum(
            template.items() <= (pod["metadata"].get("labels") or {}).items() for pod in active
        ),
        "readyReplicas": len(waits),
        "availableReplicas": sum(not wait for wait in waits),
        "observedGeneration": replicaset["metadata"].get("generation", 1),
    }
    counted = {key: value or None for key, value in status.items()} | {"replicas": len(active)}
    failure = condition(replicaset, "ReplicaFailure")
    if failure and len(active) >= replicaset["spec"].get("replicas", 1):
        rest = [entry for entry in replicaset["status"]["conditions"] if entry["type"] != "ReplicaFailure"]
        counted["conditions"] = rest or None
    return counted, soonest(waits)
