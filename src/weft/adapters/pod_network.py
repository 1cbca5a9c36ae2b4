"""What a network namespace holds, asked of the kernel by one socket of rtnetlink (pyroute2): a picture, no change.

The library takes a tenth of a second to import, so it is imported by the first look.
"""

import contextlib
import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

from weft.adapters import libnftables, netns, rtnetlink
from weft.underlay.coordinator import marking
from weft.underlay.coordinator.facts import OF_PODS
from weft.underlay.observed import EVERYWHERE, Link, Neighbour, Observed, Route, Rule, Version

T = TypeVar("T")
Kernel = Any
"""An `IPRoute` of pyroute2; what it gives are its messages."""

_FAMILIES: Final[Mapping[int, Version]] = {2: 4, 10: 6}
"""AF_INET and AF_INET6."""
SCOPES: Final = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
KINDS: Final = {
    1: "unicast",
    2: "local",
    3: "broadcast",
    4: "anycast",
    5: "multicast",
    6: "blackhole",
    7: "unreachable",
    8: "prohibit",
    9: "throw",
}
"""Of routes (rtnetlink(7), RTN_*)."""

_ONLINK: Final = 4
_UP: Final = 1
_INVERTED: Final = 2
_CLONED: Final = 0x200
_UNICAST: Final = 1
_ACTIONS: Final = {1: "table", 2: "goto", 3: "nop", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
_STATES: Final = {
    0: "none",
    1: "incomplete",
    2: "reachable",
    4: "stale",
    8: "delay",
    16: "probe",
    32: "failed",
    64: "noarp",
    128: "permanent",
}
_OF_LINKS: Final = {
    "AF_INET": ("net/ipv4/conf", ("rp_filter", "arp_ignore", "arp_announce", "forwarding", "proxy_arp")),
    "AF_INET6": ("net/ipv6/conf", ("disable_ipv6", "accept_ra", "accept_dad", "forwarding", "proxy_ndp")),
}
"""Settings that the kernel tells with a link, and where they are below /proc/sys."""
_OF_ALL: Final = (
    "net/ipv4/ip_forward",
    *(f"net/ipv4/conf/{of}/{name}" for of in ("all", "default") for name in ("rp_filter", "arp_ignore")),
    *(f"net/ipv6/conf/{of}/{name}" for of in ("all", "default") for name in ("disable_ipv6", "forwarding")),
)
SYSCTLS: Final = Path("/proc/sys")


def look(namespace: str = "") -> Observed:
    """All of a namespace, given by name or path; with "" the one of this thread. OSError where it is gone."""

    def work() -> Observed:
        with opened() as kernel:
            return look_by(kernel)

    return inside(namespace, work)


def glance(namespace: str, devices: Iterable[str | int], table: int) -> Observed:
    """Of a node with hundreds of pods: some links, by name or number, and all rules.

    Of these links there are the neighbours, and the routes to them in one table. There are other links that have
    addresses and are no pods', and addresses that the world may know. Marks are not looked at.
    """

    def work() -> Observed:
        with opened() as kernel:
            return glance_by(kernel, frozenset(devices), table)

    return inside(namespace, work)


def inside(namespace: str, work: Callable[[], T]) -> T:
    """Run `work` in a namespace, given by name or path; with "" where we are."""
    return netns.inside(namespace, work) if namespace else work()


def prepare() -> None:
    """Load the library, so that the first who looks need not."""
    import pyroute2.iproute.linux  # noqa: F401 -- to be there


@contextmanager
def opened() -> Iterator[Kernel]:
    """A socket of this thread's namespace, whose dumps the kernel filters."""
    from pyroute2.iproute.linux import IPRoute

    with IPRoute(strict_check=True) as kernel:
        yield kernel


def look_by(kernel: Kernel) -> Observed:
    """All of the namespace that this thread is in, by a socket of that namespace."""
    messages = list(kernel.get_links())
    links = tuple(_link(message) for message in messages)
    addresses = _addresses(kernel.get_addr())
    names = {link.index: link.name for link in links}
    return Observed(
        links=tuple(replace(link, addresses=tuple(addresses.get(link.index, ()))) for link in links),
        rules=_rules(kernel),
        routes=tuple(_routes(kernel.get_routes(), names)),
        neighbours=tuple(_neighbours(kernel.get_neighbours(), names)),
        sysctls=_sysctls(messages),
        marks=marking.read(libnftables.table(marking.FAMILY, marking.TABLE)),
    )


def glance_by(kernel: Kernel, wanted: Collection[str | int], table: int) -> Observed:
    """As `glance`, of the namespace that this thread is in."""
    chosen = {index for each in wanted for index in _indexes(each)}
    addresses: dict[int, list[str]] = {}
    for index, address in rtnetlink.global_addresses():
        addresses.setdefault(index, []).append(address)
    # one may go meanwhile: of another pod, or by its pod's end
    messages = [message for index in sorted(chosen) for message in _of_link(kernel, index)]
    known = {link.index: link for link in map(_link, messages)}
    names = {index: link.name for index, link in known.items()}
    others = [index for index in addresses if index not in chosen and not _name(index).startswith(OF_PODS)]
    links = (*known.values(), *(_link(each) for index in others for each in _of_link(kernel, index)))
    # without a family the kernel tells of all
    neighbours = [
        message
        for index in names
        for family in _FAMILIES
        for message in kernel.get_neighbours(family, ifindex=index)
    ]
    return Observed(
        links=tuple(replace(link, addresses=tuple(addresses.get(link.index, ()))) for link in links),
        rules=_rules(kernel),
        routes=tuple(_to_links(table, names)),
        neighbours=tuple(_neighbours(neighbours, names)),
        sysctls=_sysctls(messages),
    )


def _to_links(table: int, names: Mapping[int, str]) -> Iterator[Route]:
    for index, name in names.items():
        for route in rtnetlink.table(table, index):
            scope = "link" if route.destination.version == 4 else "global"
            yield Route(
                table=table, destination=str(route.destination), device=name, scope=scope, protocol=route.made_by
            )


def _indexes(device: str | int) -> tuple[int, ...]:
    if isinstance(device, int):
        return (device,)
    try:
        return (socket.if_nametoindex(device),)
    except OSError:
        return ()


def _name(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:
        return ""


def _of_link(kernel: Kernel, index: int) -> list[Any]:
    from pyroute2.netlink.exceptions import NetlinkError

    with contextlib.suppress(NetlinkError):
        return list(kernel.get_links(index))
    return []


def _link(message: Any) -> Link:
    info = message.get("linkinfo")
    return Link(
        index=message["index"],
        name=message.get("ifname"),
        kind=(info.get("kind") if info else None) or "",
        mac=message.get("address") or "",
        mtu=message.get("mtu") or 0,
        up=bool(message["flags"] & _UP),
        carrier=bool(message.get("carrier")),
        queue=message.get("txqlen") or 0,
        alias=message.get("ifalias") or "",
        peer=message.get("link") or 0,
        peer_elsewhere=message.get("link_netnsid") is not None,
        master=message.get("master") or 0,
    )


def _addresses(messages: Iterable[Any]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for message in messages:
        # of IPv6 there is a local address only where there is a peer
        address = message.get("local") or message.get("address")
        found.setdefault(message["index"], []).append(f"{address}/{message['prefixlen']}")
    return found


def _rules(kernel: Kernel) -> tuple[Rule, ...]:
    return tuple(_rule(message, _FAMILIES[family]) for family in _FAMILIES for message in kernel.get_rules(family))


def _rule(message: Any, version: Version) -> Rule:
    def network(address: str | None, length: int) -> str:
        return f"{address}/{length}" if address else ""

    return Rule(
        version=version,
        priority=message.get("priority") or 0,
        table=message.get("table") or 0,
        source=network(message.get("src"), message["src_len"]),
        destination=network(message.get("dst"), message["dst_len"]),
        mark=message.get("fwmark") or 0,
        mask=message.get("fwmask") or 0,
        incoming=message.get("iifname") or "",
        outgoing=message.get("oifname") or "",
        inverted=bool(message["flags"] & _INVERTED),
        action=_ACTIONS.get(message["action"], str(message["action"])),
        protocol=message.get("protocol") or 0,
    )


def _routes(messages: Iterable[Any], names: Mapping[int, str]) -> Iterator[Route]:
    for message in messages:
        if message["flags"] & _CLONED or message["family"] not in _FAMILIES:
            continue
        version = _FAMILIES[message["family"]]
        address = message.get("dst")
        route = Route(
            table=message.get("table") or message["table"],
            destination=f"{address}/{message['dst_len']}" if address else EVERYWHERE[version],
            source=message.get("prefsrc") or "",
            scope=SCOPES.get(message["scope"], str(message["scope"])),
            metric=message.get("priority") or 0,
            kind=KINDS.get(message["type"], str(message["type"])),
            protocol=message["proto"],
        )
        ways = message.get("multipath")
        for way in ways or (message,):
            through = way.get("via")
            yield replace(
                route,
                via=way.get("gateway") or (through["addr"] if through else ""),
                device=names.get(way["oif"] if ways else way.get("oif"), ""),
                onlink=bool(way["flags"] & _ONLINK),
            )


def _neighbours(messages: Iterable[Any], names: Mapping[int, str]) -> Iterator[Neighbour]:
    for message in messages:
        # groups and broadcasts are no one's neighbours
        if message["family"] in _FAMILIES and message["ndm_type"] == _UNICAST and message["ifindex"] in names:
            yield Neighbour(
                address=message.get("dst"),
                device=names[message["ifindex"]],
                mac=message.get("lladdr") or "",
                state=_STATES.get(message["state"], str(message["state"])),
                protocol=message.get("protocol") or 0,
            )


def _sysctls(links: Iterable[Any]) -> dict[str, int]:
    found = {name: int(text) for name in _OF_ALL if (text := _setting(name))}
    for link in links:
        specific = link.get("af_spec")
        for family, (folder, names) in _OF_LINKS.items():
            told = specific.get(family) if specific else None
            if told and family == "AF_INET6":
                told = told.get("IFLA_INET6_CONF")
            if told:
                found |= {f"{folder}/{link.get('ifname')}/{name}": _signed(told[name]) for name in names}
    return found


def _signed(value: int) -> int:
    return value - (1 << 32) if value >> 31 else value


def _setting(name: str) -> str:
    try:
        return (SYSCTLS / name).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        # a kernel without IPv6
        return ""
