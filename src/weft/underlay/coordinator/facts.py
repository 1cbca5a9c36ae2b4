"""What the coordinator knows of one interface of a pod: what is there, and what the plugins before it say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network
from typing import Any, Final

from weft.underlay.coordinator.lines import ALIAS
from weft.underlay.coordinator.settings import Ip
from weft.underlay.observed import Link, Observed, Version

Interface = IPv4Interface | IPv6Interface

VETH: Final = "veth0"
"""The pod's end of our veth to the node."""
USUAL: Final = "eth0"
"""The name of a pod's first interface, wherever a runtime gives it."""
OF_PODS: Final = ("veth", "cali", "lxc")
"""How links begin that lead to single pods."""
_NOT_THE_NODES: Final = (
    *OF_PODS,
    "br-",
    "cilium_",
    "cni",
    "docker",
    "dummy",
    "flannel",
    "kube-ipvs",
    "kube-bridge",
    "lxdbr",
    "nodelocaldns",
    "podman",
    "tunl",
    "virbr",
    "vxlan",
    "wireguard",
)
"""Links whose addresses a node has for its own pods, containers and services."""
_TUNNELS: Final = frozenset({"ipip", "sit", "ip6tnl", "gre", "gretap", "erspan", "ip6gre", "vti", "vti6"})
"""Kinds of links that the kernel puts into every namespace."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """An address of the interface, and the gateway that leads everywhere from it, where there is one."""

    address: Interface
    gateway: Ip | None


@dataclass(frozen=True, kw_only=True)
class Facts:
    """`addresses` are those that IPAM gave to `interface`."""

    network: str
    container: str
    interface: str
    addresses: tuple[Gateway, ...]
    pod: Observed
    node: Observed

    @cached_property
    def first(self) -> str:
        """The pod's first interface."""
        if self.pod.link(USUAL):
            return USUAL
        others = [link for link in self.pod.links if _is_nic(link)]
        return min(others, key=lambda link: link.index).name if others else self.interface

    @property
    def is_first(self) -> bool:
        """Whether the interface is it."""
        return self.interface == self.first

    @property
    def versions(self) -> tuple[Version, ...]:
        """The IP versions that the interface has addresses of."""
        found: tuple[Version, ...] = (4, 6)
        return tuple(each for each in found if any(one.address.version == each for one in self.addresses))

    @property
    def on_node(self) -> str:
        """The name of the node's end of our veth."""
        return end_on_node(self.container)

    @property
    def alias(self) -> str:
        """Whose that end is."""
        return alias(self.network, self.container, self.interface)

    def mac(self, side: str) -> str:
        """A hardware address for an end of our veth, the same each time."""
        digest = sha256(f"{self.container} {side}".encode()).digest()
        return bytes((digest[0] & 0xFE | 2, *digest[1:6])).hex(":")

    @cached_property
    def node_addresses(self) -> tuple[Ip, ...]:
        """Addresses of the node itself; first those of the networks that the interface is in."""
        own = [one.address.network for one in self.addresses]
        found = [
            address for link in self.node.links if _is_nodes(link) for address in map(ip_interface, link.addresses)
        ]
        able = [each.ip for each in found if not each.ip.is_link_local and not each.ip.is_loopback]
        return tuple(dict.fromkeys(sorted(able, key=lambda ip: not any(ip in network for network in own))))

    def nodes(self, version: Version) -> tuple[Ip, ...]:
        """Those of one IP version."""
        return tuple(each for each in self.node_addresses if each.version == version)

    def peer_of_first(self) -> Link | None:
        """The node's end of the first interface, where that has one."""
        first = self.pod.link(self.first)
        if first is None or not first.peer_elsewhere:
            return None
        return next(
            (link for link in self.node.links if (link.index, link.peer) == (first.peer, first.index)), None
        )


def end_on_node(container: str) -> str:
    """The name of the node's end of a pod's veth.

    >>> end_on_node("0123456789abcdef")
    'veth0123456789a'
    """
    return f"veth{container[:11]}"


def alias(network: str, container: str, interface: str) -> str:
    """The text by which a link is known as ours, and whose it is."""
    return f"{ALIAS} {network} {container} {interface}"


def addresses(result: Mapping[str, Any], interface: str) -> tuple[Gateway, ...]:
    """The addresses of an interface, by the result of the plugins before us (as 1.0.0 has it)."""
    interfaces: Sequence[Mapping[str, Any]] = result.get("interfaces") or ()
    found: list[Gateway] = []
    for each in result.get("ips") or ():
        index = each.get("interface")
        if index is not None and not (0 <= index < len(interfaces) and interfaces[index].get("name") == interface):
            continue
        address = ip_interface(each["address"])
        gateway = each.get("gateway") or _default_gateway(result, address)
        found.append(Gateway(address, ip_address(gateway) if gateway else None))
    return tuple(found)


def _default_gateway(result: Mapping[str, Any], address: Interface) -> str:
    for route in result.get("routes") or ():
        gateway = route.get("gw") or ""
        if (
            gateway
            and ip_network(route["dst"], strict=False).prefixlen == 0
            and ip_address(gateway) in address.network
        ):
            return str(gateway)
    return ""


def _is_nic(link: Link) -> bool:
    return link.name not in {"lo", VETH} and link.kind not in _TUNNELS and bool(link.addresses)


def _is_nodes(link: Link) -> bool:
    return link.up and link.name != "lo" and not link.name.startswith(_NOT_THE_NODES)
