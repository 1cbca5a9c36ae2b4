"""NetworkPolicies (`pkg/apis/networking/validation`): a mistake here would shut out, or let in, silently."""

import ipaddress
from collections.abc import Iterator
from typing import Any

from weft.cluster.apiserver import names
from weft.cluster.apiserver.errors import FieldError, forbidden_field, invalid_value, required, unsupported

Obj = dict[str, Any]
_CIDR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
_NUMBER = "must be between 1 and 65535, inclusive"


def network_policy(obj: Obj) -> list[FieldError]:
    """What is wrong with a NetworkPolicy."""
    return list(_policy(obj.get("spec") or {}))


def _policy(spec: Obj) -> Iterator[FieldError]:
    for direction, side in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(direction) or ()):
            where = f"spec.{direction}[{index}]"
            for number, port in enumerate(rule.get("ports") or ()):
                yield from _port(port, f"{where}.ports[{number}]")
            for number, peer in enumerate(rule.get(side) or ()):
                yield from _peer(peer, f"{where}.{side}[{number}]")
    types = spec.get("policyTypes") or ()
    if len(types) > 2:
        yield invalid_value("spec.policyTypes", types, "may not specify more than two policyTypes")
        return
    for index, one in enumerate(types):
        if one not in {"Ingress", "Egress"}:
            yield unsupported(f"spec.policyTypes[{index}]", one, ("Egress", "Ingress"))


def _port(port: Obj, where: str) -> Iterator[FieldError]:
    protocol, number, end = port.get("protocol"), port.get("port"), port.get("endPort")
    if protocol is not None and protocol not in {"TCP", "UDP", "SCTP"}:
        yield unsupported(f"{where}.protocol", protocol, ("SCTP", "TCP", "UDP"))
    if number is None:
        if end is not None:
            yield invalid_value(f"{where}.endPort", end, "may not be specified when `port` is not specified")
    elif isinstance(number, str):
        if end is not None:
            yield invalid_value(f"{where}.endPort", end, "may not be specified when `port` is non-numeric")
        if len(number) > 15 or names.label(number):
            why = "must be no more than 15 characters and a lower case IANA name"
            yield invalid_value(f"{where}.port", number, why)
    else:
        if not 0 < number < 65536:
            yield invalid_value(f"{where}.port", number, _NUMBER)
        if end is not None and end < number:
            yield invalid_value(f"{where}.endPort", number, "must be greater than or equal to `port`")
        if end is not None and not 0 < end < 65536:
            yield invalid_value(f"{where}.endPort", end, _NUMBER)


def _peer(peer: Obj, where: str) -> Iterator[FieldError]:
    selectors = [name for name in ("podSelector", "namespaceSelector") if peer.get(name) is not None]
    block = peer.get("ipBlock")
    if block is None:
        if not selectors:
            yield required(where, "must specify a peer")
        return
    if selectors:
        yield forbidden_field(where, "may not specify both ipBlock and another peer")
    yield from _block(block, f"{where}.ipBlock")


def _block(block: Obj, where: str) -> Iterator[FieldError]:
    cidr = block.get("cidr") or ""
    if not cidr:
        yield required(f"{where}.cidr")
        return
    network = _network(cidr)
    if network is None:
        yield invalid_value(f"{where}.cidr", cidr, _CIDR)
        return
    for index, text in enumerate(block.get("except") or ()):
        hole = _network(text)
        if hole is None:
            yield invalid_value(f"{where}.except[{index}]", text, _CIDR)
        elif not _within(hole, network):
            yield invalid_value(f"{where}.except[{index}]", text, "must be a strict subset of `cidr`")


def _within(hole: ipaddress.IPv4Network | ipaddress.IPv6Network, network: Any) -> bool:
    return hole.version == network.version and hole != network and bool(hole.subnet_of(network))


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False) if "/" in text else None
    except ValueError:
        return None
