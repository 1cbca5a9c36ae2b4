"""Budgets, autoscalers, classes of pods, and leases."""

from typing import Any

from weft.cluster.apiserver import names, quantities
from weft.cluster.apiserver.errors import FieldError, forbidden_field, invalid_value, required, unsupported
from weft.cluster.apiserver.validation import resources, scheduling
from weft.cluster.apiserver.validation.goform import go
from weft.cluster.apiserver.validation.rules import (
    IMMUTABLE,
    Found,
    at_most_all,
    count_or_percent,
    go_selector,
    immutable,
    label_selector,
    one_of,
    reason,
)

Obj = dict[str, Any]
_HIGHEST = 1_000_000_000
_SYSTEM = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}
_METRICS = ("ContainerResource", "External", "Object", "Pods", "Resource")
_STRATEGIES = ("OldestEmulationVersion",)


def disruption_budget(obj: Obj) -> list[FieldError]:
    """What is wrong with a PodDisruptionBudget."""
    return [*_budget(obj.get("spec") or {})]


def _budget(spec: Obj) -> Found:
    both = ("minAvailable", "maxUnavailable")
    if all(spec.get(field) is not None for field in both):
        shown = go("PodDisruptionBudgetSpec", {**spec, "selector": go_selector(spec.get("selector"))})
        yield invalid_value("spec", shown, "minAvailable and maxUnavailable cannot be both set")
    for field in both:
        if spec.get(field) is not None:
            yield from count_or_percent(spec[field], f"spec.{field}")
            yield from at_most_all(spec[field], f"spec.{field}")
    yield from label_selector(spec.get("selector"), "spec.selector")
    yield from one_of(
        spec.get("unhealthyPodEvictionPolicy"),
        "spec.unhealthyPodEvictionPolicy",
        ("AlwaysAllow", "IfHealthyBudget"),
    )


def autoscaler(obj: Obj) -> list[FieldError]:
    """What is wrong with a HorizontalPodAutoscaler, in either version."""
    return [*_autoscaler(obj.get("spec") or {})]


def _autoscaler(spec: Obj) -> Found:
    least, most = spec.get("minReplicas"), spec.get("maxReplicas", 0)
    if least is not None and least < 1:
        yield invalid_value("spec.minReplicas", least, "must be greater than or equal to 1")
    if most < 1:
        yield invalid_value("spec.maxReplicas", most, "must be greater than 0")
    if least is not None and most < least:
        yield invalid_value("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`")
    yield from _target_ref(spec.get("scaleTargetRef") or {}, "spec.scaleTargetRef")
    percent = spec.get("targetCPUUtilizationPercentage")
    if percent is not None and percent < 1:
        where = "spec.metrics[0].resource.target.averageUtilization"
        yield invalid_value(where, percent, "must be greater than 0")
    for index, metric in enumerate(spec.get("metrics") or ()):
        yield from _metric(metric, f"spec.metrics[{index}]")
    for side in ("scaleUp", "scaleDown"):
        if (rules := (spec.get("behavior") or {}).get(side)) is not None:
            yield from _behavior(rules, f"spec.behavior.{side}")


def _target_ref(given: Obj, path: str) -> Found:
    for field in ("kind", "name"):
        if not given.get(field):
            yield required(f"{path}.{field}")
        else:
            yield from reason(names.path_segment(given[field]), f"{path}.{field}", given[field])


def _metric(given: Obj, path: str) -> Found:
    kind = given.get("type", "")
    if not kind:
        yield required(f"{path}.type", "must specify a metric source type")
    if kind not in _METRICS:
        yield unsupported(f"{path}.type", kind, _METRICS)
    expected = kind[:1].lower() + kind[1:]
    present = [name for name in ("object", "external", "pods", "resource", "containerResource") if given.get(name)]
    for name in present[:1]:
        yield from _source(name, given[name], f"{path}.{name}")
    if expected not in present:
        yield required(f"{path}.{expected}", "must populate information for the given metric source")
    for name in present:
        if len(present) > 1 and name != expected:
            yield forbidden_field(f"{path}.{name}", "must populate the given metric source only")


def _source(kind: str, given: Obj, path: str) -> Found:
    target = given.get("target") or {}
    if kind in {"resource", "containerResource"}:
        if not given.get("name"):
            yield required(f"{path}.name", "must specify a resource name")
        if kind == "containerResource" and not given.get("container"):
            yield required(f"{path}.container", "must specify a container")
    elif not (given.get("metric") or {}).get("name"):
        yield required(f"{path}.metric.name", "must specify a metric name")
    if kind == "object":
        yield from _target_ref(given.get("describedObject") or {}, f"{path}.describedObject")
    yield from _target(target, f"{path}.target")
    yield from _enough(kind, target, f"{path}.target")


def _enough(kind: str, target: Obj, path: str) -> Found:
    utilization, average, value = (target.get(name) for name in ("averageUtilization", "averageValue", "value"))
    if kind in {"resource", "containerResource"}:
        if utilization is None and average is None:
            why = "must set either a target raw value or a target utilization"
            yield required(f"{path}.averageUtilization", why)
        elif utilization is not None and average is not None:
            why = "may not set both a target raw value and a target utilization"
            yield forbidden_field(f"{path}.averageValue", why)
    elif kind == "pods" and average is None:
        yield required(f"{path}.averageValue", "must specify a positive target averageValue")
    elif kind in {"object", "external"} and value is None and average is None:
        what = "must set either a target value for metric or a per-pod target"
        yield required(
            f"{path}.averageValue",
            what if kind == "external" else "must set either a target value or averageValue",
        )


