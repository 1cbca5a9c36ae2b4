"""Amounts of resources: names that exist, quantities that make sense, requests within limits."""

import re
from fractions import Fraction
from typing import Any

from weft.cluster.apiserver import names, quantities
from weft.cluster.apiserver.errors import FieldError, forbidden_field, invalid_value, not_found_field, required
from weft.cluster.apiserver.validation.rules import Found, qualified, quantity

Obj = dict[str, Any]
_CONTAINER = frozenset({"cpu", "memory", "ephemeral-storage"})
_COUNTED = frozenset(
    {
        "pods",
        "services",
        "replicationcontrollers",
        "resourcequotas",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "services.nodeports",
        "services.loadbalancers",
    }
)
QUOTA = frozenset(
    {
        *_CONTAINER,
        *_COUNTED,
        *(f"{side}.{name}" for side in ("requests", "limits") for name in _CONTAINER),
        "requests.storage",
    }
)
_STANDARD = frozenset({*QUOTA, "storage"})
_HUGE = "hugepages-"
_HUGE_NAME = re.compile(r"hugepages-(.+)")


def resource_name(name: str, path: str) -> Found:
    """A resource that Kubernetes knows, or a qualified name."""
    if names.qualified(name):
        yield from qualified(name, path)
    elif "/" not in name and name not in _STANDARD and not _HUGE_NAME.fullmatch(name.removeprefix("requests.")):
        yield invalid_value(path, name, "must be a standard resource type or fully qualified")


def container_resource(name: str, path: str) -> Found:
    """A resource that a container can use."""
    found = list(resource_name(name, path))
    yield from found
    if "/" not in name:
        if name not in _CONTAINER and not name.startswith(_HUGE):
            yield invalid_value(path, name, "must be a standard resource for containers")
    elif not found and not _native(name) and not _extended(name):
        yield invalid_value(path, name, "doesn't follow extended resource name standard")


def _native(name: str) -> bool:
    return "/" not in name or "kubernetes.io/" in name


def _extended(name: str) -> bool:
    return not name.startswith("requests.") and not names.qualified(f"requests.{name}")


def may_overcommit(name: str) -> bool:
    """Whether limits may be higher than requests."""
    return _native(name) and not name.startswith(_HUGE)


def amount(name: str, value: str, path: str) -> Found:
    """How much of a resource."""
    yield from quantity(value, path, whole=name in _COUNTED or not _native(name))


def requirements(given: Obj, path: str, claims: frozenset[str] = frozenset()) -> Found:
    """`resources` of a container."""
    limits, requests = given.get("limits") or {}, given.get("requests") or {}
    for name, value in sorted(limits.items()):
        where = f"{path}.limits[{name}]"
        yield from container_resource(name, where)
        yield from amount(name, value, where)
        yield from _huge(name, value, where)
    for name, value in sorted(requests.items()):
        where = f"{path}.requests[{name}]"
        yield from container_resource(name, where)
        yield from amount(name, value, where)
        yield from _within(name, value, limits, path)
        yield from _huge(name, value, where)
    asked = {*limits, *requests}
    if any(name.startswith(_HUGE) for name in asked) and not asked & {"cpu", "memory"}:
        yield forbidden_field(path, "HugePages require cpu or memory")
    yield from _claims(given.get("claims") or (), f"{path}.claims", claims)


def _within(name: str, value: str, limits: Obj, path: str) -> Found:
    limit = limits.get(name)
    if limit is None:
        if not may_overcommit(name):
            yield required(f"{path}.limits", "Limit must be set for non overcommitable resources")
        return
    asked, most = quantities.parse(value), quantities.parse(limit)
    if asked != most and not may_overcommit(name):
        yield invalid_value(f"{path}.requests", value, f"must be equal to {name} limit of {limit}")
    elif asked > most:
        yield invalid_value(f"{path}.requests", value, f"must be less than or equal to {name} limit of {limit}")


def _huge(name: str, value: str, path: str) -> Found:
    found = _HUGE_NAME.fullmatch(name)
    if not found:
        return
    try:
        size = quantities.parse(found[1])
    except ValueError:
        size = Fraction(0)
    if size <= 0 or quantities.parse(value) % size:
        yield invalid_value(path, value, f"{value} is not positive integer multiple of {name}")


def _claims(claims: Any, path: str, known: frozenset[str]) -> Found:
    for index, claim in enumerate(claims):
        name = claim.get("name", "")
        if not name:
            yield required(f"{path}[{index}]")
        elif name not in known:
            rest = f": {', '.join(sorted(known))}" if known else " which is empty"
            missing = not_found_field(f"{path}[{index}]", name)
            text = f"{missing.text}: must be one of the names in pod.spec.resourceClaims{rest}"
            yield FieldError(missing.field, missing.reason, text)
