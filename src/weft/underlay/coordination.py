"""The cluster's ranges, as a SpiderCoordinator tells them: of the overlay network's pods, and of services.

Without them no pod starts on an underlay network: its routes would miss the ranges.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import Any, Final

import yaml

from weft.api.spider_coordinator import CoordinatorSpec, CoordinatorStatus
from weft.underlay.addresses import Network, NotAddressesError, parse_network

Json = Mapping[str, Any]

_WORKLOAD: Final = "Workload"
_CILIUM_NODES: Final = ("kubernetes", "crd", "eni", "azure", "alibabacloud")
"""Ways of Cilium to have addresses that its CiliumNodes tell of."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the cluster has that tells ranges. None: there is no such object or kind."""

    kubeadm: str | None = None
    """`ClusterConfiguration` of the ConfigMap kubeadm-config."""
    arguments: tuple[str, ...] = ()
    """Of the pods kube-controller-manager and kube-apiserver."""
    nodes: tuple[str, ...] = ()
    """`podCIDRs` of the nodes."""
    service_cidrs: tuple[str, ...] = ()
    """Of the ServiceCIDR objects."""
    calico: tuple[Json, ...] | None = None
    """The `spec`s of Calico's IPPools."""
    cilium: Mapping[str, str] | None = None
    """`data` of the ConfigMap cilium-config."""
    cilium_pools: tuple[Json, ...] = ()
    """The `spec`s of CiliumPodIPPools."""
    cilium_nodes: tuple[Json, ...] = ()
    """The `spec`s of CiliumNodes."""


class NotKnownError(Exception):
    """A range that nothing tells; the message says where it was looked for and the way out."""


def status(spec: CoordinatorSpec, seen: Seen) -> CoordinatorStatus:
    """What is told of the cluster, or why it cannot be."""
    try:
        pods, services = _pods(spec, seen), _services(seen)
    except NotKnownError as error:
        return CoordinatorStatus(phase="NotReady", reason=str(error))
    return CoordinatorStatus(
        phase="Synced", overlay_pod_cidr=tuple(map(str, pods)), service_cidr=tuple(map(str, services))
    )


def kind_of(spec: CoordinatorSpec, seen: Seen) -> str:
    """The type of the overlay network: what is asked for, or what there is.

    A Cilium that is chained to another plugin leaves the addresses to that one.
    """
    asked = spec.pod_cidr_type or "auto"
    if asked != "auto":
        return asked
    chained = (seen.cilium or {}).get("cni-chaining-mode", "none") != "none"
    if seen.cilium is not None and not chained:
        return "cilium"
    if seen.calico:
        return "calico"
    return "cluster" if _of_cluster(seen) else "none"


def _pods(spec: CoordinatorSpec, seen: Seen) -> list[Network]:
    match kind_of(spec, seen):
        case "none":
            return []
        case "calico":
            found = _of_calico(seen)
        case "cilium":
            found = _of_cilium(seen)
        case _:
            found = _of_cluster(seen)
            if not found:
                raise NotKnownError(
                    "podCIDRType cluster: no range of pods in ConfigMap kube-system/kubeadm-config, in the "
                    "arguments of kube-controller-manager, or at the nodes. Write podCIDRType none if there is no "
                    "overlay network."
                )
    return found


def _of_calico(seen: Seen) -> list[Network]:
    """Disabled pools too: they give no more addresses, but pods have some of theirs."""
    if seen.calico is None:
        raise NotKnownError("podCIDRType calico: there is no kind IPPool of crd.projectcalico.org. Write auto.")
    usable = [each for each in seen.calico if _WORKLOAD in (each.get("allowedUses") or [_WORKLOAD])]
    found = _read((str(each.get("cidr") or "") for each in usable), "the IPPools of Calico")
    if not found:
        raise NotKnownError("podCIDRType calico: there is no IPPool of Calico with addresses for pods yet.")
    return found


