"""Where containers' variables and files take their values from."""

from collections.abc import Sequence
from typing import Any

from weft.cluster.apiserver import names
from weft.cluster.apiserver.errors import invalid_value, required, unsupported
from weft.cluster.apiserver.validation import keys
from weft.cluster.apiserver.validation.rules import Found, local_path, mode, named, qualified, reason

Obj = dict[str, Any]
_VARIABLE_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
_FILE_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
_RESOURCES = tuple(
    f"{side}.{name}" for side in ("limits", "requests") for name in ("cpu", "ephemeral-storage", "memory")
)
_HUGE = ("limits.hugepages-", "requests.hugepages-")
_PER_CPU = ("1m", "1")
_PER_BYTES = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")
_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef")
_SAYS_NAME = "a valid environment variable name must consist only of printable ASCII characters other than '='"


def variables(given: Sequence[Obj], path: str) -> Found:
    """`env` of a container."""
    for index, variable in enumerate(given):
        where = f"{path}[{index}]"
        if not variable.get("name"):
            yield required(f"{where}.name")
        else:
            yield from _variable_name(variable["name"], f"{where}.name")
        if variable.get("valueFrom") is not None:
            yield from _value_from(variable["valueFrom"], variable.get("value", ""), f"{where}.valueFrom")


def _variable_name(name: str, path: str) -> Found:
    if any(not " " <= letter <= "~" or letter == "=" for letter in name):
        yield invalid_value(path, name, _SAYS_NAME)


def _value_from(given: Obj, value: str, path: str) -> Found:
    chosen = [kind for kind in _SOURCES if given.get(kind) is not None]
    for kind in chosen:
        where = f"{path}.{kind}"
        if kind == "fieldRef":
            yield from _field(given[kind], where, _VARIABLE_FIELDS)
        elif kind == "resourceFieldRef":
            yield from _resource(given[kind], where, in_file=False)
        else:
            yield from _key(given[kind], where)
    if not chosen:
        listed = "`fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        yield invalid_value(path, "", f"must specify one of: {listed}")
    elif value:
        yield invalid_value(path, "", "may not be specified when `value` is not empty")
    elif len(chosen) > 1:
        yield invalid_value(path, "", "may not have more than one field specified at a time")


def _key(given: Obj, path: str) -> Found:
    yield from reason(names.subdomain(given.get("name", "")), f"{path}.name", given.get("name", ""))
    if not given.get("key"):
        yield required(f"{path}.key")
    else:
        for why in keys.reasons(given["key"]):
            yield invalid_value(f"{path}.key", given["key"], why)


def many(given: Sequence[Obj], path: str) -> Found:
    """`envFrom` of a container."""
    for index, one in enumerate(given):
        where = f"{path}[{index}]"
        if one.get("prefix"):
            yield from _variable_name(one["prefix"], f"{where}.prefix")
        chosen = [kind for kind in ("configMapRef", "secretRef") if one.get(kind) is not None]
        for kind in chosen:
            yield from named(one[kind].get("name"), f"{where}.{kind}.name")
        if not chosen:
            yield invalid_value(path, "", "must specify one of: `configMapRef` or `secretRef`")
        elif len(chosen) > 1:
            yield invalid_value(path, "", "may not have more than one field specified at a time")


def _field(given: Obj, path: str, fields: Sequence[str]) -> Found:
    wanted = given.get("fieldPath", "")
    where = f"{path}.fieldPath"
    if not wanted:
        yield required(where)
        return
    base, bracket, rest = wanted.partition("['")
    if bracket and rest.endswith("']"):
        if base in {"metadata.annotations", "metadata.labels"}:
            yield from qualified(rest[:-2].lower() if base.endswith("annotations") else rest[:-2], path)
        else:
            yield invalid_value(where, wanted, f"error converting fieldPath: field label not supported: {wanted}")
    elif wanted not in {
        *_VARIABLE_FIELDS,
        *_FILE_FIELDS,
        "spec.restartPolicy",
        "spec.schedulerName",
        "status.phase",
    }:
        yield invalid_value(where, wanted, f"error converting fieldPath: field label not supported: {wanted}")
    elif wanted not in fields:
        yield unsupported(where, wanted, fields)


def _resource(given: Obj, path: str, *, in_file: bool) -> Found:
    resource, divisor = given.get("resource", ""), given.get("divisor", "0")
    if in_file and not given.get("containerName"):
        yield required(f"{path}.containerName")
    elif not resource:
        yield required(f"{path}.resource")
    elif resource not in _RESOURCES and not resource.startswith(_HUGE):
        yield unsupported(f"{path}.resource", resource, _RESOURCES)
    if divisor == "0":
        return
    if resource.endswith(".cpu") and divisor not in _PER_CPU:
        why = "only divisor's values 1m and 1 are supported with the cpu resource"
        yield invalid_value(f"{path}.divisor", resource, why)
    elif resource.endswith((".memory", ".ephemeral-storage")) and divisor not in _PER_BYTES:
        what = "memory" if resource.endswith(".memory") else "local ephemeral storage"
        why = f"only divisor's values {', '.join(_PER_BYTES)} are supported with the {what} resource"
        yield invalid_value(f"{path}.divisor", resource, why)


def downward_file(given: Obj, path: str) -> Found:
    """A file with a field of the pod or a resource of a container."""
    if not given.get("path"):
        yield required(f"{path}.path")
    yield from local_path(given.get("path", ""), f"{path}.path")
    if given.get("fieldRef") is not None:
        yield from _field(given["fieldRef"], f"{path}.fieldRef", _FILE_FIELDS)
        if given.get("resourceFieldRef") is not None:
            why = "fieldRef and resourceFieldRef can not be specified simultaneously"
            yield invalid_value(path, "resource", why)
    elif given.get("resourceFieldRef") is not None:
        yield from _resource(given["resourceFieldRef"], f"{path}.resourceFieldRef", in_file=True)
    else:
        yield required(path, "one of fieldRef and resourceFieldRef is required")
    yield from mode(given, path, "mode")
