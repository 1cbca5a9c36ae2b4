"""What the server accepts and yet warns of (`pkg/api/*/warnings.go`): the text of Warning headers."""

from collections.abc import Callable, Iterator
from typing import Any

from weft.cluster.apiserver import names, quantities
from weft.cluster.apiserver.kinds import Kind

Obj = dict[str, Any]
_OLD_LABELS = {
    "beta.kubernetes.io/arch": ("v1.14", "kubernetes.io/arch"),
    "beta.kubernetes.io/os": ("v1.14", "kubernetes.io/os"),
    "failure-domain.beta.kubernetes.io/region": ("v1.17", "topology.kubernetes.io/region"),
    "failure-domain.beta.kubernetes.io/zone": ("v1.17", "topology.kubernetes.io/zone"),
    "beta.kubernetes.io/instance-type": ("v1.17", "node.kubernetes.io/instance-type"),
}
_OLD_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": 'non-functional in v1.16+; use the "priorityClassName" field',
    "security.alpha.kubernetes.io/sysctls": 'non-functional in v1.11+; use the "sysctls" field',
    "security.alpha.kubernetes.io/unsafe-sysctls": 'non-functional in v1.11+; use the "sysctls" field',
    "seccomp.security.alpha.kubernetes.io/pod": 'non-functional in v1.27+; use the "seccompProfile" field',
}
_OLD_VOLUMES = {
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "gitRepo": "deprecated in v1.11, and disabled by default in v1.33+",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_BYTES = ("memory", "ephemeral-storage")
# where each kind that makes pods has its template
_TEMPLATES: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "Pod"): (),
    ("", "PodTemplate"): ("template",),
    ("", "ReplicationController"): ("spec", "template"),
    ("apps", "DaemonSet"): ("spec", "template"),
    ("apps", "Deployment"): ("spec", "template"),
    ("apps", "ReplicaSet"): ("spec", "template"),
    ("apps", "StatefulSet"): ("spec", "template"),
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
    ("batch", "Job"): ("spec", "template"),
}
_NAMES_PODS = frozenset(
    {"Pod", "CronJob", "Deployment", "Job", "ReplicaSet", "ReplicationController", "StatefulSet"}
)
_DEPRECATED = {("", "Endpoints"): "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"}


def of_version(kind: Kind) -> str:
    """What every request for a kind is warned of; empty where it is up to date."""
    return _DEPRECATED.get((kind.group, kind.kind), "")


def of_object(kind: Kind, obj: Obj, before: Obj | None) -> list[str]:
    """What is warned of when an object is created, or changed from `before`."""
    name = (kind.group, kind.kind)
    found: list[str] = []
    if before is None and kind.kind in _NAMES_PODS and name in _TEMPLATES:
        found += _name(obj)
    if name in _TEMPLATES and (before is None or (kind.kind != "Pod" and obj.get("spec") != before.get("spec"))):
        found += _template(obj, _TEMPLATES[name])
    if check := _BY_KIND.get(name):
        found += check(obj)
    return found


def of_custom(obj: Obj) -> list[str]:
    """What is warned of in an object of a custom kind."""
    return [
        f'metadata.finalizers: "{name}": prefer a domain-qualified finalizer name including a path (/) to avoid'
        " accidental conflicts with other finalizer writers"
        for name in obj["metadata"].get("finalizers") or ()
        if "/" not in name and name not in {"orphan", "foregroundDeletion", "kubernetes"}
    ]


def _name(obj: Obj) -> Iterator[str]:
    if why := names.label(obj["metadata"]["name"]):
        yield (
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior;"
            f" a DNS label is recommended: [{why}]"
        )


