"""Who answers for a load balancer's address on the LAN: one of the nodes that can serve it, without any talk.

Every node sees the same services and nodes, and ranks the nodes for each address in the same way; so each knows by
itself whether it is the first. Another takes over when the first is no longer Ready.
"""

import asyncio
import hashlib
import logging
from collections.abc import Iterable, Mapping
from functools import partial

from msgspec import Struct

from weft.adapters import announcing, netlink
from weft.adapters.kube.client import Kube
from weft.adapters.kube.kinds import NODES
from weft.adapters.kube.reflector import Applied, Deleted, Replaced
from weft.cluster.network.directory import Directory, Picture
from weft.cluster.network.objects import Meta, Service
from weft.cluster.network.ruleset import UPLINK

_LOG = logging.getLogger(__name__)

_MERGE_SECONDS = 0.05
_RETRY_SECONDS = 1.0


class _Condition(Struct, frozen=True):
    type: str
    status: str


class _Status(Struct, frozen=True):
    conditions: list[_Condition] | None = None


class NodeReady(Struct, frozen=True):
    """A node, as far as its readiness goes."""

    metadata: Meta
    status: _Status | None = None

    @property
    def ready(self) -> bool:
        """Whether its kubelet has lately said so."""
        conditions = (self.status and self.status.conditions) or []
        return any(one.type == "Ready" and one.status == "True" for one in conditions)


def elected(picture: Picture, ready: Iterable[str]) -> dict[str, str]:
    """Each load balancer's address, and the node that answers for it; without any ready node none does."""
    nodes = sorted(ready)
    found: dict[str, str] = {}
    for key, service in sorted(picture.services.items()):
        able = [node for node in nodes if node in _serving(picture, key, service, nodes)]
        for ip in service.ingress_ips:
            if able and service.spec.type == "LoadBalancer" and not service.spec.load_balancer_class:
                # rendezvous hashing: a node that comes or goes moves its own addresses only
                found[ip] = max(able, key=partial(_rank, ip))
    return found


def _serving(picture: Picture, key: tuple[str, str], service: Service, nodes: list[str]) -> set[str]:
    """The nodes that can serve a service from outside: all; by the policy Local those that have endpoints."""
    if service.spec.external_traffic_policy != "Local":
        return set(nodes)
    endpoints = [one for part in picture.of(key) for one in part.endpoints or []]
    return {one.node_name for one in endpoints if one.ready and one.node_name}


def _rank(ip: str, node: str) -> bytes:
    return hashlib.sha256(f"{ip}/{node}".encode()).digest()


async def run(kube: Kube, node_name: str, directory: Directory) -> None:
    """Answer for this node's share of the addresses, for ever, inside the node's network namespace."""
    stirred = asyncio.Event()
    directory.listen(stirred.set)
    nodes: dict[str, NodeReady] = {}
    async with asyncio.TaskGroup() as group:
        group.create_task(_follow_nodes(kube, nodes, stirred))
        group.create_task(_keep(node_name, directory, nodes, stirred))


async def _follow_nodes(kube: Kube, nodes: dict[str, NodeReady], stirred: asyncio.Event) -> None:
    async for change in kube.reflect(NODES, decode=NodeReady):
        match change:
            case Replaced(objects):
                nodes.clear()
                nodes.update({one.metadata.name: one for one in objects})
            case Applied(one):
                nodes[one.metadata.name] = one
            case Deleted(one):
                nodes.pop(one.metadata.name, None)
        stirred.set()


async def _keep(
    node_name: str, directory: Directory, nodes: Mapping[str, NodeReady], stirred: asyncio.Event
) -> None:
    held: frozenset[str] | None = None
    while True:
        await stirred.wait()
        stirred.clear()
        if not directory.complete:
            continue
        ready = [name for name, node in nodes.items() if node.ready]
        wanted = frozenset(ip for ip, node in elected(directory.picture, ready).items() if node == node_name)
        if wanted != held:
            try:
                held = await asyncio.to_thread(_change, wanted)
            except (netlink.NetlinkError, OSError) as error:
                _LOG.error("load balancers' addresses: %s", error)
                asyncio.get_running_loop().call_later(_RETRY_SECONDS, stirred.set)
        await asyncio.sleep(_MERGE_SECONDS)


def _change(wanted: frozenset[str]) -> frozenset[str]:
    held = announcing.held()
    for ip in sorted(held - wanted):
        announcing.forsake(ip)
    for ip in sorted(wanted - held):
        announcing.answer(ip, UPLINK)
    return wanted
