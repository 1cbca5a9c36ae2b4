"""Kubernetes quantities (`100m`, `1Gi`, `2`) and what becomes of them in cgroups."""

import math
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from weft.adapters.cri.types import Resources

_SUFFIXES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(1000),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("MGTPE", start=2)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", start=1)},
}
_PERIOD = 100_000  # microseconds: the span over which a processor limit holds (CFS)


def parse(text: object) -> Decimal:
    """A quantity as a number; ValueError for what is none."""
    written = str(text)
    number = written.rstrip("numkKMGTPEi")
    suffix = written[len(number) :]
    try:
        return Decimal(number) * _SUFFIXES[suffix]
    except (InvalidOperation, KeyError):
        pass
    try:
        return Decimal(written)  # 1E3 and the like
    except InvalidOperation:
        raise ValueError(f"{written!r} is not a quantity. Write numbers such as 100m, 2, 64Mi.") from None


def divided(text: object, divisor: object) -> int:
    """A quantity in units of `divisor` (0 stands for 1), rounded up: as resourceFieldRef gives it."""
    unit = parse(divisor or "1") or Decimal(1)
    return math.ceil(parse(text) / unit)


def cgroup(resources: Mapping[str, Any], qos: str, memory_capacity: int) -> Resources:
    """A container's `resources` as cgroup values; the OOM score follows the QoS class (node-pressure docs)."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    cpu_limit = parse(limits.get("cpu", 0))
    cpu_request = parse(requests.get("cpu", limits.get("cpu", 0)))
    memory_request = parse(requests.get("memory", limits.get("memory", 0)))
    return Resources(
        cpu_shares=max(2, int(cpu_request * 1024)),
        cpu_period=_PERIOD if cpu_limit else 0,
        cpu_quota=max(1000, int(cpu_limit * _PERIOD)) if cpu_limit else 0,
        memory=int(parse(limits.get("memory", 0))),
        oom_score_adj=_oom_score(qos, memory_request, memory_capacity),
    )


def needs_restart(spec: Mapping[str, Any], before: Resources, after: Resources) -> bool:
    """Whether a container must start anew to get other limits (`resizePolicy`)."""
    policies = {each["resourceName"]: each.get("restartPolicy") for each in spec.get("resizePolicy") or ()}
    cpu = (before.cpu_shares, before.cpu_quota) != (after.cpu_shares, after.cpu_quota)
    changed = {"cpu": cpu, "memory": before.memory != after.memory}
    return any(changed[name] and policies.get(name) == "RestartContainer" for name in changed)


def asked(spec: Mapping[str, Any], kind: str, resource: str) -> Decimal:
    """The `requests` or `limits` of a whole pod: those of what runs together, or of a greater init container."""
    running = sum((_of(each, kind, resource) for each in spec.get("containers", ())), Decimal(0))
    most, sidecars = Decimal(0), Decimal(0)
    for each in spec.get("initContainers") or ():
        own = _of(each, kind, resource)
        if each.get("restartPolicy") == "Always":
            sidecars += own
        else:
            most = max(most, sidecars + own)
    return max(running + sidecars, most)


def _of(container: Mapping[str, Any], kind: str, resource: str) -> Decimal:
    return parse(((container.get("resources") or {}).get(kind) or {}).get(resource, 0))


def pod_cgroup(spec: Mapping[str, Any]) -> Resources:
    """What the cgroup of a whole pod gets; a limit only where all its containers have one."""
    containers = [*spec.get("containers", ()), *(spec.get("initContainers") or ())]
    cpu = asked(spec, "limits", "cpu") if all(_of(each, "limits", "cpu") for each in containers) else Decimal(0)
    limited = all(_of(each, "limits", "memory") for each in containers)
    return Resources(
        cpu_shares=max(2, int(asked(spec, "requests", "cpu") * 1024)),
        cpu_period=_PERIOD if cpu else 0,
        cpu_quota=max(1000, int(cpu * _PERIOD)) if cpu else 0,
        memory=int(asked(spec, "limits", "memory")) if limited else 0,
    )


def qos_class(spec: Mapping[str, Any]) -> str:
    """`Guaranteed`, `Burstable` or `BestEffort`, from the containers' requests and limits."""
    guaranteed, anything = True, False
    for container in [*spec.get("containers", ()), *(spec.get("initContainers") or ())]:
        resources = container.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        for name in ("cpu", "memory"):
            limit, request = parse(limits.get(name, 0)), parse(requests.get(name, limits.get(name, 0)))
            anything = anything or bool(limit or request)
            guaranteed = guaranteed and bool(limit) and limit == request
    if not anything:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _oom_score(qos: str, memory_request: Decimal, capacity: int) -> int:
    match qos:
        case "Guaranteed":
            return -997
        case "BestEffort":
            return 1000
        case _:
            return min(max(1000 - int(1000 * memory_request / capacity), 3), 999) if capacity else 999
