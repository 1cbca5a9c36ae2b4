"""How fast and how far an autoscaler may go: its bounds, its behavior's policies, and what it wanted lately."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from weft.adapters.kube.client import Json

_UP: Json = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}
_DOWN: Json = {
    "stabilizationWindowSeconds": 300,
    "selectPolicy": "Max",
    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
}
_LONGEST = timedelta(hours=1)
Condition = tuple[str, str, str, str]
"""Type, status, reason and message."""


@dataclass(slots=True)
class Memory:
    """What an autoscaler wanted and did: sizes it found right, and changes it made."""

    wanted: list[tuple[datetime, int]] = field(default_factory=list)
    changes: list[tuple[datetime, int]] = field(default_factory=list)

    def forget(self, now: datetime) -> None:
        """Drop what no policy can ask about."""
        self.wanted = [entry for entry in self.wanted if now - entry[0] <= _LONGEST]
        self.changes = [entry for entry in self.changes if now - entry[0] <= _LONGEST]


def bounded(spec: Json, size: int, wanted: int, memory: Memory, now: datetime) -> tuple[int, list[Condition]]:
    """The size to set, and the conditions that say what held it back."""
    steady = _stabilized(spec, size, wanted, memory, now)
    able: Condition = ("AbleToScale", "True", "ReadyForNewScale", "recommended size matches current size")
    if steady > wanted:
        message = "recent recommendations were higher than current one, applying the highest recent recommendation"
        able = ("AbleToScale", "True", "ScaleDownStabilized", message)
    elif steady < wanted:
        message = "recent recommendations were lower than current one, applying the lowest recent recommendation"
        able = ("AbleToScale", "True", "ScaleUpStabilized", message)
    final, limited = _limited(spec, size, steady, memory, now)
    return final, [able, limited]


def _rules(spec: Json, way: str) -> Json:
    default = _UP if way == "scaleUp" else _DOWN
    given = (spec.get("behavior") or {}).get(way) or {}
    return default | {key: value for key, value in given.items() if value is not None}


def _stabilized(spec: Json, size: int, wanted: int, memory: Memory, now: datetime) -> int:
    memory.forget(now)

    def lately(way: str) -> list[int]:
        window = timedelta(seconds=_rules(spec, way)["stabilizationWindowSeconds"])
        return [wanted, *(found for when, found in memory.wanted if now - when < window)]

    low, high = min(lately("scaleUp")), max(lately("scaleDown"))
    memory.wanted.append((now, wanted))
    return min(max(size, low), high) if low <= high else wanted


def _limited(spec: Json, size: int, wanted: int, memory: Memory, now: datetime) -> tuple[int, Condition]:
    least, most = spec.get("minReplicas") or 1, spec["maxReplicas"]
    if wanted > size and wanted > (top := min(_most(_rules(spec, "scaleUp"), size, memory, now), most)):
        if top == most:
            return top, _too("TooManyReplicas", "more than the maximum replica count")
        return top, _too("ScaleUpLimit", "increasing faster than the maximum scale rate")
    if wanted < size and wanted < (bottom := max(_least(_rules(spec, "scaleDown"), size, memory, now), least)):
        if bottom == least:
            return bottom, _too("TooFewReplicas", "less than the minimum replica count")
        return bottom, _too("ScaleDownLimit", "decreasing faster than the maximum scale rate")
    within = "the desired count is within the acceptable range"
    return min(max(wanted, least), most), ("ScalingLimited", "False", "DesiredWithinRange", within)


def _too(reason: str, how: str) -> Condition:
    return "ScalingLimited", "True", reason, f"the desired replica count is {how}"


def _most(rules: Json, size: int, memory: Memory, now: datetime) -> int:
    if rules["selectPolicy"] == "Disabled":
        return size

    def limit(policy: Json) -> int:
        start = size - _changed(memory, policy, now, lambda change: change > 0)
        if policy["type"] == "Pods":
            return start + int(policy["value"])
        return math.ceil(start * (1 + int(policy["value"]) / 100))

    limits: Sequence[int] = [limit(policy) for policy in rules["policies"]]
    return max(size, (max if rules["selectPolicy"] == "Max" else min)(limits))


def _least(rules: Json, size: int, memory: Memory, now: datetime) -> int:
    if rules["selectPolicy"] == "Disabled":
        return size

    def limit(policy: Json) -> int:
        start = size - _changed(memory, policy, now, lambda change: change < 0)
        if policy["type"] == "Pods":
            return start - int(policy["value"])
        return int(start * (1 - int(policy["value"]) / 100))

    limits: Sequence[int] = [limit(policy) for policy in rules["policies"]]
    return min(size, (min if rules["selectPolicy"] == "Max" else max)(limits))


def _changed(memory: Memory, policy: Json, now: datetime, counts: Callable[[int], bool]) -> int:
    period = timedelta(seconds=policy["periodSeconds"])
    return sum(change for when, change in memory.changes if now - when < period and counts(change))
