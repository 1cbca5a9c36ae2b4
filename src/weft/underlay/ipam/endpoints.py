"""Whose addresses are whose: the pod or machine an address belongs to, and the SpiderEndpoint that says so."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from weft.api.spider_endpoint import EndpointStatus, IPAllocation, PodIPAllocation, SpiderEndpoint
from weft.api.underlay_shape import API_VERSION, Route
from weft.underlay.addresses import Address, Version, parse_address
from weft.underlay.ipam.pools import Pool

Json = dict[str, Any]

STATEFUL_SET: Final = "StatefulSet"
MACHINE: Final = "VirtualMachineInstance"
_MACHINE_LABELS: Final = ("vm.kubevirt.io/name", "vmi.kubevirt.io/id")
_LAUNCHER: Final = ("kubevirt.io", "virt-launcher")
_ORDINAL: Final = re.compile(r".*-(0|[1-9][0-9]*)")


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom addresses are given to. `name` is that of the endpoint: the pod's, or the machine's.

    `lasts`: the name keeps its addresses whatever pod has it. `owner` is the topmost controller, kind and name.
    """

    namespace: str
    name: str
    uid: str
    owner: tuple[str, str]
    lasts: bool = False

    @property
    def key(self) -> str:
        """As pools have it."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Leased:
    """An address of a pool."""

    pool: Pool
    address: Address

    @property
    def text(self) -> str:
        """With the length of the subnet's prefix."""
        return f"{self.address}/{self.pool.subnet.prefixlen}"


def subject(pod: Mapping[str, Any], *, stateful_sets: bool, kubevirt: bool) -> Subject:
    """Whom a pod's addresses belong to."""
    meta = pod["metadata"]
    owner, machine = topmost(pod), machine_of(pod)
    if kubevirt and machine:
        return Subject(meta["namespace"], machine, meta["uid"], (MACHINE, machine), lasts=True)
    lasts = stateful_sets and owner[0] == STATEFUL_SET
    return Subject(meta["namespace"], meta["name"], meta["uid"], owner, lasts=lasts)


def topmost(pod: Mapping[str, Any]) -> tuple[str, str]:
    """Kind and name of the topmost controller, as far as the pod tells; a pod by itself is its own."""
    meta = pod["metadata"]
    for each in meta.get("ownerReferences") or ():
        if not each.get("controller"):
            continue
        kind, name = str(each.get("kind", "")), str(each.get("name", ""))
        digest = (meta.get("labels") or {}).get("pod-template-hash")
        # a Deployment names its ReplicaSets after itself and the hash of their template
        if kind == "ReplicaSet" and digest and name.endswith(f"-{digest}"):
            return "Deployment", name.removesuffix(f"-{digest}")
        return kind, name
    return "Pod", str(meta["name"])


def machine_of(pod: Mapping[str, Any]) -> str:
    """The virtual machine that a pod runs, "" for any other pod."""
    meta = pod["metadata"]
    for each in meta.get("ownerReferences") or ():
        if each.get("kind") == MACHINE and str(each.get("apiVersion", "")).startswith("kubevirt.io/"):
            return str(each.get("name", ""))
    labels = meta.get("labels") or {}
    if labels.get(_LAUNCHER[0]) == _LAUNCHER[1]:
        return next((labels[key] for key in _MACHINE_LABELS if labels.get(key)), "")
    return ""


def ordinal(name: str, owner: str) -> int | None:
    """Which one of its StatefulSet a pod of this name is."""
    found = _ORDINAL.fullmatch(name)
    return int(found[1]) if found and name == f"{owner}-{found[1]}" else None


def held(current: PodIPAllocation, interface: str) -> IPAllocation | None:
    """What an interface has by its endpoint."""
    return next((each for each in current.ips if each.interface == interface), None)


def number(current: PodIPAllocation, interface: str) -> int:
    """The place of an interface among those that have asked, from 0: interfaces ask in their order."""
    names = [each.interface for each in current.ips]
    return names.index(interface) if interface in names else len(names)


def current(endpoint: SpiderEndpoint | None, whose: Subject) -> PodIPAllocation:
    """What an endpoint says of this pod: of another pod's nothing counts, unless the name is what lasts."""
    found = endpoint.status.current if endpoint is not None else PodIPAllocation()
    return found if whose.lasts or found.uid == whose.uid else PodIPAllocation()


def allocation(
    interface: str,
    leases: Mapping[Version, Leased],
    *,
    clean_gateway: bool,
    routes: Sequence[Route],
    mac: str = "",
) -> IPAllocation:
    """An interface's entry in its endpoint."""
    four, six = leases.get(4), leases.get(6)
    return IPAllocation(
        interface=interface,
        ipv4=four.text if four else None,
        ipv4_pool=four.pool.name if four else None,
        ipv4_gateway=str(four.pool.gateway) if four and four.pool.gateway else None,
        ipv6=six.text if six else None,
        ipv6_pool=six.pool.name if six else None,
        ipv6_gateway=str(six.pool.gateway) if six and six.pool.gateway else None,
        vlan=next((each.pool.vlan for each in (four, six) if each), 0),
        clean_gateway=clean_gateway,
        routes=tuple(routes) or None,
        mac=mac or None,
    )


def addresses(entry: IPAllocation) -> Mapping[Version, tuple[str, Address]]:
    """The pool and the address of an entry, by IP version."""
    found: dict[Version, tuple[str, Address]] = {}
    if entry.ipv4 and entry.ipv4_pool:
        found[4] = entry.ipv4_pool, parse_address(entry.ipv4.partition("/")[0])
    if entry.ipv6 and entry.ipv6_pool:
        found[6] = entry.ipv6_pool, parse_address(entry.ipv6.partition("/")[0])
    return found


def with_entry(before: PodIPAllocation, entry: IPAllocation, uid: str, node: str) -> PodIPAllocation:
    """The same with this entry, in the place that the interface had."""
    listed = [entry if each.interface == entry.interface else each for each in before.ips]
    if entry not in listed:
        listed.append(entry)
    return PodIPAllocation(uid=uid, node=node, ips=tuple(listed))


def document(whose: Subject, now: PodIPAllocation) -> Json:
    """The endpoint as it is written."""
    status = EndpointStatus(
        current=now, owner_controller_type=whose.owner[0], owner_controller_name=whose.owner[1]
    )
    return {
        "apiVersion": API_VERSION,
        "kind": "SpiderEndpoint",
        "metadata": {"name": whose.name, "namespace": whose.namespace},
        "status": msgspec.to_builtins(status),
    }
