"""What a PodDisruptionBudget says of its pods: how many are healthy, wanted, and may be disrupted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import CRDS, DEPLOYMENTS, REPLICASETS, REPLICATIONCONTROLLERS, STATEFULSETS
from weft.cluster.controllers.loop import World
from weft.cluster.controllers.objects import is_going, is_ready, owner_of, selects
from weft.cluster.controllers.pods import share

_SCALED = {(kind.group, kind.kind) for kind in (DEPLOYMENTS, REPLICASETS, REPLICATIONCONTROLLERS, STATEFULSETS)}


class CountError(Exception):
    """How many pods there should be cannot be told."""


@dataclass(frozen=True, slots=True)
class Count:
    """A budget at one moment. `unmanaged` names pods that no controller owns."""

    expected: int
    healthy: int
    desired: int
    unmanaged: Sequence[str] = ()

    @property
    def allowed(self) -> int:
        """How many healthy pods may go."""
        return max(0, self.healthy - self.desired) if self.expected > 0 else 0


def covers(budget: Json, pod: Json) -> bool:
    """Whether a budget is about a pod. An empty selector takes all, none takes nothing."""
    same = budget["metadata"]["namespace"] == pod["metadata"]["namespace"]
    return same and selects(budget["spec"].get("selector"), pod["metadata"].get("labels"))


def count(budget: Json, pods: Sequence[Json], world: World) -> Count:
    """Count a budget's pods; CountError where a percentage is of a number that nobody knows."""
    spec = budget["spec"]
    healthy = sum(is_ready(pod) and not is_going(pod) for pod in pods)
    if (most := spec.get("maxUnavailable")) is not None:
        expected, unmanaged = _expected(pods, world)
        return Count(expected, healthy, max(0, expected - share(most, expected, up=True)), unmanaged)
    least = spec.get("minAvailable", 1)
    if isinstance(least, str):
        expected, unmanaged = _expected(pods, world)
        return Count(expected, healthy, share(least, expected, up=True), unmanaged)
    return Count(len(pods), healthy, least)


def _expected(pods: Sequence[Json], world: World) -> tuple[int, list[str]]:
    """How many pods their controllers want together, and the pods that have none."""
    sizes: dict[str, int] = {}
    unmanaged: list[str] = []
    for pod in pods:
        owner = _controller(pod, world)
        if owner is None:
            unmanaged.append(pod["metadata"]["name"])
        elif owner["uid"] not in sizes:
            sizes[owner["uid"]] = _size(owner, world)
    return sum(sizes.values()), unmanaged


def _controller(pod: Json, world: World) -> Json | None:
    """The reference to what decides how many pods there are: a ReplicaSet's Deployment rather than itself."""
    owner = owner_of(pod)
    if owner and owner["kind"] == REPLICASETS.kind and owner["apiVersion"] == REPLICASETS.api_version:
        replicaset = world.of(REPLICASETS).get((pod["metadata"]["namespace"], owner["name"]))
        above = owner_of(replicaset) if replicaset else None
        if above and above["kind"] == DEPLOYMENTS.kind:
            return above
    return owner


def _size(owner: Json, world: World) -> int:
    cache = world.named(owner["apiVersion"], owner["kind"])
    found = cache.with_uid(owner["uid"]) if cache else None
    if cache is None or found is None:
        return 0
    group = cache.kind.group
    if (group, owner["kind"]) in _SCALED:
        return int(found["spec"].get("replicas", 1))
    path = _scale_path(f"{cache.kind.plural}.{group}", cache.kind.version, world)
    if not path:
        plural = f"{cache.kind.plural}.{group}" if group else cache.kind.plural
        raise CountError(f"{plural} does not implement the scale subresource")
    value: Any = found
    for part in path.strip(".").split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value if isinstance(value, int) else 0


def _scale_path(definition: str, version: str, world: World) -> str:
    """Where objects of a custom kind say how many pods they want; empty if that kind does not scale."""
    crd = world.of(CRDS).get(("", definition))
    for each in (crd or {}).get("spec", {}).get("versions") or ():
        if each["name"] == version:
            return str(((each.get("subresources") or {}).get("scale") or {}).get("specReplicasPath", ""))
    return ""
