"""What every new cluster gets: the DNS service, and the mesh. Applied through the API like anybody's objects."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import aiohttp

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import (
    DAEMONSETS,
    DEPLOYMENTS,
    ENDPOINTS,
    ENDPOINTSLICES,
    NODES,
    PODS,
    SERVICES,
    SPIDERCOORDINATORS,
    Kind,
    kind_of,
)
from weft.cluster.machine.layout import CLUSTER_DOMAIN, Layout, Node

MANAGER = "weft-up"
MESH_NAMESPACE, NODE_PROCESS = "istio-system", "istio-cni-node"
UNDERLAY_NAMESPACE, UNDERLAY_AGENT = "kube-system", "spiderpool-agent"
UNDERLAY_CONTROLLER, UNDERLAY_INIT = "spiderpool-controller", "spiderpool-init"
ROLE = "node-role.kubernetes.io/control-plane"
_DNS = {"name": "kube-dns", "namespace": "kube-system"}
_KUBELET, _XDS = 10250, 15012
_CONNECT_SECONDS = 0.5
_DNS_PORTS = (("dns", "UDP", 53), ("dns-tcp", "TCP", 53), ("metrics", "TCP", 9153))


def dns_objects(layout: Layout) -> list[tuple[Kind, dict[str, Any]]]:
    """The service `kube-dns`, without a selector: its endpoints are the nodes, each of which answers DNS."""
    labels = {"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}
    ports = [{"name": name, "protocol": protocol, "port": port} for name, protocol, port in _DNS_PORTS]
    service = {
        "metadata": {**_DNS, "labels": labels},
        "spec": {
            "clusterIP": str(layout.dns_ip),
            # a node asks its own resolver: when another one stops, no question is lost
            "internalTrafficPolicy": "Local",
            "ports": [{**port, "targetPort": port["port"]} for port in ports],
        },
    }
    endpoints = {
        "metadata": {**_DNS, "labels": labels},
        "subsets": [
            {
                "addresses": [{"ip": str(node.ip), "nodeName": node.name} for node in layout.nodes],
                "ports": ports,
            }
        ],
    }
    slices = {
        "metadata": {
            "name": "kube-dns-nodes",
            "namespace": _DNS["namespace"],
            "labels": {
                **labels,
                "kubernetes.io/service-name": _DNS["name"],
                "endpointslice.kubernetes.io/managed-by": MANAGER,
            },
        },
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": [str(node.ip)], "conditions": {"ready": True}, "nodeName": node.name}
            for node in layout.nodes
        ],
        "ports": ports,
    }
    return [(SERVICES, service), (ENDPOINTS, endpoints), (ENDPOINTSLICES, slices)]


def ranges(layout: Layout) -> dict[str, Any]:
    """The cluster's ranges, told as kubeadm tells them: networks beside the cluster's own look there."""
    told = {
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "ClusterConfiguration",
        "networking": {
            "dnsDomain": CLUSTER_DOMAIN,
            "podSubnet": str(layout.pods),
            "serviceSubnet": str(layout.services),
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "kubeadm-config", "namespace": "kube-system"},
        # JSON is YAML, too
        "data": {"ClusterConfiguration": f"{json.dumps(told, indent=2)}\n"},
    }


async def reachable(kube: Kube) -> None:
    """Return when the API server says that it is ready; ask until then."""
    while True:
        try:
            await kube.fetch("/readyz")
        except (ApiError, aiohttp.ClientError, OSError):
            await asyncio.sleep(0.03)
        else:
            return


async def apply_dns(kube: Kube, layout: Layout) -> None:
    """Make the DNS service true for the nodes that there are."""
    for kind, obj in dns_objects(layout):
        await kube.apply(kind, obj, manager=MANAGER)


async def apply_all(kube: Kube, objects: Iterable[dict[str, Any]]) -> int:
    """Apply objects in order (a namespace comes before what is in it); how many there were."""
    count = 0
    for obj in objects:
        await kube.apply(kind_of(obj), obj, manager=MANAGER)
        count += 1
    return count


async def exists(kube: Kube, kind: Kind, name: str, namespace: str) -> bool:
    """Whether there is such an object."""
    try:
        await kube.get(kind, name, namespace)
    except ApiError as error:
        if error.code == 404:
            return False
        raise
    return True


def condition(obj: dict[str, Any], name: str) -> bool:
    """Whether a condition of an object's status is True."""
    return any(
        one.get("type") == name and one.get("status") == "True"
        for one in obj.get("status", {}).get("conditions") or []
    )


