"""How many pods a HorizontalPodAutoscaler's metrics ask for (kube-controller-manager's replica calculator)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from weft.adapters.kube.client import Json
from weft.cluster.apiserver.quantities import parse
from weft.cluster.controllers.objects import condition, is_going, moment

_TOLERANCE = 0.1
_STARTING = timedelta(minutes=5)  # while a pod starts, its CPU says little
_FIRST_READY = timedelta(seconds=30)
_WINDOW = timedelta(seconds=30)


class MetricError(Exception):
    """A metric cannot be had. `reason` is that of the event and condition."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Proposal:
    """What one metric asks for: a size, what was measured, and its name in events."""

    replicas: int
    measured: Json
    name: str


@dataclass(frozen=True, slots=True)
class _Goal:
    """One resource metric of an autoscaler's spec."""

    resource: str
    container: str
    utilization: int | None
    average: Fraction | None
    near: tuple[float, float]
    """Between which ratios of what is to what should be the size is right."""

    @property
    def name(self) -> str:
        what = f"{self.resource} container resource" if self.container else f"{self.resource} resource"
        return what if self.utilization is None else f"{what} utilization (percentage of request)"


def propose(
    metric: Json, behavior: Json, pods: Sequence[Json], usage: Mapping[str, Json], size: int, now: datetime
) -> Proposal:
    """The size that a metric asks for. `usage` are PodMetrics by the pod's name."""
    goal = _goal(metric, behavior)
    there = [pod for pod in pods if not is_going(pod) and pod.get("status", {}).get("phase") != "Failed"]
    if not there:
        raise _trouble(goal, "no pods returned by selector while calculating replica count")
    used = {name: value for name, each in usage.items() if (value := _used(goal, each)) is not None}
    if not used:
        what = f"unable to get metrics for resource {goal.resource}"
        raise _trouble(goal, f"{what}: no metrics returned from resource metrics API")
    asked = {pod["metadata"]["name"]: _asked(goal, pod) for pod in there}
    unready = [pod["metadata"]["name"] for pod in there if _is_unready(goal, pod, usage, now)]
    known = {name: used[name] for name in asked if name in used and name not in unready}
    missing = [name for name in asked if name not in used and name not in unready]
    if not known:
        raise _trouble(goal, "did not receive metrics for targeted pods (pods might be unready)")
    replicas = _replicas(goal, known, asked, missing, unready, size)
    return Proposal(replicas, _measured(goal, known, asked), goal.name)


def _goal(metric: Json, behavior: Json) -> _Goal:
    kind = metric["type"]
    field = {"Resource": "resource", "ContainerResource": "containerResource"}.get(kind)
    if field is None:
        message = f"unable to get metric: {kind} metrics are not served here; use a Resource metric"
        raise MetricError(f"FailedGet{kind}Metric", message)
    given = metric[field]
    target = given["target"]
    average = parse(str(target["averageValue"])) if target.get("averageValue") is not None else None
    down, up = (_tolerance(behavior.get(way) or {}) for way in ("scaleDown", "scaleUp"))
    near = 1 - down, 1 + up
    return _Goal(given["name"], given.get("container", ""), target.get("averageUtilization"), average, near)


def _tolerance(rules: Json) -> float:
    given = rules.get("tolerance")
    return _TOLERANCE if given is None else float(parse(str(given)))


def _trouble(goal: _Goal, message: str) -> MetricError:
    what = f"failed to get {goal.resource} " + ("utilization" if goal.utilization is not None else "usage")
    kind = "ContainerResource" if goal.container else "Resource"
    return MetricError(f"FailedGet{kind}Metric", f"{what}: {message}")


def unavailable(metric: Json, message: str) -> MetricError:
    """The error of a metric when the metrics API gives nothing."""
    goal = _goal(metric, {})
    said = f"unable to get metrics for resource {goal.resource}: unable to fetch metrics from resource metrics API"
    return _trouble(goal, f"{said}: {message}")


