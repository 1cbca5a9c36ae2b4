"""StatefulSets: pods with names, hostnames and claims of their own, started and replaced in order."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from weft.adapters.kube.client import ApiError, Json
from weft.adapters.kube.kinds import (
    CONTROLLERREVISIONS,
    PERSISTENTVOLUMECLAIMS,
    PODS,
    STATEFULSETS,
    Kind,
)
from weft.cluster.controllers import claims, revisions
from weft.cluster.controllers.changes import Change, Create, Delete, Patch, Plan
from weft.cluster.controllers.events import Tell
from weft.cluster.controllers.loop import Controller, World
from weft.cluster.controllers.objects import (
    Key,
    differs,
    is_finished,
    is_going,
    key_of,
    owned_by,
    owner_key,
)
from weft.cluster.controllers.pods import (
    adopt,
    adopters,
    available_in,
    from_template,
    min_ready,
    orphans_of,
    release,
    share,
    soonest,
    strayed,
)
from weft.cluster.controllers.revisions import HASH_LABEL, History

POD_NAME = "statefulset.kubernetes.io/pod-name"
_INDEX = "apps.kubernetes.io/pod-index"


@dataclass(frozen=True, slots=True)
class _Set:
    """A StatefulSet at one look: its pods by ordinal, and the revisions they should have."""

    obj: Json
    pods: dict[int, Json]
    past: History
    current: str
    world: World

    @property
    def update(self) -> str:
        return self.past.name

    @property
    def ordinals(self) -> range:
        spec = self.obj["spec"]
        start = (spec.get("ordinals") or {}).get("start", 0)
        return range(start, start + spec.get("replicas", 1))

    @property
    def ordered(self) -> bool:
        return bool(self.obj["spec"].get("podManagementPolicy", "OrderedReady") == "OrderedReady")

    @property
    def partition(self) -> int:
        strategy = self.obj["spec"].get("updateStrategy") or {}
        return int((strategy.get("rollingUpdate") or {}).get("partition") or 0)

    @property
    def max_unavailable(self) -> int:
        """How many pods may be missing or not available while a rollout goes on; at least one."""
        rolling = (self.obj["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
        return max(1, share(rolling.get("maxUnavailable") or 1, len(self.ordinals), up=False))

    @property
    def rolls(self) -> bool:
        return bool((self.obj["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate") == "RollingUpdate")

    def revision_of(self, ordinal: int) -> str:
        """The revision that a new pod of this ordinal gets."""
        # a rollout comes down from the top: whoever is missing below the old ones left is old, too
        left = sum(revision_of(pod) == self.current for pod in self.pods.values() if not is_going(pod))
        kept = self.partition or left
        old = self.rolls and ordinal < self.ordinals.start + kept
        return self.current if old and self.past.template(self.current) else self.update

    def settled(self, pod: Json) -> bool:
        """Whether the next pod in order may follow this one."""
        wait = available_in(pod, min_ready(self.obj["spec"]), self.world.now)
        return not is_going(pod) and wait == timedelta()


class StatefulSets(Controller):
    """Creates the pods from the lowest ordinal, takes them away from the highest."""

    name = "statefulset-controller"
    watches: tuple[Kind, ...] = (STATEFULSETS, PODS, CONTROLLERREVISIONS, PERSISTENTVOLUMECLAIMS)

    def keys(self, kind: Kind, obj: Json, world: World) -> Iterable[Key]:
        """A StatefulSet, the one that owns a pod, revision or claim, or those that might adopt a pod."""
        if kind == STATEFULSETS:
            return [key_of(obj)]
        return owner_key(obj, STATEFULSETS) or adopters(obj, kind, world.of(STATEFULSETS))

    def plan(self, key: Key, world: World) -> Plan:
        """One step in order, and the status."""
        found = world.of(STATEFULSETS).get(key)
        if found is None or is_going(found):
            return Plan()
        past = revisions.history(found, world)
        if past.current is None:
            return Plan(revisions.keep(STATEFULSETS, found, past, set()))
        loose = orphans_of(found["spec"]["selector"], world.of(PODS).within(key[0]))
        strays = [pod for pod in loose if _ordinal(found, pod) is not None]
        if strays:
            return Plan([adopt(STATEFULSETS, found, PODS, pod) for pod in strays], timedelta())
        owned = owned_by(found, world.of(PODS).dependents(found["metadata"]["uid"]))
        if lost := strayed(found["spec"]["selector"], owned):
            return Plan([release(found, PODS, pod) for pod in lost], timedelta())
        pods = {ordinal: pod for pod in owned if (ordinal := _ordinal(found, pod)) is not None}
        current = found.get("status", {}).get("currentRevision") or past.name
        state = _Set(found, pods, past, current, world)
        in_use = {revision_of(pod) for pod in owned} | {current}
        changes = revisions.keep(STATEFULSETS, found, past, in_use)
        ownership = claims.owners(found, pods, state.ordinals, world)
        if ownership:  # a claim must belong to its condemned pod before that pod goes
            return Plan([*changes, *ownership], timedelta())
        for step in (self._grow, self._shrink, self._replace):
            work, last = step(state)
            changes += work
            if work or last:
                break
        status, again = _status(state)
        if differs(found.get("status", {}), status):
            changes.append(Patch(STATEFULSETS, found, {"status": status}, "status"))
        return Plan(changes, again)

    def refused(self, key: Key, error: ApiError, world: World) -> Plan:
        """What the API refuses is told on the StatefulSet."""
        found = world.of(STATEFULSETS).get(key)
        if found is None:
            return Plan()
        message = f"create Pod in StatefulSet {key[1]} failed error: {error.message}"
        return Plan([Tell(found, STATEFULSETS, "FailedCreate", message, self.name, warning=True)])

    def _grow(self, state: _Set) -> tuple[list[Change], bool]:
        """Missing pods; in order, nothing happens beyond the first that is not settled. True stops the look."""
        changes: list[Change] = []
        for ordinal in state.ordinals:
            pod = state.pods.get(ordinal)
            if pod is None:
                changes += self._create(state, ordinal)
            elif is_finished(pod) and not is_going(pod):
                changes += self._recreate(state, pod)
            elif not state.ordered or state.settled(pod):
                continue
            if state.ordered:
                return changes, True
        return changes, False

    def _shrink(self, state: _Set) -> tuple[list[Change], bool]:
        """Pods beyond the last ordinal, the highest first; in order, one at a time."""
        changes: list[Change] = []
        for ordinal in sorted(set(state.pods) - set(state.ordinals), reverse=True):
            if not is_going(state.pods[ordinal]):
                changes += self._delete(state.obj, state.pods[ordinal])
            if state.ordered:
                return changes, True
        return changes, False

    def _replace(self, state: _Set) -> tuple[list[Change], bool]:
        """Pods of another revision, from the highest ordinal down to the partition, so many at a time.

        Those that are not available anyway go first: nothing is lost with them.
        """
        if not state.rolls:
            return [], True  # OnDelete: people delete the old pods
        there = {
            ordinal: pod for ordinal in state.ordinals if (pod := state.pods.get(ordinal)) and not is_going(pod)
        }
        away = [pod for pod in there.values() if not state.settled(pod)]
        first = state.ordinals.start + state.partition
        old = [
            pod
            for ordinal, pod in sorted(there.items(), reverse=True)
            if ordinal >= first and revision_of(pod) != state.update
        ]
        broken = [pod for pod in old if pod in away]
        coming = len(state.ordinals) - len(there) + len(away) - len(broken)
        doomed = broken[: max(0, state.max_unavailable - coming)]
        room = state.max_unavailable - coming - len(broken)
        doomed += [pod for pod in old if pod not in away][: max(0, room)]
        return [change for pod in doomed for change in self._delete(state.obj, pod)], True

    def _create(self, state: _Set, ordinal: int) -> list[Change]:
        owner, name = state.obj, f"{state.obj['metadata']['name']}-{ordinal}"
        revision = state.revision_of(ordinal)
        missing = claims.missing(owner, ordinal, state.world)
        if missing:
            called = [(claim, f"Claim {claim['metadata']['name']} Pod {name}") for claim in missing]
            return [self._born(PERSISTENTVOLUMECLAIMS, claim, owner, what, "success") for claim, what in called]
        template = state.past.template(revision) or owner["spec"]["template"]
        labels = {POD_NAME: name, _INDEX: str(ordinal), HASH_LABEL: revision}
        pod = from_template(template, STATEFULSETS, owner, labels=labels)
        pod["metadata"].pop("generateName")
        pod["metadata"]["name"] = name
        pod["spec"] = claims.mounted(pod["spec"], owner, name) | {"hostname": name}
        if owner["spec"].get("serviceName"):
            pod["spec"]["subdomain"] = owner["spec"]["serviceName"]
        return [self._born(PODS, pod, owner, f"Pod {name}", "successful")]

    def _recreate(self, state: _Set, pod: Json) -> list[Change]:
        namespace, name = key_of(pod)
        message = f"StatefulSet {namespace}/{state.obj['metadata']['name']} is recreating failed Pod {name}"
        tell = Tell(state.obj, STATEFULSETS, "RecreatingFailedPod", message, self.name, warning=True)
        return [tell, *self._delete(state.obj, pod)]

    def _delete(self, owner: Json, pod: Json) -> list[Change]:
        message = f"delete Pod {pod['metadata']['name']} in StatefulSet {owner['metadata']['name']} successful"
        return [
            Delete(PODS, pod),
            Tell(owner, STATEFULSETS, "SuccessfulDelete", message, self.name),
        ]

    def _born(self, kind: Kind, obj: Json, owner: Json, what: str, well: str) -> Change:
        """Create a pod or claim, and tell how that went."""
        act = f"create {what} in StatefulSet {owner['metadata']['name']}"
        good = Tell(owner, STATEFULSETS, "SuccessfulCreate", f"{act} {well}", self.name)
        bad = Tell(owner, STATEFULSETS, "FailedCreate", f"{act} failed error: ", self.name, warning=True)
        return Create(kind, obj, good, bad)


def revision_of(pod: Json) -> str:
    """The name of the revision that a pod was made from."""
    return str((pod["metadata"].get("labels") or {}).get(HASH_LABEL, ""))


def _ordinal(owner: Json, pod: Json) -> int | None:
    prefix, _, number = pod["metadata"]["name"].rpartition("-")
    return int(number) if prefix == owner["metadata"]["name"] and number.isdecimal() else None


def _status(state: _Set) -> tuple[Json, timedelta | None]:
    least = min_ready(state.obj["spec"])
    pods = [pod for pod in state.pods.values() if not is_finished(pod)]
    waits = [wait for pod in pods if (wait := available_in(pod, least, state.world.now)) is not None]
    lasting = [pod for pod in pods if not is_going(pod)]
    updated = sum(revision_of(pod) == state.update for pod in lasting)
    current = sum(revision_of(pod) == state.current for pod in lasting)
    revision = state.current
    complete = updated == len(pods) == len(waits) == len(state.ordinals)
    if state.rolls and complete and not state.partition:
        revision, current = state.update, updated
    return {
        "observedGeneration": state.obj["metadata"].get("generation", 1),
        "replicas": len(pods),
        "readyReplicas": len(waits) or None,
        "availableReplicas": sum(not wait for wait in waits),
        "currentReplicas": current or None,
        "updatedReplicas": updated or None,
        "currentRevision": revision,
        "updateRevision": state.update,
        "collisionCount": 0,
    }, soonest(waits)
