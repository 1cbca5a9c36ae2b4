"""From a namespace's labels to refusals and warnings."""

import re
from collections.abc import Iterator

from weft.cluster.apiserver import errors
from weft.cluster.apiserver.admission.attributes import Attributes
from weft.cluster.apiserver.admission.podsecurity import checks
from weft.cluster.apiserver.cluster import Cluster, Obj
from weft.cluster.apiserver.errors import FieldError

_PREFIX = "pod-security.kubernetes.io/"
_LEVELS = ("privileged", "baseline", "restricted")
_VERSION = re.compile(r"latest|v1\.(0|[1-9]\d*)")
_TEMPLATES = {
    ("", "replicationcontrollers"),
    ("", "podtemplates"),
    ("apps", "deployments"),
    ("apps", "replicasets"),
    ("apps", "statefulsets"),
    ("apps", "daemonsets"),
    ("batch", "jobs"),
    ("batch", "cronjobs"),
}


def check(attributes: Attributes, cluster: Cluster) -> None:
    """Refuse, or warn of, what the namespace's level does not allow."""
    call, obj = attributes.call, attributes.obj
    if obj is None or attributes.operation not in {"CREATE", "UPDATE"}:
        return
    if (call.kind.group, call.kind.plural) == ("", "namespaces") and call.subresource in {"", "status"}:
        _namespace(attributes, obj, cluster)
    elif (call.kind.group, call.kind.plural) == ("", "pods"):
        if attributes.operation == "CREATE" or call.subresource == "ephemeralcontainers":
            _pod(attributes, obj, _labels(cluster, call.namespace))
    elif (call.kind.group, call.kind.plural) in _TEMPLATES and not call.subresource:
        spec = _template(obj)
        labels = _labels(cluster, call.namespace)
        if spec and (said := _violation(labels, "warn", spec)):
            call.warnings.append(f"would violate {said}")


def _labels(cluster: Cluster, namespace: str) -> dict[str, str]:
    found = cluster.core("namespaces", "", namespace) or {}
    return dict((found.get("metadata") or {}).get("labels") or {})


def _level(labels: dict[str, str], mode: str) -> tuple[str, str]:
    """The level of a mode and how it is shown: `restricted:latest`."""
    level = labels.get(_PREFIX + mode, "privileged")
    return level, f"{level}:{labels.get(f'{_PREFIX}{mode}-version', 'latest')}"


def _violation(labels: dict[str, str], mode: str, spec: Obj) -> str:
    level, shown = _level(labels, mode)
    found = checks.refusals(level, spec)
    return f'PodSecurity "{shown}": {", ".join(map(str, found))}' if found else ""


def _pod(attributes: Attributes, pod: Obj, labels: dict[str, str]) -> None:
    spec = pod.get("spec") or {}
    if said := _violation(labels, "enforce", spec):
        raise errors.forbidden(attributes.call.kind, attributes.name, f"violates {said}")
    if said := _violation(labels, "warn", spec):
        attributes.call.warnings.append(f"would violate {said}")


def _template(obj: Obj) -> Obj:
    spec = obj.get("spec") or {}
    holder = ((spec.get("jobTemplate") or {}).get("spec") or {}) if "jobTemplate" in spec else spec
    template = holder.get("template") or obj.get("template") or {}
    found: Obj = template.get("spec") or {}
    return found


def _namespace(attributes: Attributes, obj: Obj, cluster: Cluster) -> None:
    labels = obj["metadata"].get("labels") or {}
    old = ((attributes.old or {}).get("metadata") or {}).get("labels") or {}
    wrong = list(_wrong(labels))
    if wrong and list(_wrong(old)) != wrong:
        raise errors.invalid(attributes.call.kind, attributes.name, wrong)
    level, shown = _level(labels, "enforce")
    if attributes.operation == "CREATE" or _level(old, "enforce") == (level, shown):
        return
    groups: dict[str, list[str]] = {}
    for row in cluster.store.rows("/pods", attributes.name):
        found = checks.refusals(level, row.decode().get("spec") or {})
        if found:
            groups.setdefault(", ".join(one.reason for one in found), []).append(row.key.name)
    if not groups:
        return
    name = attributes.name
    said = f'existing pods in namespace "{name}" violate the new PodSecurity enforce level "{shown}"'
    attributes.call.warnings.append(said)
    attributes.call.warnings += sorted(f"{_and_others(names)}: {why}" for why, names in groups.items())


def _and_others(names: list[str]) -> str:
    match len(names) - 1:
        case 0:
            return names[0]
        case 1:
            return f"{names[0]} (and 1 other pod)"
        case others:
            return f"{names[0]} (and {others} other pods)"


def _wrong(labels: dict[str, str]) -> Iterator[FieldError]:
    for mode in ("enforce", "audit", "warn"):
        where = f"metadata.labels[{_PREFIX}{mode}"
        level = labels.get(_PREFIX + mode)
        if level is not None and level not in _LEVELS:
            yield errors.invalid_value(f"{where}]", level, f"must be one of {', '.join(_LEVELS)}")
        version = labels.get(f"{_PREFIX}{mode}-version")
        if version is not None and not _VERSION.fullmatch(version):
            yield errors.invalid_value(f"{where}-version]", version, 'must be "latest" or "v1.x"')