def _used(goal: _Goal, metrics: Json) -> Fraction | None:
    found = [
        parse(str(each["usage"][goal.resource]))
        for each in metrics.get("containers") or ()
        if goal.resource in (each.get("usage") or {}) and goal.container in {"", each["name"]}
    ]
    return sum(found, Fraction(0)) if found else None


def _asked(goal: _Goal, pod: Json) -> Fraction:
    """What the pod requests; only a percentage needs to know."""
    if goal.utilization is None:
        return Fraction(0)
    total = Fraction(0)
    sidecars = [each for each in pod["spec"].get("initContainers") or () if each.get("restartPolicy") == "Always"]
    for container in (*pod["spec"]["containers"], *sidecars):
        if goal.container not in {"", container["name"]}:
            continue
        request = ((container.get("resources") or {}).get("requests") or {}).get(goal.resource)
        if request is None:
            where = f"in container {container['name']} of Pod {pod['metadata']['name']}"
            raise _trouble(goal, f"missing request for {goal.resource} {where}")
        total += parse(str(request))
    return total


def _is_unready(goal: _Goal, pod: Json, usage: Mapping[str, Json], now: datetime) -> bool:
    """Whether a pod's numbers would mislead: it has not started, or its CPU is still that of its start."""
    status = pod.get("status", {})
    if status.get("phase", "Pending") == "Pending":
        return True
    ready = condition(pod, "Ready")
    if goal.resource != "cpu":
        return False
    if not ready or not status.get("startTime"):
        return True
    started, changed = moment(status["startTime"]), moment(ready["lastTransitionTime"])
    metrics = usage.get(pod["metadata"]["name"])
    if metrics is None:
        return False
    if now < started + _STARTING:
        taken = moment(metrics["timestamp"]) if metrics.get("timestamp") else now
        return ready["status"] == "False" or taken < changed + _WINDOW
    return ready["status"] == "False" and changed < started + _FIRST_READY


def _ratio(goal: _Goal, used: Mapping[str, Fraction], asked: Mapping[str, Fraction]) -> float:
    total = sum(used.values(), Fraction(0))
    if goal.utilization is not None:
        return _utilization(used, asked) / goal.utilization
    return float(total / len(used) / (goal.average or 1))


def _utilization(used: Mapping[str, Fraction], asked: Mapping[str, Fraction]) -> int:
    requested = sum((asked[name] for name in used), Fraction(0))
    return int(100 * sum(used.values(), Fraction(0)) / requested) if requested else 0


def _replicas(
    goal: _Goal,
    known: Mapping[str, Fraction],
    asked: Mapping[str, Fraction],
    missing: Sequence[str],
    unready: Sequence[str],
    size: int,
) -> int:
    """The new size; pods without numbers never make the change larger, and never turn its direction."""
    first = _ratio(goal, known, asked)
    if not missing and not (unready and first > 1):
        return size if _is_near(goal, first) else math.ceil(first * len(known))
    filled = dict(known)
    full = max(100, goal.utilization or 0)
    for name in missing:
        high = asked[name] * full / 100 if goal.utilization is not None else goal.average or Fraction(0)
        filled[name] = high if first < 1 else Fraction(0)
    if first > 1:
        filled |= dict.fromkeys(unready, Fraction(0))
    second = _ratio(goal, filled, asked)
    if _is_near(goal, second) or (first < 1) != (second < 1):
        return size
    found = math.ceil(second * len(filled))
    return size if (second < 1 and found > size) or (second > 1 and found < size) else found


def _is_near(goal: _Goal, ratio: float) -> bool:
    return goal.near[0] <= ratio <= goal.near[1]


def _measured(goal: _Goal, used: Mapping[str, Fraction], asked: Mapping[str, Fraction]) -> Json:
    average = sum(used.values(), Fraction(0)) / len(used)
    value = str(int(average)) if average.denominator == 1 else f"{math.ceil(average * 1000)}m"
    current: Json = {"averageValue": value}
    if goal.utilization is not None:
        current["averageUtilization"] = _utilization(used, asked)
    entry = {"name": goal.resource, "current": current}
    if goal.container:
        return {"type": "ContainerResource", "containerResource": entry | {"container": goal.container}}
    return {"type": "Resource", "resource": entry}
