"""What `weft underlay check` looks at: namespaces, by the nodes' own processes, and names, by the API."""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import msgspec

from weft.adapters.kube import kinds, remote
from weft.adapters.kube.client import ApiError, Kube
from weft.cli.reach import NotThereError, named
from weft.underlay.observed import Observed
from weft.underlay.paths.world import ABOVE_A_PARENT, Place, Service, Sight, World

if TYPE_CHECKING:
    from weft.underlay.addresses import Address

Json = dict[str, Any]

AGENT: Final = "spiderpool-agent"
_DNS: Final = ("kube-dns", "coredns")
_NOBODYS: Final = "192.0.2.1"
"""An address of the documentation's (RFC 5737)."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a packet is to go, as people call it, and its addresses."""

    name: str
    addresses: tuple["Address", ...]
    pod: Json | None = None
    node: str = ""


@dataclass(slots=True)
class Cluster:
    """The objects that give names to addresses, and what nodes have told."""

    kube: Kube
    pods: list[Json]
    services: list[Json]
    nodes: list[Json]
    slices: list[Json]
    coordinators: list[Json]
    _sights: dict[tuple[str, str], Sight] = field(default_factory=dict, init=False)

    @classmethod
    async def read(cls, kube: Kube) -> "Cluster":
        """Read them."""
        wanted = (kinds.PODS, kinds.SERVICES, kinds.NODES, kinds.ENDPOINTSLICES, kinds.SPIDERCOORDINATORS)
        return cls(kube, *await asyncio.gather(*(kube.list(kind) for kind in wanted)))

    async def look(self, node: str, pod: Json | None = None) -> Sight:
        """What a node's process sees, of a pod too. NotThereError where it cannot be asked."""
        name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}" if pod else ""
        if (node, name) not in self._sights:
            self._sights[node, name] = await self._ask(node, name)
        return self._sights[node, name]

    async def _ask(self, node: str, pod: str) -> Sight:
        agent = next((each for each in self._agents() if each["spec"].get("nodeName") == node), None)
        if agent is None:
            raise NotThereError(
                f"no {AGENT} runs on node {node}, so nobody sees its network. "
                f"See: kubectl get pods -A -o wide -l app.kubernetes.io/component={AGENT}"
            )
        meta = agent["metadata"]
        command = ["weft", AGENT, "observe", *([pod] if pod else [])]
        try:
            ran = await remote.run(self.kube, meta["namespace"], meta["name"], AGENT, command)
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            if isinstance(error, ApiError) and error.code in {401, 403}:
                raise
            raise NotThereError(
                f"{AGENT} of node {node} cannot be asked, so nobody sees its network ({error}). "
                f"See whether the node is there: kubectl get node {node}"
            ) from error
        if ran.code:
            said = (ran.stderr.strip().splitlines() or [f"exit code {ran.code}"])[-1]
            raise NotThereError(f"{AGENT} of node {node}: {said}")
        return msgspec.json.decode(ran.stdout, type=Sight)

    def _agents(self) -> Iterator[Json]:
        for pod in self.pods:
            labels = pod["metadata"].get("labels") or {}
            if labels.get("app.kubernetes.io/component") == AGENT and _runs(pod):
                yield pod

    def world(self) -> World:
        """All that was seen until now, with names."""
        places: dict[str, Place] = {}
        for (node, pod), sight in self._sights.items():
            own = f"node {node}"
            places[own] = Place(own, sight.host)
            if sight.pod is not None:
                places[f"pod {pod}"] = Place(f"pod {pod}", sight.pod, own, frozenset(sight.swallows))
        ranges = [
            cidr for each in self.coordinators for cidr in (each.get("status") or {}).get("overlayPodCIDR") or ()
        ]
        return World(tuple(places.values()), dict(self._services()), dict(self._known()), tuple(ranges))

    def _services(self) -> Iterator[tuple["Address", Service]]:
        endpoints: dict[str, list[Address]] = {}
        for each in self.slices:
            meta = each["metadata"]
            name = f"{meta['namespace']}/{(meta.get('labels') or {}).get('kubernetes.io/service-name', '')}"
            for endpoint in each.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("ready", True) is not False:
                    endpoints.setdefault(name, []).extend(map(ip_address, endpoint["addresses"]))
        for service in self.services:
            meta = service["metadata"]
            name = f"{meta['namespace']}/{meta['name']}"
            for address in cluster_ips(service):
                same = (each for each in endpoints.get(name, ()) if each.version == address.version)
                yield address, Service(name, tuple(same))

    def _known(self) -> Iterator[tuple["Address", str]]:
        for node in self.nodes:
            for address in node_addresses(node):
                yield address, f"node {node['metadata']['name']}"
        for pod in self.pods:
            if not pod["spec"].get("hostNetwork"):
                for address in pod_addresses(pod):
                    yield address, f"pod {pod['metadata']['namespace']}/{pod['metadata']['name']}"

    async def resolve(self, text: str, namespace: str) -> Target:
        """What an ADDRESS, `node/NAME`, `svc/NAME`, `pod/NAME` or a bare name of one of these stands for."""
        try:
            return Target(text, (ip_address(text),))
        except ValueError:
            kind, _, name = text.rpartition("/")
        where = namespace or self.kube.access.namespace
        if kind in {"", "pod", "po", "pods"}:
            found = _find(self.pods, name, where)
            if found is not None:
                return self.pod(found)
        if kind in {"", "svc", "service", "services"}:
            found = _find(self.services, name, where)
            if found is not None:
                if not (addresses := cluster_ips(found)):
                    raise NotThereError(f'service "{name}" has no address of its own. Name one of its pods.')
                return Target(f"service {name}", addresses)
        if kind in {"", "node", "nodes", "no"}:
            node = next((each for each in self.nodes if each["metadata"]["name"] == name), None)
            if node is not None:
                return Target(f"node {name}", node_addresses(node), node=name)
        raise NotThereError(
            f'there is no address, pod, service or node "{text}" (namespace {where}). '
            "Write 10.6.0.1, NAME, NAME.NAMESPACE, svc/NAME or node/NAME."
        )

    def pod(self, pod: Json) -> Target:
        """A pod as a target."""
        meta = pod["metadata"]
        name = f"pod {meta['namespace']}/{meta['name']}"
        return Target(name, pod_addresses(pod), pod, pod["spec"].get("nodeName", ""))

    async def see(self, target: Target) -> None:
        """Look at a target's namespaces, as far as they can be seen; journeys end where they cannot."""
        if target.node and any(agent["spec"].get("nodeName") == target.node for agent in self._agents()):
            with contextlib.suppress(NotThereError):  # it may end meanwhile, or have no network yet
                await self.look(target.node, target.pod)

    async def named(self, name: str, namespace: str) -> Json:
        """The pod that POD or POD.NAMESPACE stands for."""
        return await named(self.kube, kinds.PODS, name.removeprefix("pod/"), namespace)

    def usual(self, pod: Json) -> Iterator[tuple[str, Target]]:
        """What every pod is to reach, each with what it stands for."""
        own = pod["spec"].get("nodeName", "")
        by_name = {node["metadata"]["name"]: node for node in self.nodes}
        if own in by_name:
            yield "own node", Target(f"node {own}", node_addresses(by_name[own]), node=own)
        other = next((name for name in by_name if name != own), "")
        if other:
            yield "another node", Target(f"node {other}", node_addresses(by_name[other]), node=other)
        dns = (each for each in self.services if each["metadata"]["name"] in _DNS)
        if (found := next(dns, None)) and (addresses := cluster_ips(found)):
            yield "DNS", Target(f"service {found['metadata']['name']}", addresses)
        plain = [each for each in self.pods if self._is_plain(each) and each["metadata"]["uid"] != _uid(pod)]
        plain.sort(key=lambda each: each["spec"].get("nodeName") != (other or own))
        if plain:
            yield "overlay pod", self.pod(plain[0])

    def _is_plain(self, pod: Json) -> bool:
        annotations = pod["metadata"].get("annotations") or {}
        many = any(key.startswith(("k8s.v1.cni.cncf.io/", "v1.multus-cni.io/")) for key in annotations)
        return _runs(pod) and not pod["spec"].get("hostNetwork") and not many and bool(pod_addresses(pod))