async def node_ready(kube: Kube, node: Node) -> None:
    """Return when a node is Ready, and its kubelet answers: after a crash the stored word is old."""
    await answers(str(node.ip), _KUBELET)
    await _until(kube, NODES, node.name, "", lambda obj: condition(obj, "Ready"))


async def give_role(kube: Kube, node: Node) -> None:
    """Call the first node `control-plane`, as kubectl shows it. A kubelet may not say so of itself."""
    if node.number > 1:
        return
    held = await kube.get(NODES, node.name)
    if ROLE not in (held["metadata"].get("labels") or {}):
        await kube.patch(NODES, node.name, {"metadata": {"labels": {ROLE: ""}}})


async def control_plane_available(kube: Kube, name: str, namespace: str) -> None:
    """Return when the mesh's Deployment is Available, and its service answers from here, all the way."""
    await _until(kube, DEPLOYMENTS, name, namespace, lambda obj: condition(obj, "Available"))
    service = await kube.get(SERVICES, name, namespace)
    await answers(str(service["spec"]["clusterIP"]), _XDS)


async def daemons_ready(kube: Kube, name: str, namespace: str, count: int) -> None:
    """Return when a DaemonSet has `count` ready pods, of its newest template."""

    def done(daemons: dict[str, Any]) -> bool:
        status = daemons.get("status", {})
        seen = status.get("observedGeneration", 0) >= daemons["metadata"].get("generation", 0)
        updated, ready = status.get("updatedNumberScheduled", 0), status.get("numberReady", 0)
        return bool(seen and min(updated, ready) >= count)

    await _until(kube, DAEMONSETS, name, namespace, done)


async def plugin_ready(kube: Kube, count: int) -> bool:
    """Wait for the CNI plugin's node process on `count` nodes; False at once where the mesh has no such plugin."""
    if not await exists(kube, DAEMONSETS, NODE_PROCESS, MESH_NAMESPACE):
        return False
    await daemons_ready(kube, NODE_PROCESS, MESH_NAMESPACE, count)
    return True


async def underlay_ready(kube: Kube, count: int) -> None:
    """Return when pods can have underlay networks on `count` nodes: all of it runs, and the ranges are known."""
    await _until(
        kube, DEPLOYMENTS, UNDERLAY_CONTROLLER, UNDERLAY_NAMESPACE, lambda obj: condition(obj, "Available")
    )
    await daemons_ready(kube, UNDERLAY_AGENT, UNDERLAY_NAMESPACE, count)
    # where there is none any more, it was there to its end
    while any(
        pod["metadata"]["name"] == UNDERLAY_INIT and pod.get("status", {}).get("phase") != "Succeeded"
        for pod in await kube.list(PODS, UNDERLAY_NAMESPACE)
    ):
        await asyncio.sleep(0.1)
    for coordinator in await kube.list(SPIDERCOORDINATORS):
        await _until(
            kube,
            SPIDERCOORDINATORS,
            coordinator["metadata"]["name"],
            "",
            lambda obj: obj.get("status", {}).get("phase") == "Synced",
        )


async def answers(ip: str, port: int) -> None:
    """Return when something accepts connections there; try until then."""
    while True:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                _, writer = await asyncio.open_connection(ip, port)
        except (OSError, TimeoutError):
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


async def _until(kube: Kube, kind: Kind, name: str, namespace: str, done: Any) -> None:
    while True:
        try:
            if done(await kube.get(kind, name, namespace)):
                return
        except ApiError as error:
            if error.code != 404:
                raise
        await asyncio.sleep(0.05)


async def waiting_reasons(kube: Kube, namespace: str) -> list[str]:
    """Why pods of a namespace do not run, by their status: `istiod-…/discovery: ErrImagePull no such image`."""
    reasons = []
    for pod in await kube.list(PODS, namespace):
        status = pod.get("status", {})
        name = pod["metadata"]["name"]
        listed = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
        for container in listed:
            state = container.get("state") or {}
            held = state.get("waiting") or state.get("terminated") or {}
            if held.get("reason"):
                reasons.append(f"{name}/{container['name']}: {held['reason']} {held.get('message', '')}".strip())
            elif "running" in state and not container.get("ready"):
                reasons.append(f"{name}/{container['name']}: runs, but is not ready")
        if not listed:
            reasons.append(f"{name}: {status.get('phase', 'Pending')} {status.get('message', '')}".strip())
    return reasons
