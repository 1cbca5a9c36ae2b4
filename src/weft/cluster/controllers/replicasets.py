"""ReplicaSets: as many pods as asked for."""

from collections.abc import Iterable
from datetime import timedelta

from weft.adapters.kube.client import ApiError, Json
from weft.adapters.kube.kinds import PODS, REPLICASETS, Kind
from weft.cluster.controllers.changes import Change, Create, Delete, Patch, Plan, Tell
from weft.cluster.controllers.loop import Controller, World
from weft.cluster.controllers.objects import (
    Key,
    condition,
    differs,
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
    min_ready,
    orphans_of,
    soonest,
    usefulness,
)

_BURST = 500  # pods created or deleted in one look; the rest follows at once


class ReplicaSets(Controller):
    """Creates pods that are missing and deletes those too many, the least useful first."""

    name = "replicaset-controller"
    watches: tuple[Kind, ...] = (REPLICASETS, PODS)

    def keys(self, kind: Kind, obj: Json, world: World) -> Iterable[Key]:
        """A ReplicaSet, or the one that owns a pod, or those that might adopt it."""
        if kind == REPLICASETS:
            return [key_of(obj)]
        if owner := owner_of(obj):
            return [(obj["metadata"]["namespace"], owner["name"])] if owner["kind"] == "ReplicaSet" else []
        return [key_of(rs) for rs in world.of(REPLICASETS).within(obj["metadata"]["namespace"]) if _takes(rs, obj)]

    def plan(self, key: Key, world: World) -> Plan:
        """Adopt, create or delete pods, and say in the status how many there are."""
        found = world.of(REPLICASETS).get(key)
        if found is None:
            return Plan()
        if is_going(found):
            return Plan()
        pods = owned_by(found, world.of(PODS).dependents(found["metadata"]["uid"]))
        orphans = orphans_of(found["spec"]["selector"], world.of(PODS).within(key[0]))
        active = [pod for pod in pods if is_active(pod)]
        changes: list[Change] = [adopt(REPLICASETS, found, PODS, pod) for pod in orphans]
        missing = found["spec"].get("replicas", 1) - len(active) - len(orphans)
        if missing > 0:
            born = Tell(found, REPLICASETS, "SuccessfulCreate", "Created pod: {name}", self.name)
            changes += [
                Create(PODS, from_template(found["spec"]["template"], REPLICASETS, found), born)
                for _ in range(min(missing, _BURST))
            ]
        elif missing < 0:
            changes += [Delete(PODS, pod) for pod in sorted(active, key=usefulness)[: min(-missing, _BURST)]]
        status, again = _status(found, active, world)
        if differs(found.get("status", {}), status):
            changes.append(Patch(REPLICASETS, found, {"status": status}, "status"))
        return Plan((*changes, *_told(found, changes, self.name)), again)

    def refused(self, key: Key, error: ApiError, world: World) -> Plan:
        """A pod that the API refuses is told on the ReplicaSet and in its status."""
        found = world.of(REPLICASETS).get(key)
        if found is None:
            return Plan()
        failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": error.message}
        conditions = with_condition(found.get("status", {}).get("conditions") or [], failure, world.now)
        tell = Tell(
            found, REPLICASETS, "FailedCreate", f"Error creating: {error.message}", self.name, warning=True
        )
        changes: list[Change] = [tell]
        # the message names another pod each time: writing each would have this ReplicaSet looked at for ever
        if condition(found, "ReplicaFailure").get("reason") != failure["reason"]:
            changes.append(Patch(REPLICASETS, found, {"status": {"conditions": conditions}}, "status"))
        return Plan(changes)


def _takes(replicaset: Json, pod: Json) -> bool:
    return selects(replicaset["spec"]["selector"], pod["metadata"].get("labels"))


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


def _told(replicaset: Json, changes: list[Change], component: str) -> list[Change]:
    deleted = [change.of["metadata"]["name"] for change in changes if isinstance(change, Delete)]
    return [
        Tell(replicaset, REPLICASETS, "SuccessfulDelete", f"Deleted pod: {name}", component) for name in deleted
    ]
