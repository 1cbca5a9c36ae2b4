"""NetworkPolicies: which pods of a node are isolated, and what they may take and send all the same. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, collapse_addresses
from typing import Any

import msgspec
from msgspec import Struct

from weft.cluster.controllers.objects import selects
from weft.cluster.network.directory import Key
from weft.cluster.network.objects import Meta, Named

Selector = dict[str, Any]


class _ContainerPort(Struct, frozen=True, rename="camel"):
    container_port: int
    name: str = ""
    protocol: str = "TCP"


class _Container(Struct, frozen=True):
    ports: list[_ContainerPort] | None = None


class _PodSpec(Struct, frozen=True, rename="camel"):
    containers: list[_Container]
    init_containers: list[_Container] | None = None
    node_name: str = ""
    host_network: bool = False


class _PodStatus(Struct, frozen=True):
    phase: str = ""
    ip: str = msgspec.field(default="", name="podIP")


class Pod(Struct, frozen=True):
    """A pod, as far as policies read it."""

    metadata: Meta
    spec: _PodSpec
    status: _PodStatus = _PodStatus()

    @property
    def ip(self) -> str:
        """Its own address; empty where it has none, or its node's."""
        ended = self.spec.host_network or self.status.phase in {"Succeeded", "Failed"}
        return "" if ended or ":" in self.status.ip else self.status.ip

    def number(self, name: str, protocol: str) -> int:
        """The port that it calls by a name; 0 where it has none."""
        containers = (*self.spec.containers, *(self.spec.init_containers or ()))
        ports = (port for one in containers for port in one.ports or ())
        return next((port.container_port for port in ports if (port.name, port.protocol) == (name, protocol)), 0)


class _Block(Struct, frozen=True):
    cidr: str
    besides: list[str] | None = msgspec.field(default=None, name="except")


class _Peer(Struct, frozen=True, rename="camel"):
    pod_selector: Selector | None = None
    namespace_selector: Selector | None = None
    ip_block: _Block | None = None


class _Port(Struct, frozen=True, rename="camel"):
    protocol: str = "TCP"
    port: int | str | None = None
    end_port: int | None = None


class _Rule(Struct, frozen=True):
    ports: list[_Port] | None = None
    source: list[_Peer] | None = msgspec.field(default=None, name="from")
    to: list[_Peer] | None = None


class _PolicySpec(Struct, frozen=True, rename="camel"):
    pod_selector: Selector = {}
    ingress: list[_Rule] | None = None
    egress: list[_Rule] | None = None
    policy_types: list[str] | None = None


class Policy(Struct, frozen=True):
    """A NetworkPolicy."""

    metadata: Meta
    spec: _PolicySpec = _PolicySpec()

    def concerns(self, direction: str) -> bool:
        """Whether it isolates the pods that it selects in this direction (`Ingress`, `Egress`)."""
        usual = ["Ingress", *(["Egress"] if self.spec.egress else [])]
        return direction in (self.spec.policy_types or usual)


@dataclass(frozen=True, slots=True)
class State:
    """All that policies are about, by namespace and name."""

    policies: Mapping[Key, Policy] = field(default_factory=dict)
    pods: Mapping[Key, Pod] = field(default_factory=dict)
    namespaces: Mapping[Key, Named] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, order=True)
class Ports:
    """Ports of one protocol from the first to the last; no first one: all of the protocol's."""

    protocol: str
    first: int = 0
    last: int = 0


@dataclass(frozen=True, slots=True)
class Allowed:
    """Traffic that a policy lets through: with these peers (CIDRs, None: anybody), to these ports (None: all)."""

    policy: str
    peers: tuple[str, ...] | None
    ports: tuple[Ports, ...] | None


@dataclass(frozen=True, slots=True)
class Isolated:
    """A pod that gets (`Ingress`) or sends (`Egress`) nothing but what is allowed."""

    pod: str
    ip: str
    direction: str
    allowed: tuple[Allowed, ...]


def isolated(state: State, node_name: str) -> list[Isolated]:
    """The isolated pods of a node, in a stable order."""
    by_namespace: dict[str, list[Policy]] = {}
    for (namespace, _), policy in sorted(state.policies.items()):
        by_namespace.setdefault(namespace, []).append(policy)
    crowd = _Crowd(state)
    return [
        Isolated(f"{key[0]}/{key[1]}", pod.ip, direction, tuple(_allowed(crowd, pod, direction, policies)))
        for key, pod in sorted(state.pods.items())
        if pod.ip and pod.spec.node_name == node_name
        for direction in ("Ingress", "Egress")
        if (
            policies := [
                policy
                for policy in by_namespace.get(key[0], ())
                if policy.concerns(direction) and selects(policy.spec.pod_selector, pod.metadata.labels)
            ]
        )
    ]