def _template(obj: Obj, path: tuple[str, ...]) -> Iterator[str]:
    template: Obj = obj
    for step in path:
        template = template.get(step) or {}
    where = "".join(f"{step}." for step in path)
    spec = template.get("spec") or {}
    yield from _nodes(spec, f"{where}spec")
    yield from _old(template, spec, where)
    yield from _twice(spec.get("hostAliases") or (), "ip", f"{where}spec.hostAliases")
    yield from _twice(spec.get("imagePullSecrets") or (), "name", f"{where}spec.imagePullSecrets")
    for index, secret in enumerate(spec.get("imagePullSecrets") or ()):
        if not secret.get("name"):
            yield f'{where}spec.imagePullSecrets[{index}].name: invalid empty name ""'
    yield from _fractions(spec.get("overhead") or {}, f"{where}spec.overhead")
    containers = list(_containers(spec, f"{where}spec"))
    for container, at in containers:
        yield from _container(container, at)
    yield from _ports(containers)
    if spec.get("terminationGracePeriodSeconds", 0) < 0:
        yield (
            f"{where}spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be"
            " treated as 1"
        )
    yield from _affinities(spec.get("affinity") or {}, f"{where}spec.affinity")


def _old(template: Obj, spec: Obj, where: str) -> Iterator[str]:
    for key, why in _OLD_ANNOTATIONS.items():
        if key in ((template.get("metadata") or {}).get("annotations") or {}):
            yield f"{where}metadata.annotations[{key}]: {why} instead"
    for index, volume in enumerate(spec.get("volumes") or ()):
        for kind in volume:
            if kind in _OLD_VOLUMES:
                yield f"{where}spec.volumes[{index}].{kind}: {_OLD_VOLUMES[kind]}"


def _containers(spec: Obj, path: str) -> Iterator[tuple[Obj, str]]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(field) or ()):
            yield container, f"{path}.{field}[{index}]"


def _old_label(key: str) -> str:
    if key not in _OLD_LABELS:
        return ""
    since, new = _OLD_LABELS[key]
    return f'deprecated since {since}; use "{new}" instead'


def _nodes(spec: Obj, path: str) -> Iterator[str]:
    for key in sorted(spec.get("nodeSelector") or ()):
        if why := _old_label(key):
            yield f"{path}.nodeSelector[{key}]: {why}"
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    at = f"{path}.affinity.nodeAffinity"
    for index, term in enumerate((affinity.get(_REQUIRED) or {}).get("nodeSelectorTerms") or ()):
        yield from _node_term(term, f"{at}.{_REQUIRED}.nodeSelectorTerms[{index}]")
    for index, weighted in enumerate(affinity.get(_PREFERRED) or ()):
        yield from _node_term(weighted.get("preference") or {}, f"{at}.{_PREFERRED}[{index}].preference")
    for index, spread in enumerate(spec.get("topologySpreadConstraints") or ()):
        where = f"{path}.topologySpreadConstraints[{index}]"
        key = spread.get("topologyKey", "")
        if why := _old_label(key):
            yield f"{where}.topologyKey: {key} is {why}"
        if spread.get("labelSelector") is None:
            yield f"{where}.labelSelector: a null labelSelector results in matching no pod"


def _node_term(term: Obj, path: str) -> Iterator[str]:
    for index, given in enumerate(term.get("matchExpressions") or ()):
        key = given.get("key", "")
        if why := _old_label(key):
            yield f"{path}.matchExpressions[{index}].key: {key} is {why}"


def _affinities(affinity: Obj, path: str) -> Iterator[str]:
    nobody = "labelSelector: a null labelSelector results in matching no pod"
    for field in ("podAffinity", "podAntiAffinity"):
        terms = affinity.get(field) or {}
        for index, term in enumerate(terms.get(_REQUIRED) or ()):
            if term.get("labelSelector") is None:
                yield f"{path}.{field}.{_REQUIRED}[{index}].{nobody}"
        for index, term in enumerate(terms.get(_PREFERRED) or ()):
            if (term.get("podAffinityTerm") or {}).get("labelSelector") is None:
                yield f"{path}.{field}.{_PREFERRED}[{index}].podAffinityTerm.{nobody}"


def _twice(items: Any, field: str, path: str) -> Iterator[str]:
    seen: set[str] = set()
    for index, item in enumerate(items):
        value = item.get(field, "")
        if value in seen:
            yield f'{path}[{index}].{field}: duplicate {field} "{value}"'
        seen.add(value)


def _fractions(amounts: Obj, path: str) -> Iterator[str]:
    for name in _BYTES:
        if name in amounts and quantities.parse(amounts[name]).denominator != 1:
            yield f'{path}[{name}]: fractional byte value "{amounts[name]}" is invalid, must be an integer'


