"""Tables of routes of a pod's own: each interface's traffic leaves by it, and the node's ranges by the node.

The main table is for traffic whose source is not chosen yet. Packets from an interface's address look into the
table of that interface, where its own default route is: so replies leave where their connection came in.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_interface
from typing import Final

from weft.underlay.coordinator.facts import VETH, Facts
from weft.underlay.coordinator.lines import OURS, Gone, Line
from weft.underlay.coordinator.settings import Ip, Network, Settings
from weft.underlay.observed import EVERYWHERE, MAIN, Route, Rule, Version

MARKED: Final = 100
"""The table of what came in by our veth; without it, of the first interface."""
_FIRST_BESIDE_VETH: Final = 99
SOURCE_RULE: Final = 32760


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """How the pod and its node reach each other: the link's ends, and whether the main table leads there."""

    device: str
    on_node: str
    mac_in_pod: str
    mac_on_node: str
    in_main: bool


def lines(settings: Settings, facts: Facts, path: Path) -> Iterator[Line]:
    """What sorts the routes of the interface, where it is not the pod's first: that has nobody to be told from."""
    if facts.is_first or not settings.tune:
        return
    for interface in (facts.interface, facts.first):
        # the first one's too: the interface's network may be where its clients are
        yield from _own_table(settings, facts, path, interface, table_of(facts, interface, path))
    if settings.default_nic == facts.interface:
        yield from _take_default(facts, path)
        return
    reason = f"the default route is {settings.default_nic or facts.first}'s"
    for route in _of(facts, facts.interface):
        if route.default:
            yield Line("pod", Gone(route), reason)


def to_node(settings: Settings, facts: Facts, path: Path, table: int) -> Iterator[Line]:
    """The node's own addresses, and the ranges that it leads to."""
    for version in facts.versions:
        nodes = facts.nodes(version)
        for address in nodes:
            route = Route(
                table=table,
                destination=f"{address}/{address.max_prefixlen}",
                device=path.device,
                source=source(facts, path, version),
                scope="link" if version == 4 else "global",
                protocol=OURS,
            )
            yield Line("pod", route, "the node is reached directly")
        for network in settings.hijacked if nodes else ():
            if network.version == version and not _is_own(facts, network):
                yield from _leading(facts, table, network, str(nodes[0]), path)


def source(facts: Facts, path: Path, version: Version) -> str:
    """The pod's own address for what leaves by our veth: to the veth's (vethLinkAddress) no reply comes back."""
    own = _addresses(facts, facts.first) if path.device == VETH else ()
    return next((str(ip) for ip in own if ip.version == version), "")


def policy_routes(settings: Settings, facts: Facts, path: Path, table: int) -> Iterator[Line]:
    """Routes that are asked for, as far as their gateways are neighbours here."""
    for network, gateway in settings.policy_routes:
        device = path.device if gateway in facts.node_addresses else ""
        if any(gateway in each.address.network for each in facts.addresses) and not device:
            device = facts.interface
        if device and network.version in facts.versions:
            own = source(facts, path, 6 if network.version == 6 else 4) if device == path.device else ""
            route = Route(
                table=table,
                destination=str(network),
                device=device,
                via=str(gateway),
                source=own,
                protocol=OURS,
            )
            yield Line("pod", route, "policyRoutes")


def table_of(facts: Facts, interface: str, path: Path) -> int:
    """The number of an interface's table: that which it has, else one by its name, else the next free one."""
    rules = [rule for rule in facts.pod.rules if rule.protocol == OURS and rule.source]
    sources = {str(ip) for ip in _addresses(facts, interface)}
    if held := next((rule.table for rule in rules if rule.source.partition("/")[0] in sources), 0):
        return held
    if interface == facts.first:
        return _FIRST_BESIDE_VETH if path.device == VETH else MARKED
    digits = interface.removeprefix("net")
    wanted = MARKED + (int(digits) if digits.isdecimal() and 0 < int(digits) < 100 else 1)
    taken = {rule.table for rule in facts.pod.rules} | {route.table for route in facts.pod.routes}
    return next(number for number in range(wanted, wanted + len(taken) + 1) if number not in taken)


