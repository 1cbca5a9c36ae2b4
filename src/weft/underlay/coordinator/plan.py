"""The coordinator's plan for one interface of a pod: what the pod and its node are to have, and why.

A pod of an underlay network cannot reach its own node by a macvlan, whose parent does not hear it. So there is a
veth to the node (mode underlay), or the overlay's own interface serves (mode overlay). By it go the node's
addresses, services and the overlay's pods, and the node reaches the pod's addresses by it. Each interface's own
traffic stays on it by tables of routes of its own (`coordinator_tuning`).

The plan is of what is there and what is said, so to plan again after it was applied gives the same plan.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from weft.underlay.coordinator import tuning
from weft.underlay.coordinator.facts import VETH, Facts
from weft.underlay.coordinator.lines import (
    EVERY_BIT,
    OURS,
    Address,
    Line,
    Mac,
    Marks,
    Pair,
    Queue,
    Sysctl,
    Up,
    once,
)
from weft.underlay.coordinator.settings import Settings
from weft.underlay.coordinator.tuning import Path
from weft.underlay.observed import EVERYWHERE, MAIN, Mark, Neighbour, Route, Rule

NODE_RULE: Final = 1000
"""Where the node looks for its pods' addresses: before its own routes."""
MARK: Final = 1
MARK_RULE: Final = 32759
_SHARES_ITS_MAC: Final = frozenset({"ipvlan", "ipoib"})


class CannotCoordinateError(ValueError):
    """What is asked for does not fit what the pod has; the message says what would."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`lines` in the order in which they are done. Without any, `why` says why nothing is to be done.

    `mac` is the interface's hardware address then, "" where it stays.
    """

    lines: tuple[Line, ...] = ()
    why: str = ""
    mac: str = ""


def plan(settings: Settings, facts: Facts) -> Plan:
    """The plan for the interface. CannotCoordinateError names what does not fit."""
    if settings.mode == "disabled":
        return Plan(why="mode is disabled")
    if not facts.addresses:
        return Plan(why=f"{facts.interface} has no address")
    if facts.pod.link(facts.interface) is None:
        raise CannotCoordinateError(
            f"the pod has no interface {facts.interface}. Put plugin coordinator behind the one that makes it."
        )
    underlay = _is_underlay(settings, facts)
    if not underlay and facts.is_first:
        return Plan(
            why=f"mode is overlay, and {facts.interface} is the overlay's interface: nothing leads past it"
        )
    path = _by_veth(facts) if underlay else _by_first(facts)
    mac = _mac(settings, facts)
    lines = (
        *(_veth(settings, facts) if underlay else ()),
        *_own_link(settings, facts, mac),
        *_filters(settings, facts, path),
        *_neighbours(facts, path),
        *(_main_routes(settings, facts, path)),
        *(_replies(facts, path) if underlay else ()),
        *(tuning.lines(settings, facts, path)),
        *_on_node(settings, facts, path),
    )
    return Plan(once(lines), mac=mac)


def _is_underlay(settings: Settings, facts: Facts) -> bool:
    match settings.mode:
        case "underlay":
            return True
        case "overlay":
            # an interface without an end on the node leads nowhere near it, whatever the cluster has otherwise
            return facts.is_first and facts.peer_of_first() is None
        case _:
            return facts.is_first or facts.pod.link(VETH) is not None


def _by_veth(facts: Facts) -> Path:
    there, end = facts.pod.link(VETH), facts.node.link(facts.on_node)
    return Path(
        device=VETH,
        on_node=facts.on_node,
        mac_in_pod=(there and there.mac) or facts.mac("pod"),
        mac_on_node=(end and end.mac) or facts.mac("node"),
        in_main=facts.is_first,
    )


def _by_first(facts: Facts) -> Path:
    first, end = facts.pod.link(facts.first), facts.peer_of_first()
    if first is None or end is None:
        raise CannotCoordinateError(
            f"mode is overlay, but {facts.first} has no end on the node by which it could be reached. "
            "Set mode underlay in the SpiderMultusConfig or the SpiderCoordinator."
        )
    return Path(device=first.name, on_node=end.name, mac_in_pod=first.mac, mac_on_node=end.mac, in_main=True)


