"""CNI results in the versions of the specification: inside they are as 1.0.0 has them, outside as somebody asks.

What only 1.1.0 knows is kept inside, and left out where an older version is written.
"""

from collections.abc import Mapping
from ipaddress import ip_interface
from typing import Any, Final

Json = dict[str, Any]

INSIDE: Final = "1.0.0"
_NEWEST: Final = "1.1.0"
_OLDER: Final = frozenset({"0.3.0", "0.3.1", "0.4.0"})
"""Here every address says its family."""
_INTERFACE: Final = frozenset({"name", "mac", "sandbox"})
_ROUTE: Final = frozenset({"dst", "gw"})
"""What interfaces and routes have before 1.1.0."""


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
