"""Which pods a node must end so that it, and the others, go on: pure (docs: node-pressure eviction)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from weft.cluster.kubelet import quantity
from weft.cluster.kubelet.pressure import Shortage

_CRITICAL = 2_000_000_000
"""The priority from which on pods are the system's own, which no pressure ends."""
_STORAGE = "ephemeral-storage"


@dataclass(frozen=True, slots=True)
class Measured:
    """A pod and what it takes, in bytes: memory and files by container, emptyDirs on disk by volume."""

    pod: Mapping[str, Any]
    memory: Mapping[str, int]
    files: Mapping[str, int]
    volumes: Mapping[str, int]

    def use(self, resource: str) -> int:
        """What the whole pod takes of `memory` or `ephemeral-storage`; 0 of what is not measured."""
        match resource:
            case "memory":
                return sum(self.memory.values())
            case "ephemeral-storage":
                return sum(self.files.values()) + sum(self.volumes.values())
            case _:
                return 0


def over_limits(measured: Measured) -> str:
    """Why a pod must go that has written more than it may; empty where it has not."""
    spec = measured.pod["spec"]
    for volume in spec.get("volumes") or ():
        limit = (volume.get("emptyDir") or {}).get("sizeLimit")
        if limit and measured.volumes.get(volume["name"], 0) > quantity.parse(limit) > 0:
            return f'Usage of EmptyDir volume "{volume["name"]}" exceeds the limit "{limit}". '
    limits = {each["name"]: _limit(each) for each in spec["containers"] if _limit(each)}
    whole = sum((quantity.parse(limit) for limit in limits.values()), Decimal(0))
    if limits and measured.use(_STORAGE) > whole:
        shown = next(iter(limits.values())) if len(limits) == 1 else str(int(whole))
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {shown}. "
    for name, limit in limits.items():
        if measured.files.get(name, 0) > quantity.parse(limit):
            return f'Container {name} exceeded its local ephemeral storage limit "{limit}". '
    return ""


def has_limits(pod: Mapping[str, Any]) -> bool:
    """Whether it matters how much a pod writes."""
    volumes = pod["spec"].get("volumes") or ()
    return any((each.get("emptyDir") or {}).get("sizeLimit") for each in volumes) or any(
        _limit(each) for each in pod["spec"]["containers"]
    )


def victim(shortage: Shortage, pods: Iterable[Measured]) -> Measured | None:
    """Whom to end first: who takes more than they asked for, then the least important, then by how much more."""
    candidates = [each for each in pods if int(each.pod["spec"].get("priority") or 0) < _CRITICAL]

    def rank(each: Measured) -> tuple[bool, int, Decimal]:
        over = each.use(shortage.resource) - _request(each.pod, shortage.resource)
        return over <= 0, int(each.pod["spec"].get("priority") or 0), -over

    return min(candidates, key=rank, default=None)


def message(shortage: Shortage, measured: Measured) -> str:
    """What the status and the event of an evicted pod say."""
    head = (
        f"The node was low on resource: {shortage.resource}. "
        f"Threshold quantity: {shortage.threshold}, available: {shortage.available}. "
    )
    return head + "".join(_greedy(shortage, measured))


def _greedy(shortage: Shortage, measured: Measured) -> Iterator[str]:
    used = {"memory": measured.memory, _STORAGE: measured.files}.get(shortage.resource, {})
    for container in measured.pod["spec"]["containers"]:
        name = container["name"]
        asked = ((container.get("resources") or {}).get("requests") or {}).get(shortage.resource, 0)
        if used.get(name, 0) > quantity.parse(asked):
            yield (
                f"Container {name} was using {used[name] // 1024}Ki, request is {asked}, "
                f"has larger consumption of {shortage.resource}. "
            )


def _limit(container: Mapping[str, Any]) -> str:
    return str(((container.get("resources") or {}).get("limits") or {}).get(_STORAGE) or "")


def _request(pod: Mapping[str, Any], resource: str) -> Decimal:
    asked: Sequence[Any] = [
        ((each.get("resources") or {}).get("requests") or {}).get(resource, 0)
        for each in pod["spec"]["containers"]
    ]
    return sum((quantity.parse(each) for each in asked), Decimal(0))