def _own_table(settings: Settings, facts: Facts, path: Path, interface: str, number: int) -> Iterator[Line]:
    """The interface's routes once more, with its default, and what is the node's; and who looks there."""
    reason = f"what is from {interface}'s addresses leaves by it"
    # gateways have to be neighbours before there are routes by them
    for route in sorted(
        (*_of(facts, interface), *_defaults(facts, interface, number)), key=lambda one: bool(one.via)
    ):
        yield Line("pod", replace(route, table=number), reason)
    if path.device not in {interface, VETH}:
        # the link's own neighbours: the overlay's gateway, say
        for route in _of(facts, path.device):
            if not route.default:
                yield Line("pod", replace(route, table=number), "these are neighbours on the link to the node")
    yield from to_node(settings, facts, path, number)
    yield from policy_routes(settings, facts, path, number)
    for address in _addresses(facts, interface):
        rule = Rule(
            version=_version(address),
            priority=SOURCE_RULE,
            table=number,
            source=f"{address}/{address.max_prefixlen}",
            protocol=OURS,
        )
        yield Line("pod", rule, reason)


def _take_default(facts: Facts, path: Path) -> Iterator[Line]:
    """The default route is the interface's; the first interface has its own in its own table."""
    reason = "the default route is chosen to be here"
    own = [*_defaults(facts, facts.interface, table_of(facts, facts.interface, path))]
    for route in own:
        yield Line("pod", replace(route, table=MAIN), reason)
    taken = {route.version for route in (*own, *_of(facts, facts.interface)) if route.default}
    for route in _of(facts, facts.first):
        if route.default and route.version in taken:
            yield Line("pod", Gone(route), reason)


def _leading(facts: Facts, table: int, network: Network, via: str, path: Path) -> Iterator[Line]:
    device = path.device
    wanted = Route(
        table=table,
        destination=str(network),
        device=device,
        via=via,
        source=source(facts, path, 6 if network.version == 6 else 4),
        protocol=OURS,
    )
    for route in facts.pod.table(table):
        same = route.destination == wanted.destination
        if same and route.protocol == OURS and (route.via, route.device) != (via, device):
            yield Line("pod", Gone(route), "the node has another address now")
        elif same and route.protocol != OURS:
            # somebody who knows better has said where it goes
            return
    yield Line("pod", wanted, "by the node, which knows services and the overlay")


def _of(facts: Facts, interface: str) -> Sequence[Route]:
    """The interface's routes of others in the main table."""
    return [
        route
        for route in facts.pod.table(MAIN)
        if route.device == interface and route.kind == "unicast" and route.protocol != OURS
    ]


def _defaults(facts: Facts, interface: str, number: int) -> Iterator[Route]:
    """Where the interface leads everywhere: as its table has it, and as IPAM says."""
    held = [route for route in facts.pod.table(number) if route.default and route.device == interface]
    yield from held
    if interface == facts.interface:
        for each in facts.addresses:
            if each.gateway is not None and not any(route.via == str(each.gateway) for route in held):
                destination = EVERYWHERE[_version(each.gateway)]
                yield Route(
                    table=number,
                    destination=destination,
                    device=interface,
                    via=str(each.gateway),
                    protocol=OURS,
                )


def _addresses(facts: Facts, interface: str) -> Sequence[Ip]:
    if interface == facts.interface:
        return [each.address.ip for each in facts.addresses]
    link = facts.pod.link(interface)
    found = [ip_interface(each).ip for each in link.addresses] if link else []
    return [ip for ip in found if not ip.is_link_local]


def _is_own(facts: Facts, network: Network) -> bool:
    return any(each.address.network == network for each in facts.addresses)


def _version(ip: Ip) -> Version:
    return 6 if ip.version == 6 else 4