def _veth(settings: Settings, facts: Facts) -> Iterator[Line]:
    interface = facts.pod.link(facts.interface)
    mtu = settings.mtu or (interface.mtu if interface else 1500)
    # whose a link is does not change by the interfaces that share it
    end = facts.node.link(facts.on_node)
    pair = Pair(
        on_node=facts.on_node,
        in_pod=VETH,
        mac_on_node=facts.mac("node"),
        mac_in_pod=facts.mac("pod"),
        mtu=mtu,
        alias=(end and end.alias) or facts.alias,
    )
    yield Line("node", pair, "a macvlan does not reach its own node; this does")
    # duplicate detection would keep the link's first address back for a second
    if 6 in facts.versions:
        yield Line("pod", Sysctl(f"net/ipv6/conf/{VETH}/accept_dad", 0), "nobody else is on that link")
    yield Line("pod", Up(VETH), "it is used")
    address = settings.link_address
    if address is not None and address.version in facts.versions:
        yield Line(
            "pod",
            Address(VETH, f"{address}/{address.max_prefixlen}"),
            "redirected connections vanish on an interface without an address (vethLinkAddress)",
        )


def _own_link(settings: Settings, facts: Facts, mac: str) -> Iterator[Line]:
    if mac:
        yield Line("pod", Mac(facts.interface, mac), "its hardware address tells its IP address (podMACPrefix)")
    if settings.queue:
        yield Line("pod", Queue(facts.interface, settings.queue), "txQueueLen")
    setting = Sysctl(f"net/ipv6/conf/{facts.interface}/accept_ra", 0)
    # a kernel may be without IPv6
    known = setting.path in facts.pod.sysctls
    if known and all(each.gateway is not None for each in facts.addresses if each.address.version == 6):
        yield Line("pod", setting, "addresses and gateways are IPAM's, not those of who advertises on the link")


def _mac(settings: Settings, facts: Facts) -> str:
    link = facts.pod.link(facts.interface)
    if not settings.mac_prefix or link is None or link.kind in _SHARES_ITS_MAC:
        return ""
    address = min((each.address for each in facts.addresses), key=lambda each: each.version)
    return f"{settings.mac_prefix}:{address.ip.packed[-4:].hex(':')}"


def _filters(settings: Settings, facts: Facts, path: Path) -> Iterator[Line]:
    if settings.rp_filter < 0:
        return
    reason = "podRPFilter"
    # the greater of all's and the link's own counts: all's would be veth0's, too
    wanted = {"all": 0, facts.interface: settings.rp_filter, path.device: settings.rp_filter}
    if path.device == VETH:
        wanted[VETH] = 0
    for name, value in wanted.items():
        why = "by this link the node hands over what is from anywhere" if name == VETH else reason
        yield Line("pod", Sysctl(f"net/ipv4/conf/{name}/rp_filter", value), why)


def _neighbours(facts: Facts, path: Path) -> Iterator[Line]:
    for version in facts.versions:
        for address in facts.nodes(version):
            entry = Neighbour(address=str(address), device=path.device, mac=path.mac_on_node, protocol=OURS)
            yield Line("pod", entry, "the node is known without being asked")
    for each in facts.addresses:
        entry = Neighbour(address=str(each.address.ip), device=path.on_node, mac=path.mac_in_pod, protocol=OURS)
        yield Line("node", entry, "the pod is known without being asked")


def _main_routes(settings: Settings, facts: Facts, path: Path) -> Iterator[Line]:
    if path.in_main:
        yield from tuning.to_node(settings, facts, path, MAIN)
        yield from tuning.policy_routes(settings, facts, path, MAIN)


def _replies(facts: Facts, path: Path) -> Iterator[Line]:
    """What came in by the veth, from wherever (a node port, say), is answered by it."""
    reason = "replies to what came by the node go back by the node"
    for version in facts.versions:
        if nodes := facts.nodes(version):
            route = Route(
                table=tuning.MARKED,
                destination=EVERYWHERE[version],
                device=path.device,
                via=str(nodes[0]),
                source=tuning.source(facts, path, version),
                onlink=True,
                protocol=OURS,
            )
            yield Line("pod", route, reason)
            rule = Rule(
                version=version,
                priority=MARK_RULE,
                table=tuning.MARKED,
                mark=MARK,
                mask=EVERY_BIT,
                protocol=OURS,
            )
            yield Line("pod", rule, reason)
    yield Line("pod", Marks((Mark(interface=path.device, mark=MARK),)), reason)


def _on_node(settings: Settings, facts: Facts, path: Path) -> Iterator[Line]:
    for each in facts.addresses:
        route = Route(
            table=settings.table,
            destination=f"{each.address.ip}/{each.address.max_prefixlen}",
            device=path.on_node,
            scope="link" if each.address.version == 4 else "global",
            protocol=OURS,
        )
        yield Line("node", route, "the node reaches the pod by its end of this link")
    for version in facts.versions:
        rule = Rule(version=version, priority=NODE_RULE, table=settings.table, protocol=OURS)
        yield Line("node", rule, "pods' addresses come before the node's own routes to their networks")
