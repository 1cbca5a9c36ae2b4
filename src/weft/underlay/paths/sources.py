"""The address that a packet is sent from where its program does not say, as the kernel chooses it."""

from collections.abc import Iterator
from functools import lru_cache
from ipaddress import IPv4Interface, IPv6Address, IPv6Interface, IPv6Network, ip_address, ip_interface
from typing import Final

from weft.underlay.addresses import Address
from weft.underlay.observed import Link, Observed, Route

_WIDTHS: Final = {"global": 0, "site": 200, "link": 253, "host": 254, "nowhere": 255}
"""Scopes, the widest first, by the kernel's numbers."""
_LABELS: Final = (
    # the table of RFC 6724, 2.1, as Linux has it (addrlabel.c), the longest prefix first
    (IPv6Network("::1/128"), 0),
    (IPv6Network("::ffff:0:0/96"), 4),
    (IPv6Network("::/96"), 3),
    (IPv6Network("2001::/32"), 6),
    (IPv6Network("2001:10::/28"), 7),
    (IPv6Network("2002::/16"), 2),
    (IPv6Network("fc00::/7"), 5),
    (IPv6Network("::/0"), 1),
)


def choose(observed: Observed, route: Route, destination: Address) -> Address | None:
    """The source of a packet that takes this route; None where the namespace has no fitting address."""
    if route.source:
        return ip_address(route.source)
    if route.kind == "local":
        return destination
    if isinstance(destination, IPv6Address):
        return _of_ipv6(observed, route, destination)
    return _of_ipv4(observed, route)


def _of_ipv4(observed: Observed, route: Route) -> Address | None:
    """inet_select_addr: of the device, in the subnet of the next hop if there is one; else of any device."""
    narrowest = _WIDTHS.get(route.scope, 0)
    own = [each for each in _primaries(observed.link(route.device)) if _width(each) <= narrowest]
    if route.via:
        hop = ip_address(route.via)
        near = next((each.ip for each in own if hop in each.network), None)
        if near is not None:
            return near
    if own:
        return own[0].ip
    others = (each for link in observed.links for each in _primaries(link))
    return next((each.ip for each in others if _width(each) <= narrowest), None)


def _primaries(link: Link | None) -> Iterator[IPv4Interface]:
    """Addresses of a device without the secondary ones: those in the subnet of an earlier one."""
    subnets = set[object]()
    for each in interfaces(link) if link else ():
        if isinstance(each, IPv4Interface) and each.network not in subnets:
            subnets.add(each.network)
            yield each


def _width(address: IPv4Interface) -> int:
    """The scope of an address. Link-local ones are taken to be as the coordinator gives them: of scope host."""
    return _WIDTHS["host" if address.ip.is_loopback or address.ip.is_link_local else "global"]


def _of_ipv6(observed: Observed, route: Route, destination: IPv6Address) -> Address | None:
    """ipv6_dev_get_saddr, by the rules of RFC 6724, 5. Of equal ones the first counts."""
    is_narrow = destination.is_multicast or destination.is_link_local
    links = [link for link in observed.links if link.up and (not is_narrow or link.name == route.device)]
    links.sort(key=lambda link: link.name != route.device)
    candidates = (
        (link.name, each) for link in links for each in interfaces(link) if isinstance(each, IPv6Interface)
    )
    best = max(candidates, key=lambda one: _merit(one[1], one[0] == route.device, destination), default=None)
    return best[1].ip if best else None


def _merit(candidate: IPv6Interface, is_outgoing: bool, destination: IPv6Address) -> tuple[int, ...]:  # noqa: FBT001 -- a value of the order
    source = candidate.ip
    wanted, has = _reach(destination), _reach(source)
    common = 128 - (int(source) ^ int(destination)).bit_length()
    return (
        source == destination,
        # rule 2: the narrowest scope that is wide enough; of those too narrow the widest
        -has if has >= wanted else has - 128,
        is_outgoing,
        _label(source) == _label(destination),
        min(common, candidate.network.prefixlen),
    )


def _reach(address: IPv6Address) -> int:
    """Its scope as in multicast addresses: 2 link-local, 5 site-local, 14 global."""
    if address.is_multicast:
        return address.packed[1] & 0xF
    if address.is_loopback or address.is_link_local:
        return 2
    return 5 if address.is_site_local else 14


def _label(address: IPv6Address) -> int:
    return next(label for subnet, label in _LABELS if address in subnet)


def interfaces(link: Link) -> Iterator[IPv4Interface | IPv6Interface]:
    """The addresses of a link."""
    return map(_read, link.addresses)


@lru_cache(1024)
def _read(text: str) -> IPv4Interface | IPv6Interface:
    return ip_interface(text)
