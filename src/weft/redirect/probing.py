"""Which connections of our own show that a plan is in force, and where they must end up."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from weft.redirect.capture import EVERYTHING, Address, Capture
from weft.redirect.decide import Captured, Packet, outbound
from weft.redirect.interfaces import Interface
from weft.redirect.loopback import LOOPBACK
from weft.redirect.rules import Plan

# documentation addresses: nobody answers there, and nobody is disturbed
_ELSEWHERE: Final = (IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1"))


@dataclass(frozen=True, slots=True)
class Probe:
    """A connection to `destination:port` that the kernel must deliver to `lands_on`."""

    destination: Address
    port: int
    lands_on: int
    transparent: bool
    about: str


def probes(
    capture: Capture, plan: Plan, interfaces: Sequence[Interface], port: int, uid: int, gid: int
) -> tuple[Probe, ...]:
    """The connections to try as this user. None where the plan captures none that this user could make.

    As the proxy one connects to the pod's own address, which is what becomes of an application's call of its own
    service; as anyone else, to an address outside.
    """
    found: dict[tuple[int, bool], Probe] = {}
    for packet, about in _candidates(capture, plan, interfaces, replace(_NOBODY, port=port, uid=uid, gid=gid)):
        decision = outbound(packet, plan)
        key = (packet.destination.version, packet.interface == LOOPBACK)
        if isinstance(decision, Captured) and key not in found:
            found[key] = Probe(packet.destination, packet.port, decision.port, decision.transparent, about)
    return tuple(found.values())


_NOBODY: Final = Packet(_ELSEWHERE[0], _ELSEWHERE[0], 0)


def _candidates(
    capture: Capture, plan: Plan, interfaces: Sequence[Interface], packet: Packet
) -> Iterator[tuple[Packet, str]]:
    captured = [one for one in interfaces if one.name not in (LOOPBACK, *capture.excluded_interfaces)]
    own = [
        address.ip
        for one in captured
        for address in one.addresses
        if address.version in plan.versions and not address.ip.is_link_local
    ]
    for address in own:
        to_self = replace(packet, source=address, destination=address, interface=LOOPBACK)
        yield to_self, "into the pod"
        for port in () if capture.inbound_ports == EVERYTHING else capture.inbound_ports:
            yield replace(to_self, port=port), "into the pod"
    for address in _outside(capture):
        source = next((one for one in own if one.version == address.version), None)
        if source is not None and address not in own:
            away = replace(packet, source=source, destination=address)
            yield away, "out of the pod"
            for port in capture.outbound_ports:
                yield replace(away, port=port), "out of the pod"


def _outside(capture: Capture) -> Iterator[Address]:
    yield from _ELSEWHERE
    for network in () if capture.outbound_networks == EVERYTHING else capture.outbound_networks:
        yield network[-1] if network.num_addresses == 1 else network[1]
