"""The annotation that says which networks a pod has: `k8s.v1.cni.cncf.io/network-status`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_interface, ip_network
from typing import Any, Final

import msgspec

Json = dict[str, Any]

ANNOTATION: Final = "k8s.v1.cni.cncf.io/network-status"


@dataclass(frozen=True, slots=True)
class Attached:
    """A network that a pod has: its name, the result of its plugins, and whether it is the pod's first one."""

    network: str
    result: Mapping[str, Any]
    default: bool = False
    device: str = ""


def written(attached: Sequence[Attached]) -> str:
    """The annotation's value."""
    entries = [entry for each in attached for entry in _entries(each)]
    return msgspec.json.format(msgspec.json.encode(entries), indent=4).decode()


def _entries(attached: Attached) -> list[Json]:
    """One for each interface in the pod; one that says little for a network that made none."""
    found = attached.result.get("interfaces") or []
    within = [(place, each) for place, each in enumerate(found) if each.get("sandbox")]
    if not within:
        return [_entry(attached, {}, _addresses(attached.result, None))]
    alone = len(within) == 1
    return [
        _entry(attached, each, _addresses(attached.result, None if alone else place)) for place, each in within
    ]


def _entry(attached: Attached, interface: Mapping[str, Any], ips: Sequence[str]) -> Json:
    result = attached.result
    gateways = [
        each["gw"] for each in result.get("routes") or () if each.get("gw") and _is_default(each.get("dst", ""))
    ]
    given = {
        "name": attached.network,
        "interface": interface.get("name"),
        "ips": list(ips),
        "mac": interface.get("mac"),
        "mtu": interface.get("mtu"),
        "default": attached.default,
        "gateway": gateways,
        "device-info": {"type": "pci", "version": "1.0.0", "pci": {"pci-address": attached.device}}
        if attached.device
        else None,
    }
    return {name: value for name, value in given.items() if value} | {"dns": result.get("dns") or {}}


def _addresses(result: Mapping[str, Any], place: int | None) -> list[str]:
    """Addresses of one interface, or all of them."""
    return [
        str(ip_interface(each["address"]).ip)
        for each in result.get("ips") or ()
        if place is None or each.get("interface") in {None, place}
    ]


def _is_default(destination: str) -> bool:
    try:
        return ip_network(destination, strict=False).prefixlen == 0
    except ValueError:
        return False