def outer(observed: Observed, outside: str) -> Iterator[tuple[str, Target]]:
    """What is outside of the cluster: the gateways of a pod's own networks, and an address beyond them."""
    kinds_of = {link.name: link.kind for link in observed.links}
    for route in observed.routes:
        if route.default and route.via and kinds_of.get(route.device) in ABOVE_A_PARENT:
            yield "gateway", Target(f"gateway of {route.device}", (ip_address(route.via),))
    yield "outside", Target("outside", (ip_address(outside or _NOBODYS),))


def cluster_ips(service: Json) -> tuple["Address", ...]:
    """The addresses of a service."""
    spec = service.get("spec") or {}
    return tuple(ip_address(each) for each in spec.get("clusterIPs") or () if each != "None")


def node_addresses(node: Json) -> tuple["Address", ...]:
    """The addresses that a node is known by."""
    listed = (node.get("status") or {}).get("addresses") or ()
    return tuple(ip_address(each["address"]) for each in listed if each["type"] == "InternalIP")


def pod_addresses(pod: Json) -> tuple["Address", ...]:
    """All addresses of a pod: what Kubernetes knows of its first interface, and its networks say of others."""
    status = pod.get("status") or {}
    texts = [each["ip"] for each in status.get("podIPs") or ()]
    annotations: Mapping[str, str] = pod["metadata"].get("annotations") or {}
    try:
        networks = msgspec.json.decode(annotations.get("k8s.v1.cni.cncf.io/network-status", "[]"), type=list[Json])
    except msgspec.DecodeError:
        networks = []
    texts += [text for each in networks for text in each.get("ips") or ()]
    return tuple(dict.fromkeys(map(ip_address, texts)))


def _find(objects: Iterable[Json], name: str, namespace: str) -> Json | None:
    """The object of that name in the namespace, or of `NAME.NAMESPACE`."""
    wanted = {(namespace, name)}
    first, _, last = name.rpartition(".")
    if first:
        wanted.add((last, first))
    return next(
        (each for each in objects if (each["metadata"]["namespace"], each["metadata"]["name"]) in wanted), None
    )


def _runs(pod: Json) -> bool:
    return bool(
        (pod.get("status") or {}).get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")
    )


def _uid(pod: Json) -> str:
    return str(pod["metadata"]["uid"])