def _of_cilium(seen: Seen) -> list[Network]:
    """By the way in which Cilium has its addresses (docs.cilium.io, IP Address Management)."""
    if seen.cilium is None:
        raise NotKnownError("podCIDRType cilium: there is no ConfigMap cilium-config. Write auto.")
    way = seen.cilium.get("ipam") or "cluster-pool"
    found: list[Network] = []
    match way:
        case "cluster-pool" | "cluster-pool-v2beta":
            found = _of_settings(seen.cilium, "cluster-pool-ipv4-cidr", "cluster-pool-ipv6-cidr")
        case "multi-pool":
            texts = [
                str(cidr.get("cidr") or "") if isinstance(cidr, Mapping) else str(cidr)
                for pool in seen.cilium_pools
                for version in ("ipv4", "ipv6")
                for cidr in (pool.get(version) or {}).get("cidrs") or ()
            ]
            found = _read(texts, "the CiliumPodIPPools")
        case _ if way in _CILIUM_NODES:
            found = _of_settings(seen.cilium, "ipv4-native-routing-cidr", "ipv6-native-routing-cidr")
            texts = [str(cidr) for node in seen.cilium_nodes for cidr in _at(node, "ipam", "podCIDRs") or ()]
            found = _joined([*found, *_read(texts, "the CiliumNodes")])
            if not found and way == "kubernetes":
                found = _of_cluster(seen)
        case _:
            raise NotKnownError(
                f'podCIDRType cilium: its ipam "{way}" tells no ranges. Write podCIDRType cluster, or none.'
            )
    if not found:
        raise NotKnownError(f'podCIDRType cilium: nothing tells the ranges of its ipam "{way}" yet.')
    return found


def _of_settings(data: Mapping[str, str], *names: str) -> list[Network]:
    texts = (text for name in names for text in data.get(name, "").replace(",", " ").split())
    return _read(texts, "ConfigMap cilium-config")


def _of_cluster(seen: Seen) -> list[Network]:
    """From the first that tells: kubeadm, the controller manager, the nodes."""
    found = _read(_listed(_kubeadm(seen, "podSubnet")), "ConfigMap kubeadm-config")
    found = found or _read(_flag(seen, "--cluster-cidr"), "--cluster-cidr")
    return found or _joined(_read(seen.nodes, "podCIDRs of the nodes"))


def _services(seen: Seen) -> list[Network]:
    found = _read(seen.service_cidrs, "the ServiceCIDRs")
    found = found or _read(_listed(_kubeadm(seen, "serviceSubnet")), "ConfigMap kubeadm-config")
    found = found or _read(_flag(seen, "--service-cluster-ip-range"), "--service-cluster-ip-range")
    if not found:
        raise NotKnownError(
            "no range of services: there is no ServiceCIDR, none in ConfigMap kube-system/kubeadm-config, and "
            "none in the arguments of kube-apiserver or kube-controller-manager. Make the ConfigMap, with "
            "networking.serviceSubnet in its ClusterConfiguration."
        )
    return found


def _kubeadm(seen: Seen, name: str) -> str:
    if not seen.kubeadm:
        return ""
    try:
        found = yaml.safe_load(seen.kubeadm)
    except yaml.YAMLError:
        return ""
    networking = found.get("networking") if isinstance(found, Mapping) else None
    return str(networking.get(name) or "") if isinstance(networking, Mapping) else ""


def _flag(seen: Seen, name: str) -> tuple[str, ...]:
    return next((_listed(each.partition("=")[2]) for each in seen.arguments if each.startswith(f"{name}=")), ())


def _listed(text: str) -> tuple[str, ...]:
    return tuple(each.strip() for each in text.split(",") if each.strip())


def _read(texts: Iterable[str], where: str) -> list[Network]:
    found = []
    for text in texts:
        try:
            found.append(parse_network(text))
        except NotAddressesError as error:
            raise NotKnownError(f"{where}: {error}.") from None
    return list(dict.fromkeys(found))


def _joined(networks: Iterable[Network]) -> list[Network]:
    """As few as possible: a node's range more is no range more, where it is next to the others."""
    listed = list(networks)
    old = collapse_addresses(each for each in listed if isinstance(each, IPv4Network))
    new = collapse_addresses(each for each in listed if isinstance(each, IPv6Network))
    return [*old, *new]


def _at(obj: Json, *path: str) -> Any:
    found: Any = obj
    for part in path:
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
