"""What is there from the start: namespaces, roles, priorities, the `kubernetes` Service and its endpoints."""

import logging
from collections.abc import Sequence
from ipaddress import IPv4Network

from weft.cluster.apiserver import errors, standard_roles
from weft.cluster.apiserver.catalog import BUILT_IN
from weft.cluster.apiserver.cluster import Call, Cluster, Obj
from weft.cluster.apiserver.users import MASTERS, User
from weft.cluster.apiserver.writing import Writing

_log = logging.getLogger(__name__)
NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_SERVER = User("system:apiserver", groups=(MASTERS,))
_PRIORITIES = (
    (
        "system-cluster-critical",
        2_000_000_000,
        (
            "Used for system critical pods that must run in the cluster,"
            " but can be moved to another node if necessary."
        ),
    ),
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
)


def _call(cluster: Cluster, group: str, plural: str, namespace: str = "", name: str = "") -> Call:
    kind = cluster.scheme.find(group, "v1", plural)
    if kind is None:
        raise LookupError(f"{plural}.{group} is missing from the catalog")
    return Call(kind, namespace, name, _SERVER, manager="weft-apiserver", validation="Ignore")


async def _ensure(writing: Writing, call: Call, obj: Obj) -> None:
    """Create the object, or write what it should be over what it is.

    What admission refuses stays as it is: a user's policy or a webhook whose pod is not up yet must not keep the
    server from starting.
    """
    name = obj["metadata"]["name"]
    try:
        await _write(writing, call, obj, name)
    except errors.StatusError as error:
        if writing.cluster.store.get(call.key()._replace(name=name)) is None:
            raise
        _log.warning("%s %s stays as it was: %s", call.kind.plural, name, error)


async def _write(writing: Writing, call: Call, obj: Obj, name: str) -> None:
    try:
        await writing.create(call, obj)
    except errors.StatusError as error:
        if error.reason != "AlreadyExists":
            raise
        call.name = name
        wanted = {key: value for key, value in obj.items() if key != "metadata"}
        await writing.update(call, lambda before: {**before, **wanted})


async def run(
    cluster: Cluster, writing: Writing, network: IPv4Network, addresses: Sequence[tuple[str, int]]
) -> None:
    """Make what is missing. `addresses` are where pods reach this server: address and port."""
    for name in NAMESPACES:
        if cluster.core("namespaces", "", name) is None:
            await writing.create(_call(cluster, "", "namespaces"), {"metadata": {"name": name}})
    await standard_roles.ensure(cluster, writing)
    await _priorities(cluster, writing)
    await _own_service(cluster, writing, network, addresses)
    await _service_range(cluster, writing, network)
    await _api_services(cluster, writing)


async def _priorities(cluster: Cluster, writing: Writing) -> None:
    call = _call(cluster, "scheduling.k8s.io", "priorityclasses")
    for name, value, description in _PRIORITIES:
        if cluster.row(call.kind, "", name) is None:
            await writing.create(
                _call(cluster, "scheduling.k8s.io", "priorityclasses"),
                {"metadata": {"name": name}, "value": value, "description": description},
            )


async def _own_service(
    cluster: Cluster, writing: Writing, network: IPv4Network, addresses: Sequence[tuple[str, int]]
) -> None:
    labels = {"component": "apiserver", "provider": "kubernetes"}
    if not addresses:
        return
    port = addresses[0][1]
    first = str(network.network_address + 1)
    service = {
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": first,
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
        },
    }
    # labelled so that the endpoints controller leaves it alone: the Service has no selector
    mirrored = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    endpoints = {
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": mirrored},
        "subsets": [
            {
                "addresses": [{"ip": address} for address, _ in addresses],
                "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
            }
        ],
    }
    slices = {
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address, _ in addresses],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }
    await _ensure(writing, _call(cluster, "", "services", "default"), service)
    await _ensure(writing, _call(cluster, "", "endpoints", "default"), endpoints)
    await _ensure(writing, _call(cluster, "discovery.k8s.io", "endpointslices", "default"), slices)


async def _service_range(cluster: Cluster, writing: Writing, network: IPv4Network) -> None:
    """The range of cluster addresses, as the kind that shows it."""
    call = _call(cluster, "networking.k8s.io", "servicecidrs")
    if cluster.row(call.kind, "", "kubernetes") is not None:
        return
    await writing.create(call, {"metadata": {"name": "kubernetes"}, "spec": {"cidrs": [str(network)]}})
    await _tell(cluster, writing, call, "kubernetes", ("Ready", "", "Kubernetes default Service CIDR is ready"))


async def _api_services(cluster: Cluster, writing: Writing) -> None:
    """One for each version of a built-in group, which this server serves itself."""
    for group, version in dict.fromkeys((kind.group, kind.version) for kind in BUILT_IN):
        call, name = _call(cluster, "apiregistration.k8s.io", "apiservices"), f"{version}.{group}"
        if cluster.row(call.kind, "", name) is not None:
            continue
        spec = {"version": version, "groupPriorityMinimum": 17000 if group else 18000, "versionPriority": 15}
        metadata = {"name": name, "labels": {"kube-aggregator.kubernetes.io/automanaged": "onstart"}}
        await writing.create(call, {"metadata": metadata, "spec": spec | ({"group": group} if group else {})})
        local = ("Available", "Local", "Local APIServices are always available")
        await _tell(cluster, writing, call, name, local)


async def _tell(
    cluster: Cluster, writing: Writing, made: Call, name: str, condition: tuple[str, str, str]
) -> None:
    """Write a condition, given as type, reason and message, into an object's status: it holds."""
    told = Call(made.kind, "", name, _SERVER, manager=made.manager, validation="Ignore", subresource="status")
    kind, reason, message = condition
    now = cluster.world.stamp()
    holds = {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now}
    await writing.update(told, lambda before: {**before, "status": {"conditions": [holds]}})
