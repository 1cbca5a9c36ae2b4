"""What is wrong with the settings of the coordinator, in a SpiderCoordinator or in one network."""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from weft.api import codes
from weft.api.report import Report
from weft.api.spider_coordinator import CoordinatorSpec, SpiderCoordinator
from weft.api.underlay_shape import PAST, Part
from weft.base.problem import Problem
from weft.base.texts import interface
from weft.underlay.addresses import NotAddressesError, parse_address, parse_network

_PREFIX: Final = re.compile(r"[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}")
_MULTICAST: Final = 1
_LEAST_MTU: Final = 68
"""RFC 791: every host takes packets of this size."""


def check_coordinator(coordinator: SpiderCoordinator, pen: Report) -> Iterator[Problem]:
    """The settings of the cluster."""
    if coordinator.spec.pod_cidr_type is None:
        yield pen.error("spec.podCIDRType", "is missing.", "Write auto, cluster, calico, cilium or none.")
    yield from check_settings(coordinator.spec, "spec", pen)


def check_settings(spec: CoordinatorSpec, path: str, pen: Report) -> Iterator[Problem]:
    """The settings, wherever they are."""
    yield from _check_interface(spec, path, pen)
    if (filtering := spec.pod_rp_filter) is not None and filtering > 2:
        yield pen.error(f"{path}.podRPFilter", f"is {filtering}.", "Write 0, 1 or 2, or -1 to leave it as it is.")
    for index, each in enumerate(spec.hijack_cidr or ()):
        try:
            parse_network(each)
        except NotAddressesError as error:
            yield pen.error(f"{path}.hijackCIDR[{index}]", f"{error}.", "")
    for index, route in enumerate(spec.policy_routes or ()):
        place = f"{path}.policyRoutes[{index}]"
        try:
            versions = parse_network(route.dst).version, parse_address(route.gw).version
        except NotAddressesError as error:
            yield pen.error(place, f"{error}.", "")
            continue
        if versions[0] != versions[1]:
            yield pen.error(place, f"leads to IPv{versions[0]} by IPv{versions[1]}.", "Write both of one family.")
    yield from check_past(spec, path, pen)


def check_past(part: Part, path: str, pen: Report) -> Iterator[Problem]:
    """Fields of older releases that are set: what serves instead."""
    for each in msgspec.structs.fields(part):
        metas = getattr(each.type, "__metadata__", ())
        mark = next((meta.extra for meta in metas if isinstance(meta, msgspec.Meta) and meta.extra), {})
        if PAST in mark and getattr(part, each.name) is not None:
            yield pen.warning(
                f"{path}.{each.encode_name}",
                "is of an older release and has no effect.",
                str(mark[PAST]),
                codes.DEPRECATED,
            )


def _check_interface(spec: CoordinatorSpec, path: str, pen: Report) -> Iterator[Problem]:
    if spec.pod_mac_prefix:
        yield from _check_prefix(spec.pod_mac_prefix, f"{path}.podMACPrefix", pen)
    if spec.veth_link_address:
        yield from _check_link(spec.veth_link_address, f"{path}.vethLinkAddress", pen)
    if nic := spec.pod_default_route_nic:
        try:
            interface(nic)
        except ValueError as error:
            yield pen.error(f"{path}.podDefaultRouteNIC", f'"{nic}" {error}', "")
    if spec.veth_mtu and spec.veth_mtu < _LEAST_MTU:
        yield pen.error(f"{path}.vethMTU", f"is {spec.veth_mtu}.", f"Write {_LEAST_MTU} or more, or 0.")


def _check_prefix(prefix: str, field: str, pen: Report) -> Iterator[Problem]:
    if not _PREFIX.fullmatch(prefix):
        yield pen.error(field, f'"{prefix}" is not two bytes.', "Write it like 0a:1b.")
    elif int(prefix[:2], 16) & _MULTICAST:
        unicast = f"{int(prefix[:2], 16) ^ _MULTICAST:02x}{prefix[2:]}"
        hint = f"The first byte must be even: {unicast}."
        yield pen.error(field, f'"{prefix}" begins addresses of groups (multicast).', hint)


def _check_link(address: str, field: str, pen: Report) -> Iterator[Problem]:
    try:
        version = parse_address(address).version
    except NotAddressesError as error:
        yield pen.error(field, f"{error}.", "Write one like 169.254.100.1.")
        return
    if version != 4:
        hint = "Write one like 169.254.100.1: an IPv6 interface has a link-local address anyway."
        yield pen.error(field, f'"{address}" is not IPv4.', hint)
