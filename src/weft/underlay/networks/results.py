"""CNI results in the versions of the specification: inside they are as 1.0.0 has them, outside as somebody asks.

What only 1.1.0 knows is kept inside, and left out where an older version is written.
"""

from collections.abc import Collection, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_interface, ip_network
from typing import Any, Final

Json = dict[str, Any]
Address = IPv4Address | IPv6Address

INSIDE: Final = "1.0.0"
_NEWEST: Final = "1.1.0"
_OLDER: Final = frozenset({"0.3.0", "0.3.1", "0.4.0"})
"""Here every address says its family."""
_INTERFACE: Final = frozenset({"name", "mac", "sandbox"})
_ROUTE: Final = frozenset({"dst", "gw"})
"""What interfaces and routes have before 1.1.0."""
_DEFAULTS: Final = {4: "0.0.0.0/0", 6: "::/0"}


def inside(result: Mapping[str, Any]) -> Json:
    """A result of any version, as we have it inside."""
    made = {key: value for key, value in result.items() if key != "ips"} | {"cniVersion": INSIDE}
    if ips := result.get("ips"):
        made["ips"] = [{key: value for key, value in each.items() if key != "version"} for each in ips]
    return made


def written(result: Mapping[str, Any], version: str) -> Json:
    """A result of ours as a version has it."""
    made = dict(result) | {"cniVersion": version}
    if version == _NEWEST:
        return made
    if interfaces := result.get("interfaces"):
        made["interfaces"] = [_only(each, _INTERFACE) for each in interfaces]
    if routes := result.get("routes"):
        made["routes"] = [_only(each, _ROUTE) for each in routes]
    if version in _OLDER and (ips := result.get("ips")):
        made["ips"] = [{"version": str(ip_interface(each["address"]).version), **each} for each in ips]
    return made


def seen_from(result: Mapping[str, Any], path: str, renamed: str) -> Json:
    """The same where the network namespace `path` has another name: each side knows it by one of its own."""
    if not path or not result.get("interfaces"):
        return dict(result)
    interfaces = [
        {**each, "sandbox": renamed} if each.get("sandbox") == path else each for each in result["interfaces"]
    ]
    return {**result, "interfaces": interfaces}


def _only(found: Mapping[str, Any], keys: frozenset[str]) -> Json:
    return {key: value for key, value in found.items() if key in keys}


def routed(result: Mapping[str, Any], drop: Collection[int], gateways: Collection[Address]) -> Json:
    """The same with other default routes: none of the IP versions `drop`, but those by `gateways`."""
    routes = [each for each in result.get("routes") or () if not _is_default(each, drop)]
    routes += [{"dst": _DEFAULTS[each.version], "gw": str(each)} for each in gateways]
    return {**result, "routes": routes}


def _is_default(route: Mapping[str, Any], versions: Collection[int]) -> bool:
    network = ip_network(route["dst"], strict=False)
    return network.prefixlen == 0 and network.version in versions
