"""Pods as their controllers make and judge them: from a template, available or not, more or less missed."""

import math
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import PODS, Kind
from weft.cluster.controllers.cache import Cache
from weft.cluster.controllers.changes import Change, Patch
from weft.cluster.controllers.objects import (
    Key,
    condition,
    is_finished,
    is_going,
    is_ready,
    key_of,
    moment,
    owner_of,
    owner_reference,
    selects,
)


def from_template(template: Json, kind: Kind, owner: Json, *, labels: dict[str, str] | None = None) -> Json:
    """A pod of this template, owned by `owner`, with a name that the server completes."""
    given = template.get("metadata") or {}
    meta: Json = {key: given[key] for key in ("labels", "annotations", "finalizers") if given.get(key)}
    meta |= {
        "labels": (given.get("labels") or {}) | (labels or {}),
        "generateName": f"{owner['metadata']['name']}-",
        "namespace": owner["metadata"]["namespace"],
        "ownerReferences": [owner_reference(kind, owner)],
    }
    return {"metadata": meta, "spec": template["spec"]}


def is_active(pod: Json) -> bool:
    """Whether a pod runs or may still come to run."""
    return not is_going(pod) and not is_finished(pod)


def available_in(pod: Json, least: timedelta, now: datetime) -> timedelta | None:
    """How long until a pod has been ready for `least`: zero if it has, None if it is not ready."""
    if not is_ready(pod):
        return None
    return max(timedelta(), least - (now - moment(condition(pod, "Ready")["lastTransitionTime"])))


def min_ready(spec: Json) -> timedelta:
    """For how long a pod must have been ready to count as available."""
    return timedelta(seconds=spec.get("minReadySeconds") or 0)


def soonest(waits: Iterable[timedelta | None]) -> timedelta | None:
    """The shortest wait that is one; None if there is nothing to wait for."""
    return min((wait for wait in waits if wait), default=None)


def share(value: int | str, whole: int, *, up: bool) -> int:
    """A count, or a percentage of `whole` (IntOrString)."""
    if isinstance(value, int):
        return value
    part = int(value.removesuffix("%")) * whole / 100
    return math.ceil(part) if up else math.floor(part)


def least_useful(pods: Iterable[Json], now: datetime, related: Iterable[Json] = ()) -> list[Json]:
    """The pods by how much they would be missed, the least first (`ActivePodsWithRanks`).

    `related` are the active pods of the same workload: where more of them share a node, one goes first.
    """
    crowd = Counter(pod["spec"].get("nodeName") for pod in related)

    def key(pod: Json) -> tuple[object, ...]:
        cost = (pod["metadata"].get("annotations") or {}).get("controller.kubernetes.io/pod-deletion-cost", "0")
        node, ready = pod["spec"].get("nodeName"), is_ready(pod)
        return (
            bool(node),
            {"Running": 2, "Unknown": 1}.get(pod.get("status", {}).get("phase", "Pending"), 0),
            ready,
            int(cost) if cost.lstrip("-").isdigit() else 0,
            -crowd[node],
            _age(condition(pod, "Ready")["lastTransitionTime"], now) if ready else 0,
            -_restarts(pod),
            _age(pod["metadata"]["creationTimestamp"], now),
            pod["metadata"]["uid"],
        )

    return sorted(pods, key=key)


def _age(since: str, now: datetime) -> int:
    """How long ago, in powers of two: of pods about as old, chance decides, so that not all the new ones go."""
    microseconds = (now - moment(since)) / timedelta(microseconds=1)
    return int(math.log2(microseconds * 1000)) if microseconds > 0 else -1


def _restarts(pod: Json) -> int:
    statuses = pod.get("status", {}).get("containerStatuses") or ()
    return max((int(each.get("restartCount", 0)) for each in statuses), default=0)


def adopters(pod: Json, kind: Kind, owners: Cache) -> list[Key]:
    """The keys of those that might adopt an object; only pods that nobody owns are adopted so."""
    if kind != PODS:
        return []
    inside = owners.within(pod["metadata"]["namespace"])
    return [key_of(each) for each in inside if orphans_of(each["spec"]["selector"], [pod])]


def orphans_of(selector: Json, pods: Iterable[Json]) -> list[Json]:
    """The active pods that nobody owns and this selector takes."""
    return [
        pod
        for pod in pods
        if not owner_of(pod) and is_active(pod) and selects(selector, pod["metadata"].get("labels"))
    ]


def adopt(kind: Kind, owner: Json, of: Kind, obj: Json) -> Change:
    """Make `owner` the controller of an object that has none."""
    references = [*(obj["metadata"].get("ownerReferences") or ()), owner_reference(kind, owner)]
    return Patch(of, obj, {"metadata": {"ownerReferences": references, "uid": obj["metadata"]["uid"]}})


def strayed(selector: Json, pods: Iterable[Json]) -> list[Json]:
    """The pods whose labels somebody has changed, so that the selector of their owner does not take them."""
    return [pod for pod in pods if not is_going(pod) and not selects(selector, pod["metadata"].get("labels"))]


def release(owner: Json, of: Kind, obj: Json) -> Change:
    """Make an object no longer `owner`'s."""
    meta = obj["metadata"]
    rest = [each for each in meta["ownerReferences"] if each["uid"] != owner["metadata"]["uid"]]
    return Patch(of, obj, {"metadata": {"ownerReferences": rest or None, "uid": meta["uid"]}})
