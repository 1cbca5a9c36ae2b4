"""Interfaces that would swallow redirected packets.

REDIRECT delivers a packet to the first address of the interface that it came in by. Where that has none of the
packet's IP version, the kernel drops it without a word (nf_nat_redirect_ipv4). TPROXY needs no address.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from typing import Final

from weft.api import codes
from weft.base.problem import At, Problem, Severity
from weft.redirect.capture import Address, Capture
from weft.redirect.loopback import LOOPBACK
from weft.redirect.rules import Version

_EXAMPLES: Final = {4: "169.254.100.1", 6: "fe80::1"}


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface of the pod. `enslaved`: it is a port of a bridge, which receives in its place."""

    name: str
    addresses: tuple[IPv4Interface | IPv6Interface, ...] = ()
    up: bool = True
    enslaved: bool = False

    def has(self, version: Version) -> bool:
        """Whether it has an address of this IP version."""
        return any(address.version == version for address in self.addresses)

    def reaches(self, version: Version) -> bool:
        """Whether it has one that others can reach."""
        return self.name != LOOPBACK and any(
            address.version == version and not address.ip.is_link_local for address in self.addresses
        )


@dataclass(frozen=True, slots=True)
class Swallowing:
    """An interface whose packets of one IP version would vanish."""

    interface: str
    version: Version

    def problem(self) -> Problem:
        """The same for people."""
        example = _EXAMPLES[self.version]
        return Problem(
            codes.SWALLOWING_INTERFACE,
            Severity.WARNING,
            At(kind="Interface", name=self.interface),
            f"it has no IPv{self.version} address, so redirected connections that come in by it would vanish.",
            f"Give it one (veth0: vethLinkAddress: {example} in the SpiderCoordinator or its SpiderMultusConfig, "
            f"and have the pod made anew; others: --veth-link-address {example} of istio-iptables), "
            "exclude it (annotation traffic.sidecar.istio.io/excludeInterfaces), or intercept by TPROXY.",
        )


def swallowing(capture: Capture, interfaces: Sequence[Interface]) -> tuple[Swallowing, ...]:
    """The interfaces that would swallow what is redirected on them, by this description of the capture."""
    versions: tuple[Version, ...] = (4, 6) if capture.ipv6 else (4,)
    return tuple(
        Swallowing(one.name, version)
        for version in versions
        # packets of a version can come only where the pod has an address of it
        if any(one.reaches(version) for one in interfaces)
        for one in interfaces
        if _redirects(capture, one) and one.up and not one.enslaved and not one.has(version)
    )


def cures(found: Sequence[Swallowing], link_addresses: Sequence[Address]) -> Iterator[tuple[str, Address]]:
    """The address to give to each interface, of those that may be given. Link addresses need not differ."""
    for one in found:
        address = next((each for each in link_addresses if each.version == one.version), None)
        if address is not None:
            yield one.interface, address


def _redirects(capture: Capture, interface: Interface) -> bool:
    if interface.name == LOOPBACK or capture.mode == "NONE":
        return False
    if interface.name in capture.virtual_interfaces:
        return True
    if interface.name in capture.excluded_interfaces:
        return False
    return capture.mode == "REDIRECT" and bool(capture.inbound_ports)