def _target(given: Obj, path: str) -> Found:
    kind = given.get("type", "")
    kinds = ("Utilization", "Value", "AverageValue")
    if not kind:
        yield required(f"{path}.type", "must specify a metric target type")
    elif kind not in kinds:
        yield invalid_value(f"{path}.type", kind, "must be either Utilization, Value, or AverageValue")
    if given.get("averageUtilization", 1) < 1:
        yield invalid_value(f"{path}.averageUtilization", given["averageUtilization"], "must be greater than 0")
    for field in ("averageValue", "value"):
        if field in given and quantities.parse(given[field]) <= 0:
            yield invalid_value(f"{path}.{field}", given[field], "must be positive")


def _behavior(given: Obj, path: str) -> Found:
    seconds = given.get("stabilizationWindowSeconds")
    if seconds is not None and seconds < 0:
        yield invalid_value(f"{path}.stabilizationWindowSeconds", seconds, "must be greater than or equal to zero")
    elif seconds is not None and seconds > 3600:
        why = "must be less than or equal to 3600"
        yield invalid_value(f"{path}.stabilizationWindowSeconds", seconds, why)
    yield from one_of(given.get("selectPolicy"), f"{path}.selectPolicy", ("Disabled", "Max", "Min"))
    for index, policy in enumerate(given.get("policies") or ()):
        where = f"{path}.policies[{index}]"
        yield from one_of(policy.get("type"), f"{where}.type", ("Percent", "Pods"), absent="")
        if policy.get("value", 0) <= 0:
            yield invalid_value(f"{where}.value", policy.get("value", 0), "must be greater than zero")
        period = policy.get("periodSeconds", 0)
        if period <= 0:
            yield invalid_value(f"{where}.periodSeconds", period, "must be greater than zero")
        elif period > 1800:
            yield invalid_value(f"{where}.periodSeconds", period, "must be less than or equal to 1800")


def priority_class(obj: Obj) -> list[FieldError]:
    """What is wrong with a PriorityClass."""
    return [*_priority_class(obj)]


def _priority_class(obj: Obj) -> Found:
    name, value = obj["metadata"]["name"], obj.get("value", 0)
    if name.startswith("system-"):
        if why := _not_of_the_system(name, value, obj):
            start = "priority class names with 'system-' prefix are reserved for system use only. error: "
            yield forbidden_field("metadata.name", start + why)
    elif value > _HIGHEST:
        yield forbidden_field("value", f"maximum allowed value of a user defined priority is {_HIGHEST}")
    yield from one_of(obj.get("preemptionPolicy"), "preemptionPolicy", ("PreemptLowerPriority", "Never"))


def _not_of_the_system(name: str, value: int, obj: Obj) -> str:
    if name not in _SYSTEM:
        return f"{name} is not a known system priority class"
    if value != _SYSTEM[name]:
        return f"value of {name} PriorityClass must be {_SYSTEM[name]}"
    return f"globalDefault of {name} PriorityClass must be false" if obj.get("globalDefault") else ""


def priority_class_changed(obj: Obj, before: Obj) -> list[FieldError]:
    """What a class means stays."""
    found = []
    if obj.get("value", 0) != before.get("value", 0):
        found.append(forbidden_field("value", "may not be changed in an update."))
    return [*found, *immutable(obj, before, "", "preemptionPolicy")]


def runtime_class(obj: Obj) -> list[FieldError]:
    """What is wrong with a RuntimeClass."""
    return [*_runtime_class(obj)]


def _runtime_class(obj: Obj) -> Found:
    handler = obj.get("handler", "")
    if not handler:
        yield required("handler")
    else:
        yield from reason(names.label(handler), "handler", handler)
    if overhead := obj.get("overhead"):
        limits = {"limits": overhead.get("podFixed") or {}}
        yield from resources.requirements(limits, "overhead.podFixed")
    if scheduled := obj.get("scheduling"):
        yield from names.labels(scheduled.get("nodeSelector") or {}, "scheduling.nodeSelector")
        yield from scheduling.tolerations(scheduled.get("tolerations") or (), "scheduling.tolerations")


def runtime_class_changed(obj: Obj, before: Obj) -> list[FieldError]:
    """A class keeps its handler."""
    if obj.get("handler") == before.get("handler"):
        return []
    return [invalid_value("handler", obj.get("handler", ""), IMMUTABLE)]


def lease(obj: Obj) -> list[FieldError]:
    """What is wrong with a Lease."""
    return [*_lease(obj.get("spec") or {})]


def _lease(spec: Obj) -> Found:
    if spec.get("leaseDurationSeconds", 1) <= 0:
        yield invalid_value("spec.leaseDurationSeconds", spec["leaseDurationSeconds"], "must be greater than 0")
    if spec.get("leaseTransitions", 0) < 0:
        yield invalid_value(
            "spec.leaseTransitions", spec["leaseTransitions"], "must be greater than or equal to 0"
        )
    if (strategy := spec.get("strategy")) is not None and "/" not in strategy:
        yield from one_of(strategy, "spec.strategy.strategy", _STRATEGIES, absent="")
    if spec.get("preferredHolder") and not spec.get("strategy"):
        yield forbidden_field("spec.preferredHolder", "may only be specified if `strategy` is defined")