def _allowed(crowd: "_Crowd", pod: Pod, direction: str, policies: Iterable[Policy]) -> Iterator[Allowed]:
    for policy in policies:
        name = f"{policy.metadata.namespace}/{policy.metadata.name}"
        rules = policy.spec.ingress if direction == "Ingress" else policy.spec.egress
        for rule in rules or ():
            peers = rule.source if direction == "Ingress" else rule.to
            found = crowd.meant(policy.metadata.namespace, peers)
            if direction == "Ingress":
                yield Allowed(name, found.ranges, _ports(rule.ports, pod))
            else:
                yield from _sending(name, found, rule.ports)


@dataclass(frozen=True, slots=True)
class _Peers:
    """Pods among the peers, and the ranges of all peers; None: anybody."""

    pods: Sequence[Pod]
    ranges: tuple[str, ...] | None


class _Crowd:
    """Whom rules mean, found out once for all pods that a rule is about."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._known: dict[int, _Peers] = {}

    def meant(self, namespace: str, peers: Sequence[_Peer] | None) -> _Peers:
        """The peers of a rule, which is one of the state's own objects."""
        key = id(peers) if peers else 0
        if key not in self._known:
            self._known[key] = _peers(self._state, namespace, peers)
        return self._known[key]


def _peers(state: State, namespace: str, peers: Sequence[_Peer] | None) -> _Peers:
    if not peers:
        return _Peers([pod for pod in state.pods.values() if pod.ip], None)
    pods = {
        key: pod
        for key, pod in state.pods.items()
        if pod.ip and any(_is_meant(state, namespace, peer, key[0], pod) for peer in peers if not peer.ip_block)
    }
    networks = [network for peer in peers if peer.ip_block for network in _block(peer.ip_block)]
    networks += [IPv4Network(pod.ip) for pod in pods.values()]
    return _Peers(list(pods.values()), tuple(str(one) for one in collapse_addresses(networks)))


def _is_meant(state: State, own: str, peer: _Peer, namespace: str, pod: Pod) -> bool:
    if peer.namespace_selector is None:
        if namespace != own:
            return False
    else:
        known = state.namespaces.get(("", namespace))
        if known is None or not selects(peer.namespace_selector, known.metadata.labels):
            return False
    return peer.pod_selector is None or selects(peer.pod_selector, pod.metadata.labels)


def _block(block: _Block) -> Iterator[IPv4Network]:
    """A range without its exceptions; nothing of one that is none, or not IPv4."""
    try:
        left = [IPv4Network(block.cidr, strict=False)]
        holes = [IPv4Network(one, strict=False) for one in block.besides or () if ":" not in one]
    except ValueError:
        return
    for hole in holes:
        left = [part for network in left for part in _without(network, hole)]
    yield from left


def _without(network: IPv4Network, hole: IPv4Network) -> Iterable[IPv4Network]:
    if network.subnet_of(hole):
        return ()
    return network.address_exclude(hole) if hole.subnet_of(network) else (network,)


def _ports(ports: Sequence[_Port] | None, pod: Pod) -> tuple[Ports, ...] | None:
    """The ports of a rule at a pod; a name that the pod does not know is none of them."""
    if not ports:
        return None
    return tuple(found for port in ports for found in [_resolved(port, pod)] if found)


def _resolved(port: _Port, pod: Pod) -> Ports | None:
    protocol = port.protocol.lower()
    if port.port is None:
        return Ports(protocol)
    number = port.port if isinstance(port.port, int) else pod.number(port.port, port.protocol)
    return Ports(protocol, number, port.end_port or number) if number else None


def _sending(name: str, peers: _Peers, ports: Sequence[_Port] | None) -> Iterator[Allowed]:
    """What may be sent: a named port is another number at each peer."""
    numbered = [port for port in ports or () if not isinstance(port.port, str)]
    if numbered or not ports:
        fixed = tuple(
            Ports(one.protocol.lower(), int(one.port or 0), one.end_port or int(one.port or 0)) for one in numbered
        )
        yield Allowed(name, peers.ranges, fixed if ports else None)
    for port in ports or ():
        if isinstance(port.port, str):
            at: dict[int, list[IPv4Network]] = {}
            for pod in peers.pods:
                if number := pod.number(port.port, port.protocol):
                    at.setdefault(number, []).append(IPv4Network(pod.ip))
            for number, networks in sorted(at.items()):
                ranges = tuple(str(one) for one in collapse_addresses(networks))
                yield Allowed(name, ranges, (Ports(port.protocol.lower(), number, number),))
