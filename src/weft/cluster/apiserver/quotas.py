"""ResourceQuotas: what objects use, and which quota counts which of them (`pkg/quota/v1/evaluator`)."""

from collections.abc import Iterable, Iterator
from fractions import Fraction

from weft.cluster.apiserver import amounts
from weft.cluster.apiserver.amounts import Amount, Amounts
from weft.cluster.apiserver.cluster import Cluster, Obj
from weft.cluster.apiserver.strategies import qos_class

ONE = Amount(Fraction(1))
QUOTAS = "/resourcequotas"
_COUNTED = (
    "services",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
)
_BARE = ("cpu", "memory", "ephemeral-storage")
"""A request of these counts under its bare name, too."""
_REQUIRED = frozenset({"cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"})
_CLASS = ".storageclass.storage.k8s.io/"
_OVER = ("Succeeded", "Failed")


def usage(resource: str, obj: Obj) -> Amounts:
    """What one object counts for; `resource` is what it is stored under, such as `apps/deployments`."""
    group, _, plural = resource.partition("/")
    found: Amounts = {f"count/{plural}.{group}" if group else f"count/{plural}": ONE}
    if not group and plural in _COUNTED:
        found[plural] = ONE
    match resource:
        case "/pods" if (obj.get("status") or {}).get("phase") not in _OVER:
            return found | {"pods": ONE} | _computed(obj)
        case "/services":
            return found | _of_service(obj)
        case "/persistentvolumeclaims":
            return found | _of_claim(obj)
        case _:
            return found


def _computed(pod: Obj) -> Amounts:
    found: Amounts = {}
    for name, amount in amounts.of_pod(pod, "requests").items():
        found[f"requests.{name}"] = amount
        if name in _BARE or name.startswith("hugepages-"):
            found[name] = amount
    for name, amount in amounts.of_pod(pod, "limits").items():
        found[f"limits.{name}"] = amount
    return found


def _of_service(service: Obj) -> Amounts:
    spec = service.get("spec") or {}
    ports = len(spec.get("ports") or ())
    match spec.get("type"):
        case "NodePort":
            return {"services.nodeports": Amount(Fraction(ports))}
        case "LoadBalancer":
            given = sum(bool(port.get("nodePort")) for port in spec.get("ports") or ())
            kept = spec.get("allocateLoadBalancerNodePorts", True)
            return {
                "services.nodeports": Amount(Fraction(ports if kept else given)),
                "services.loadbalancers": ONE,
            }
        case _:
            return {}


def _of_claim(claim: Obj) -> Amounts:
    spec = claim.get("spec") or {}
    found: Amounts = {}
    sort = spec.get("storageClassName") or ""
    if sort:
        found[f"{sort}{_CLASS}persistentvolumeclaims"] = ONE
    asked = amounts.read((spec.get("resources") or {}).get("requests")).get("storage")
    if asked:
        found["requests.storage"] = asked
        if sort:
            found[f"{sort}{_CLASS}requests.storage"] = asked
    return found


def hard(quota: Obj) -> Amounts:
    """The bounds of a quota."""
    return amounts.read((quota.get("spec") or {}).get("hard"))


def covers(quota: Obj, resource: str, obj: Obj) -> bool:
    """Whether a quota's scopes take an object. Scopes are of pods alone."""
    terms = list(_scopes(quota))
    return all(resource == "/pods" and _in_scope(term, obj) for term in terms)


def _scopes(quota: Obj) -> Iterator[Obj]:
    spec = quota.get("spec") or {}
    yield from ({"scopeName": name, "operator": "Exists"} for name in spec.get("scopes") or ())
    yield from (spec.get("scopeSelector") or {}).get("matchExpressions") or ()


def _in_scope(term: Obj, pod: Obj) -> bool:
    spec = pod.get("spec") or {}
    match term.get("scopeName"):
        case "Terminating":
            return spec.get("activeDeadlineSeconds") is not None
        case "NotTerminating":
            return spec.get("activeDeadlineSeconds") is None
        case "BestEffort":
            return qos_class(pod) == "BestEffort"
        case "NotBestEffort":
            return qos_class(pod) != "BestEffort"
        case "PriorityClass":
            return _by_name(term, str(spec.get("priorityClassName") or ""))
        case "CrossNamespacePodAffinity":
            return any(_crosses(item) for item in _affinity_terms(spec))
        case _:
            return False


def _by_name(term: Obj, name: str) -> bool:
    values = term.get("values") or ()
    match term.get("operator"):
        case "In":
            return name in values
        case "NotIn":
            return name not in values
        case "DoesNotExist":
            return not name
        case _:
            return bool(name)


def _affinity_terms(spec: Obj) -> Iterator[Obj]:
    affinity = spec.get("affinity") or {}
    for sort in ("podAffinity", "podAntiAffinity"):
        held = affinity.get(sort) or {}
        yield from held.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        for weighted in held.get("preferredDuringSchedulingIgnoredDuringExecution") or ():
            yield weighted.get("podAffinityTerm") or {}


def _crosses(term: Obj) -> bool:
    return bool(term.get("namespaces")) or term.get("namespaceSelector") is not None


def unspecified(quota: Obj, pod: Obj) -> str:
    """What a quota of processors or memory wants each container to say and it does not; empty if nothing."""
    wanted = sorted(_REQUIRED & set(hard(quota)))
    spec = pod.get("spec") or {}
    if not wanted or spec.get("resources"):
        return ""
    lacking: dict[str, list[str]] = {}
    for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        said = container.get("resources") or {}
        for name in wanted:
            side, dot, what = name.rpartition(".")
            if what not in (said.get(side if dot else "requests") or {}):
                lacking.setdefault(name, []).append(str(container.get("name", "")))
    if not lacking:
        return ""
    return "must specify " + "; ".join(f"{name} for: {','.join(sorted(set(of)))}" for name, of in lacking.items())


def used(cluster: Cluster, quota: Obj) -> Amounts:
    """What a quota's namespace uses now of what the quota bounds."""
    names = set(hard(quota))
    namespace = quota["metadata"]["namespace"]
    total: Amounts = dict.fromkeys(names, Amount())
    for resource in sorted(set(_resources(names))):
        for row in cluster.store.rows(resource, namespace):
            obj = row.decode()
            if covers(quota, resource, obj):
                counted = usage(resource, obj)
                total = amounts.added(total, {name: counted[name] for name in names & set(counted)})
    return total


def _resources(names: Iterable[str]) -> Iterator[str]:
    """Where the objects are stored that these names count."""
    for name in names:
        if name.startswith("count/"):
            plural, _, group = name.removeprefix("count/").partition(".")
            yield f"{group}/{plural}"
        elif name.startswith("services"):
            yield "/services"
        elif name == "requests.storage" or _CLASS in name:
            yield "/persistentvolumeclaims"
        elif name in _COUNTED:
            yield f"/{name}"
        else:
            yield "/pods"
