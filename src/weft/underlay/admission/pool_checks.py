"""What is wrong with pools, subnets and reserved addresses: by themselves, and beside those that exist."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from ipaddress import IPv4Network
from operator import or_
from typing import Final

import msgspec

from weft.api import codes
from weft.api.report import Report
from weft.api.spider_ippool import IPPoolSpec, SpiderIPPool, allocations
from weft.api.spider_reserved_ip import SpiderReservedIP
from weft.api.spider_subnet import SpiderSubnet, SubnetSpec
from weft.api.underlay_shape import LabelSelector, Route
from weft.base.problem import Problem
from weft.underlay.addresses import (
    Network,
    NotAddressesError,
    Ranges,
    parse_address,
    parse_network,
)
from weft.underlay.admission.label_checks import check_selector

_SOME: Final = 3
"""How many examples a message has."""


@dataclass(frozen=True, slots=True)
class Families:
    """The IP versions that the installation serves."""

    ipv4: bool = True
    ipv6: bool = True

    def serves(self, version: int) -> bool:
        """Whether this one is served."""
        return self.ipv4 if version == 4 else self.ipv6


ALL_FAMILIES: Final = Families()


def addresses(spec: IPPoolSpec | SubnetSpec) -> Ranges:
    """What a pool or subnet has to give, as far as it can be read."""
    given, taken = (reduce(or_, map(_ranges, texts or ()), Ranges()) for texts in (spec.ips, spec.exclude_ips))
    return given - taken


def check_pool(
    pool: SpiderIPPool,
    pools: Iterable[SpiderIPPool],
    subnets: Iterable[SpiderSubnet],
    families: Families,
    pen: Report,
) -> Iterator[Problem]:
    """A pool by itself, beside other pools, and within the subnet that it is of."""
    spec = pool.spec
    network = _network(spec)
    yield from _check_addresses(spec, families, pen)
    yield from _check_selectors(spec, pen)
    if network is None:
        return
    others = [each for each in pools if each.metadata.name != pool.metadata.name]
    yield from _check_overlap(network, ((each.metadata.name, each.spec) for each in others), "SpiderIPPool", pen)
    mine = addresses(spec)
    for each in others:
        if _network(each.spec) == network and (shared := mine & addresses(each.spec)):
            yield pen.error(
                "spec.ips",
                f"{_some(shared)} are addresses of SpiderIPPool {each.metadata.name} too.",
                "Leave them out of ips, or add them to excludeIPs.",
            )
    for subnet in subnets:
        if _network(subnet.spec) == network and (beyond := mine - addresses(subnet.spec)):
            yield pen.error(
                "spec.ips",
                f"{_some(beyond)} are no addresses of SpiderSubnet {subnet.metadata.name}, which has {network}.",
                "Leave them out, or add them to the ips of the subnet.",
            )


def check_pool_change(old: SpiderIPPool, new: SpiderIPPool, pen: Report) -> Iterator[Problem]:
    """What stays for good, and addresses that pods have."""
    yield from _check_fixed(old.spec, new.spec, pen)
    try:
        taken = allocations(new.status.allocated_ips)
    except msgspec.DecodeError as error:
        yield pen.warning("status.allocatedIPs", f"cannot be read: {error}.", "weft underlay gc writes it anew.")
        return
    lost = addresses(old.spec) - addresses(new.spec)
    for text, who in sorted(taken.items()):
        if _ranges(text) & lost:
            yield pen.error(
                "spec.ips",
                f"{text} is taken out although pod {who.pod} has it.",
                "Delete the pod first. What a pool has is its ips without its excludeIPs.",
            )
            return


def check_pool_deletion(pool: SpiderIPPool, pen: Report) -> Iterator[Problem]:
    """A pool in use is not to be deleted."""
    try:
        taken = allocations(pool.status.allocated_ips)
    except msgspec.DecodeError:
        return
    if taken:
        pods = sorted({each.pod for each in taken.values()})
        shown = ", ".join(pods[:_SOME]) + ("…" if len(pods) > _SOME else "")
        hint = "Delete these pods first, or set disable: true so that it gives no more."
        yield pen.error("", f"{len(taken)} of its addresses are in use, by {shown}.", hint)


def check_subnet(
    subnet: SpiderSubnet,
    subnets: Iterable[SpiderSubnet],
    pools: Iterable[SpiderIPPool],
    families: Families,
    pen: Report,
) -> Iterator[Problem]:
    """A subnet by itself, beside others, and around the pools that are there already."""
    yield from _check_addresses(subnet.spec, families, pen)
    network = _network(subnet.spec)
    if network is None:
        return
    others = [each for each in subnets if each.metadata.name != subnet.metadata.name]
    yield from _check_overlap(network, ((each.metadata.name, each.spec) for each in others), "SpiderSubnet", pen)
    for each in others:
        if _network(each.spec) == network:
            yield pen.error(
                "spec.subnet",
                f"SpiderSubnet {each.metadata.name} has {network} already.",
                "Add its addresses there.",
            )
    mine = addresses(subnet.spec)
    for pool in pools:
        if _network(pool.spec) == network and (beyond := addresses(pool.spec) - mine):
            yield pen.error(
                "spec.ips",
                f"{_some(beyond)} of SpiderIPPool {pool.metadata.name} are not in it.",
                "Add them: a subnet has all addresses of its pools.",
            )


def check_subnet_change(old: SpiderSubnet, new: SpiderSubnet, pen: Report) -> Iterator[Problem]:
    """What stays for good; the addresses of its pools are among it."""
    yield from _check_fixed(old.spec, new.spec, pen)


def check_subnet_deletion(subnet: SpiderSubnet, pools: Iterable[SpiderIPPool], pen: Report) -> Iterator[Problem]:
    """A subnet with pools is not to be deleted."""
    network = _network(subnet.spec)
    made = sorted(each.metadata.name for each in pools if network is not None and _network(each.spec) == network)
    if made:
        yield pen.error("", f"SpiderIPPool {', '.join(made[:_SOME])} is made of it.", "Delete its pools first.")


def check_reserved(reserved: SpiderReservedIP, families: Families, pen: Report) -> Iterator[Problem]:
    """Reserved addresses are of one family."""
    spec = reserved.spec
    yield from _check_ranges(spec.ips or (), "spec.ips", None, spec.ip_version, pen)
    if spec.ip_version and not families.serves(spec.ip_version):
        yield _unserved(spec.ip_version, pen)
    versions = {version for text in spec.ips or () for version in _ranges(text).versions}
    if len(versions) > 1 and not spec.ip_version:
        yield pen.error("spec.ips", "has IPv4 and IPv6 addresses.", "Write one SpiderReservedIP for each.")


def _check_addresses(spec: IPPoolSpec | SubnetSpec, families: Families, pen: Report) -> Iterator[Problem]:
    try:
        network = parse_network(spec.subnet)
    except NotAddressesError as error:
        yield pen.error("spec.subnet", f"{error}.", "")
        return
    if spec.ip_version and spec.ip_version != network.version:
        yield pen.error(
            "spec.ipVersion", f"is {spec.ip_version}, but {spec.subnet} is IPv{network.version}.", "Leave it out."
        )
    if not families.serves(network.version):
        yield _unserved(network.version, pen)
    yield from _check_ranges(spec.ips or (), "spec.ips", network, network.version, pen)
    yield from _check_ranges(spec.exclude_ips or (), "spec.excludeIPs", network, network.version, pen)
    if spec.vlan:
        yield pen.warning("spec.vlan", "has no effect.", "SpiderMultusConfig has vlanID.", codes.DEPRECATED)
    yield from _check_gateway(spec, network, pen)
    yield from _check_routes(spec.routes or (), network, pen)
    if isinstance(network, IPv4Network) and network.prefixlen < 31:
        edges = Ranges.of((network.network_address, network.broadcast_address)) & addresses(spec)
        if edges:
            yield pen.warning(
                "spec.ips", f"{edges} mean the whole subnet: no pod can use them.", "Add them to excludeIPs."
            )


def _check_ranges(
    texts: Iterable[str], field: str, network: Network | None, version: int | None, pen: Report
) -> Iterator[Problem]:
    whole = Ranges.network(network) if network else None
    for index, text in enumerate(texts):
        place = f"{field}[{index}]"
        try:
            found = Ranges.parse((text,))
        except NotAddressesError as error:
            yield pen.error(place, f"{error}.", "")
            continue
        if version and found.versions - {version}:
            yield pen.error(place, f'"{text}" is not IPv{version}.', "Take it out.")
        elif whole is not None and not found <= whole:
            yield pen.error(place, f'"{text}" is not within {network}.', "Write addresses of spec.subnet.")


def _check_gateway(spec: IPPoolSpec | SubnetSpec, network: Network, pen: Report) -> Iterator[Problem]:
    if not spec.gateway:
        return
    if (fault := _outside(spec.gateway, network)) is not None:
        yield pen.error("spec.gateway", fault, "Write the gateway's address in spec.subnet.")
        return
    if parse_address(spec.gateway) in addresses(spec):
        yield pen.error(
            "spec.ips",
            f"contains the gateway {spec.gateway}, which a pod would get.",
            "Add it to excludeIPs, or leave it out of ips.",
        )


def _check_routes(routes: Iterable[Route], network: Network, pen: Report) -> Iterator[Problem]:
    seen = set[Network]()
    for index, route in enumerate(routes):
        place = f"spec.routes[{index}]"
        try:
            destination = parse_network(route.dst)
        except NotAddressesError as error:
            yield pen.error(f"{place}.dst", f"{error}.", "")
            continue
        if destination.version != network.version:
            yield pen.error(f"{place}.dst", f'"{route.dst}" is not IPv{network.version}.', "Take it out.")
        elif destination.prefixlen == 0:
            yield pen.error(f"{place}.dst", "is the default route.", "Write its gateway as spec.gateway.")
        elif destination in seen:
            yield pen.error(f"{place}.dst", f"{destination} has a route already.", "Keep one of them.")
        seen.add(destination)
        if (fault := _outside(route.gw, network)) is not None:
            yield pen.error(f"{place}.gw", fault, "Write a gateway that pods reach directly.")


def _check_selectors(spec: IPPoolSpec, pen: Report) -> Iterator[Problem]:
    selectors: tuple[tuple[str, LabelSelector | None], ...] = (
        ("podAffinity", spec.pod_affinity),
        ("namespaceAffinity", spec.namespace_affinity),
        ("nodeAffinity", spec.node_affinity),
    )
    for name, selector in selectors:
        if selector is not None:
            yield from check_selector(selector, f"spec.{name}", pen)
    if spec.pod_affinity is not None and not spec.pod_affinity:
        yield pen.error("spec.podAffinity", "is empty.", "Add matchLabels or matchExpressions, or leave it out.")
    if spec.namespace_name and spec.namespace_affinity:
        yield _second("namespaceAffinity", "namespaceName", pen)
    if spec.node_name and spec.node_affinity:
        yield _second("nodeAffinity", "nodeName", pen)
    for index, name in enumerate(spec.multus_name or ()):
        parts = name.split("/")
        if len(parts) > 2 or not all(parts):
            yield pen.error(
                f"spec.multusName[{index}]",
                f'"{name}" names no network.',
                "Write namespace/name, or a name alone.",
            )


def _check_overlap(
    network: Network, others: Iterable[tuple[str, IPPoolSpec | SubnetSpec]], kind: str, pen: Report
) -> Iterator[Problem]:
    for name, spec in others:
        other = _network(spec)
        if other is not None and other != network and other.version == network.version and _meet(network, other):
            yield pen.error(
                "spec.subnet",
                f"{network} overlaps {other} of {kind} {name}.",
                f"Write {other}, and choose addresses by ips.",
            )


def _check_fixed(old: IPPoolSpec | SubnetSpec, new: IPPoolSpec | SubnetSpec, pen: Report) -> Iterator[Problem]:
    if old.subnet != new.subnet:
        yield pen.error("spec.subnet", f"is {old.subnet}, and cannot be changed.", "Make another one.")
    elif old.ip_version and new.ip_version and old.ip_version != new.ip_version:
        yield pen.error("spec.ipVersion", f"is {old.ip_version}, and cannot be changed.", "Make another one.")


def _outside(text: str, network: Network) -> str | None:
    try:
        found = parse_address(text)
    except NotAddressesError as error:
        return f"{error}."
    return None if found in Ranges.network(network) else f'"{text}" is not within {network}.'


def _unserved(version: int, pen: Report) -> Problem:
    return pen.error(
        "spec.ipVersion", f"IPv{version} is disabled.", f"Set ipam.enableIPv{version} of the installation."
    )


def _second(field: str, first: str, pen: Report) -> Problem:
    return pen.warning(f"spec.{field}", f"has no effect beside {first}.", "Keep one of them.")


def _network(spec: IPPoolSpec | SubnetSpec) -> Network | None:
    try:
        return parse_network(spec.subnet)
    except NotAddressesError:
        return None


def _meet(one: Network, other: Network) -> bool:
    return bool(Ranges.network(one) & Ranges.network(other))


def _ranges(text: str) -> Ranges:
    """What a text names; nothing where it cannot be read."""
    try:
        return Ranges.parse((text,))
    except NotAddressesError:
        return Ranges()


def _some(ranges: Ranges) -> str:
    texts = ranges.texts()
    return ", ".join(texts[:_SOME]) + ("…" if len(texts) > _SOME else "")
