"""ResourceQuotas and LimitRanges."""

from fractions import Fraction
from typing import Any

from weft.cluster.apiserver import names, quantities
from weft.cluster.apiserver.errors import FieldError, duplicate, forbidden_field, invalid_value, required
from weft.cluster.apiserver.validation.resources import (
    QUOTA,
    amount,
    container_resource,
    may_overcommit,
    resource_name,
)
from weft.cluster.apiserver.validation.rules import IMMUTABLE, Found, go_list

Obj = dict[str, Any]
_COMPUTE = frozenset({"cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"})
_SCOPES = frozenset(
    {
        "Terminating",
        "NotTerminating",
        "BestEffort",
        "NotBestEffort",
        "PriorityClass",
        "CrossNamespacePodAffinity",
        "VolumeAttributesClass",
    }
)
_EXISTS_ONLY = _SCOPES - {"PriorityClass", "VolumeAttributesClass"}
_OPPOSITES = (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating"))
_TYPES = frozenset({"Pod", "Container", "PersistentVolumeClaim"})


def quota(obj: Obj) -> list[FieldError]:
    """What is wrong with a ResourceQuota."""
    return [*_quota(obj.get("spec") or {})]


def _quota(spec: Obj) -> Found:
    hard = spec.get("hard") or {}
    for name, value in sorted(hard.items()):
        where = f"spec.hard[{name}]"
        found = [*resource_name(name, where)]
        yield from found
        if "/" not in name and name not in QUOTA and not name.startswith(("hugepages-", "requests.hugepages-")):
            yield invalid_value(where, name, "must be a standard resource for quota")
        yield from amount(name, value, where)
    scopes = spec.get("scopes") or []
    for scope in scopes:
        if scope not in _SCOPES:
            yield invalid_value("spec.scopes", scopes, "unsupported scope")
        for name in sorted(hard):
            if name in QUOTA and not _fits(scope, name):
                yield invalid_value("spec.scopes", scopes, "unsupported scope applied to resource")
    yield from _conflicts({*scopes}, scopes)
    yield from _selector(spec.get("scopeSelector") or {}, hard, scopes)


def _fits(scope: str, name: str) -> bool:
    match scope:
        case "BestEffort":
            return name == "pods"
        case "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" | "CrossNamespacePodAffinity":
            return name == "pods" or name in _COMPUTE
        case _:
            return True


def _conflicts(said: set[str], scopes: list[str]) -> Found:
    for pair in _OPPOSITES:
        if {*pair} <= said:
            yield invalid_value("spec.scopes", go_list(scopes or None), "conflicting scopes")


def _selector(given: Obj, hard: Obj, scopes: list[str]) -> Found:
    path, said = "spec.scopeSelector.matchExpressions", set[str]()
    for term in given.get("matchExpressions") or ():
        scope, operator, values = term.get("scopeName", ""), term.get("operator", ""), term.get("values") or []
        said.add(scope)
        if scope not in _SCOPES:
            yield invalid_value(f"{path}.scopeName", scope, "unsupported scope")
        for name in sorted(hard):
            if name in QUOTA and not _fits(scope, name):
                yield invalid_value(path, given, "unsupported scope applied to resource")
        if scope in _EXISTS_ONLY and operator != "Exists":
            listed = (
                "ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort,"
                " ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
            )
            yield invalid_value(f"{path}.operator", operator, f"must be 'Exists' when scope is any of {listed}")
        match operator:
            case "In" | "NotIn":
                if not values:
                    why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
                    yield required(f"{path}.values", why)
            case "Exists" | "DoesNotExist":
                if values:
                    why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
                    yield invalid_value(f"{path}.values", values, why)
            case _:
                yield invalid_value(f"{path}.operator", operator, "not a valid selector operator")
    yield from _conflicts(said, scopes)


def quota_changed(obj: Obj, before: Obj) -> list[FieldError]:
    """A quota's scopes stay."""
    new, old = (spec.get("scopes") or [] for spec in (obj.get("spec") or {}, before.get("spec") or {}))
    return [] if {*new} == {*old} else [invalid_value("spec.scopes", go_list(new or None), IMMUTABLE)]


def limit_range(obj: Obj) -> list[FieldError]:
    """What is wrong with a LimitRange."""
    return [*_limit_range((obj.get("spec") or {}).get("limits") or ())]


def _limit_range(limits: Any) -> Found:
    seen: set[str] = set()
    for index, limit in enumerate(limits):
        where, kind = f"spec.limits[{index}]", limit.get("type", "")
        for why in names.qualified(kind):
            yield invalid_value(f"{where}.type", kind, why)
        if not names.qualified(kind) and "/" not in kind and kind not in _TYPES:
            yield invalid_value(f"{where}.type", kind, "must be a standard limit type or fully qualified")
        if kind in seen:
            yield duplicate(f"{where}.type", kind)
        seen.add(kind)
        yield from _limit(limit, kind, where)


def _limit(limit: Obj, kind: str, path: str) -> Found:
    parts = ["max", "min"]
    if kind == "Pod":
        for field in ("default", "defaultRequest"):
            if limit.get(field):
                yield forbidden_field(f"{path}.{field}", "may not be specified when `type` is 'Pod'")
    else:
        parts += ["default", "defaultRequest"]
    parts.append("maxLimitRequestRatio")
    check = container_resource if kind in {"Pod", "Container"} else resource_name
    for part in parts:
        for name in sorted(limit.get(part) or {}):
            yield from check(name, f"{path}.{part}[{name}]")
    if kind == "PersistentVolumeClaim" and not any(
        "storage" in (limit.get(part) or {}) for part in ("min", "max")
    ):
        yield required(
            f"{path}.limits", "either minimum or maximum storage value is required, but neither was provided"
        )
    listed = {name for part in parts for name in limit.get(part) or {}}
    for name in sorted(listed):
        yield from _order({part: (limit.get(part) or {}).get(name) for part in parts}, name, path)


# which of two must not be larger, what is shown where it is, and how it is said
_ORDER = (
    ("min", "max", "min", "min", "min value {0} is greater than max value {1}"),
    (
        "min",
        "defaultRequest",
        "defaultRequest",
        "defaultRequest",
        "min value {0} is greater than default request value {1}",
    ),
    (
        "defaultRequest",
        "max",
        "defaultRequest",
        "defaultRequest",
        "default request value {0} is greater than max value {1}",
    ),
    (
        "defaultRequest",
        "default",
        "defaultRequest",
        "defaultRequest",
        "default request value {0} is greater than default limit value {1}",
    ),
    ("min", "default", "default", "min", "min value {0} is greater than default value {1}"),
    ("default", "max", "default", "max", "default value {0} is greater than max value {1}"),
)


def _order(values: dict[str, str | None], name: str, path: str) -> Found:
    for low, high, field, shown, why in _ORDER:
        less, more = values.get(low), values.get(high)
        if less and more and quantities.parse(less) > quantities.parse(more):
            yield invalid_value(f"{path}.{field}[{name}]", values[shown], why.format(less, more))
    ratio = values.get("maxLimitRequestRatio")
    if ratio:
        yield from _ratio(ratio, values, f"{path}.maxLimitRequestRatio[{name}]")
    default, request = values.get("default"), values.get("defaultRequest")
    if not may_overcommit(name) and default and request and default != request:
        why = f"default value {default} must equal to defaultRequest value {request} in {name}"
        yield invalid_value(f"{path}.defaultRequest[{name}]", request, why)


def _ratio(ratio: str, values: dict[str, str | None], path: str) -> Found:
    amount_of = quantities.parse(ratio)
    if amount_of < 1:
        yield invalid_value(path, ratio, f"ratio {ratio} is less than 1")
    low, high = (quantities.parse(values[name] or "0") for name in ("min", "max"))
    if low and high and amount_of > Fraction(high, low):
        yield invalid_value(path, ratio, f"ratio {ratio} is greater than max/min = {float(high / low):.6f}")
