"""What the subresources `ephemeralcontainers` and `resize` change of a pod, and what they refuse.

Source: `registry/core/pod/strategy.go`, `ValidatePodEphemeralContainersUpdate`, `ValidatePodResize`.
"""

import copy
from collections.abc import Iterator
from typing import Any

from weft.cluster.apiserver import names
from weft.cluster.apiserver.errors import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_found_field,
    required,
)

Obj = dict[str, Any]
_ALLOWED = frozenset({"cpu", "memory"})
_NOT_FOR_DEBUGGING = (
    "ports",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "resources",
    "restartPolicy",
    "resizePolicy",
)


def keep_rest(obj: Obj, before: Obj, subresource: str) -> None:
    """Put back, in place, all of a pod's spec that the subresource is not for."""
    spec: Obj = copy.deepcopy(before.get("spec") or {})
    given = obj.get("spec") or {}
    if subresource == "ephemeralcontainers":
        spec.pop("ephemeralContainers", None)
        if given.get("ephemeralContainers"):
            spec["ephemeralContainers"] = given["ephemeralContainers"]
    else:
        _resized(spec, given)
    obj["spec"] = spec


def _resized(spec: Obj, given: Obj) -> None:
    for part in ("containers", "initContainers"):
        wanted = {one.get("name"): one for one in given.get(part) or ()}
        for container in spec.get(part) or ():
            asked = wanted.get(container["name"])
            if asked is None:
                continue
            for field in ("resources", "resizePolicy"):
                if field in asked:
                    container[field] = asked[field]
                else:
                    container.pop(field, None)
    if "resources" in spec and "resources" in given:
        spec["resources"] = given["resources"]


def refused(obj: Obj, before: Obj, subresource: str, classes: tuple[str, str]) -> list[FieldError]:
    """What is wrong with such a change; `classes` are the QoS classes after and before it."""
    if subresource == "ephemeralcontainers":
        return list(_ephemeral(obj["spec"], before["spec"]))
    return list(_resize(obj["spec"], before["spec"], classes))


def _ephemeral(spec: Obj, old: Obj) -> Iterator[FieldError]:
    path = "spec.ephemeralContainers"
    given = spec.get("ephemeralContainers") or []
    by_name = {one.get("name"): one for one in given}
    held = {one["name"]: one for one in old.get("ephemeralContainers") or ()}
    regular = {one["name"] for part in ("containers", "initContainers") for one in spec.get(part) or ()}
    seen = set(regular)
    for index, one in enumerate(given):
        if one.get("name") not in held:
            yield from _new_one(one, f"{path}[{index}]", seen, regular)
        seen.add(str(one.get("name")))
    for name, one in held.items():
        if name not in by_name:
            yield forbidden_field(path, f'existing ephemeral containers "{name}" may not be removed\n')
        elif by_name[name] != one:
            yield forbidden_field(path, f'existing ephemeral containers "{name}" may not be changed\n')


def _new_one(one: Obj, where: str, seen: set[str], regular: set[str]) -> Iterator[FieldError]:
    name = one.get("name", "")
    if not name:
        yield required(f"{where}.name")
    elif why := names.label(name):
        yield invalid_value(f"{where}.name", name, why)
    elif name in seen:
        yield duplicate(f"{where}.name", name)
    if not one.get("image"):
        yield required(f"{where}.image")
    target = one.get("targetContainerName")
    if target and target not in regular:
        yield not_found_field(f"{where}.targetContainerName", target)
    for field in _NOT_FOR_DEBUGGING:
        if one.get(field):
            yield forbidden_field(f"{where}.{field}", "cannot be set for an Ephemeral Container")


def _resize(spec: Obj, old: Obj, classes: tuple[str, str]) -> Iterator[FieldError]:
    after, then = classes
    if after != then:
        yield invalid_value("spec", then, "Pod QOS Class may not change as a result of resizing")
    for part in ("containers", "initContainers"):
        pairs = zip(spec.get(part) or (), old.get(part) or (), strict=True)
        for index, (container, held) in enumerate(pairs):
            where = f"spec.{part}[{index}].resources"
            new, was = container.get("resources") or {}, held.get("resources") or {}
            if part == "initContainers" and new != was and container.get("restartPolicy") != "Always":
                yield forbidden_field("spec", "resources for non-sidecar init containers are immutable")
            for side in ("requests", "limits"):
                yield from _side(new.get(side) or {}, was.get(side) or {}, f"{where}.{side}", side)


def _side(new: Obj, was: Obj, where: str, side: str) -> Iterator[FieldError]:
    if set(was) - set(new):
        yield forbidden_field(where, f"resource {side} cannot be removed")
    if any(new[name] != was.get(name) for name in set(new) - _ALLOWED):
        yield forbidden_field("spec", "only cpu and memory resources are mutable")