def _container(container: Obj, path: str) -> Iterator[str]:
    resources = container.get("resources") or {}
    for name in _BYTES:
        for side in ("limits", "requests"):
            amounts = {key: value for key, value in (resources.get(side) or {}).items() if key == name}
            yield from _fractions(amounts, f"{path}.resources.{side}")
    seen: set[str] = set()
    for index, variable in enumerate(container.get("env") or ()):
        name, value = variable.get("name", ""), variable.get("value", "")
        reference = f"$({name})"
        hidden = "valueFrom" in variable or value == reference or reference not in value
        if name in seen and hidden:
            what = f'hides previous definition of "{name}"'
            yield f"{path}.env[{index}]: {what}, which may be dropped when using apply"
        seen.add(name)


def _ports(containers: list[tuple[Obj, str]]) -> Iterator[str]:
    known: dict[tuple[Any, Any], list[tuple[Obj, str]]] = {}
    for container, path in containers:
        for index, port in enumerate(container.get("ports") or ()):
            where = f"{path}.ports[{index}]"
            others = known.setdefault((port.get("containerPort"), port.get("protocol", "TCP")), [])
            for other, at in others:
                if how := _clash(port, other):
                    yield f"{where}: {how} port definition with {at}"
            others.append((port, where))


def _clash(port: Obj, other: Obj) -> str:
    host, its = port.get("hostPort", 0), other.get("hostPort", 0)
    if (port.get("hostIP", ""), host) == (other.get("hostIP", ""), its):
        return "duplicate"
    if not host or not its:
        return "overlapping"
    return "dangerously ambiguous" if host == its and not (port.get("hostIP") and other.get("hostIP")) else ""


def _service(obj: Obj) -> Iterator[str]:
    spec, kind = obj.get("spec") or {}, (obj.get("spec") or {}).get("type", "ClusterIP")
    if spec.get("clusterIP") == "None" and kind == "ClusterIP":
        for field in ("loadBalancerIP", "externalIPs"):
            if spec.get(field):
                yield f"spec.{field} is ignored for headless services"
        if spec.get("sessionAffinity", "None") != "None":
            yield "spec.SessionAffinity is ignored for headless services"
    if kind == "ExternalName" and spec.get("externalIPs"):
        yield 'spec.externalIPs is ignored when spec.type is "ExternalName"'
    if kind != "ExternalName" and spec.get("externalName"):
        yield 'spec.externalName is ignored when spec.type is not "ExternalName"'
    if spec.get("trafficDistribution") == "PreferClose":
        yield 'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"'


def _claim(obj: Obj) -> Iterator[str]:
    amounts = (((obj.get("spec") or {}).get("resources") or {}).get("requests")) or {}
    if "storage" in amounts and quantities.parse(amounts["storage"]).denominator != 1:
        shown = f'fractional byte value "{amounts["storage"]}" is invalid, must be an integer'
        yield f"spec.resources.requests[storage]: {shown}"


def _ingress(obj: Obj) -> Iterator[str]:
    if "kubernetes.io/ingress.class" in (obj["metadata"].get("annotations") or {}):
        what = 'annotation "kubernetes.io/ingress.class" is deprecated'
        yield f"{what}, please use 'spec.ingressClassName' instead"


def _stateful_set(obj: Obj) -> Iterator[str]:
    if (obj.get("spec") or {}).get("revisionHistoryLimit", 0) < 0:
        yield (
            "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is"
            " recommended"
        )


def _service_account(obj: Obj) -> Iterator[str]:
    key = "kubernetes.io/enforce-mountable-secrets"
    if key in (obj["metadata"].get("annotations") or {}):
        yield (
            f"metadata.annotations[{key}]: deprecated in v1.32+; prefer separate namespaces to isolate access to"
            " mounted secrets"
        )


_BY_KIND: dict[tuple[str, str], Callable[[Obj], Iterator[str]]] = {
    ("", "PersistentVolumeClaim"): _claim,
    ("", "Service"): _service,
    ("", "ServiceAccount"): _service_account,
    ("apps", "StatefulSet"): _stateful_set,
    ("networking.k8s.io", "Ingress"): _ingress,
}
