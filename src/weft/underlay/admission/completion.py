"""What is filled in before an object is stored: what follows from the rest, and one spelling for equal things."""

from collections.abc import Mapping
from typing import Any

from weft.underlay.addresses import NotAddressesError, Ranges, parse_address, parse_network

Json = dict[str, Any]


def complete(kind: str, obj: Mapping[str, Any]) -> Json:
    """The object as it is stored. What cannot be read stays as it is: the checks say so."""
    made = {**obj, "spec": dict(obj.get("spec") or {})}
    if (obj.get("metadata") or {}).get("deletionTimestamp"):
        return dict(obj)
    match kind:
        case "SpiderIPPool" | "SpiderSubnet":
            made["spec"] = _addresses(made["spec"])
        case "SpiderReservedIP":
            made["spec"] = _reserved(made["spec"])
        case "SpiderMultusConfig":
            made["spec"] = _network(made["spec"])
        case "SpiderCoordinator":
            made["spec"] = _canonical_list(made["spec"], "hijackCIDR")
        case _:
            return dict(obj)
    return made


def _addresses(spec: Json) -> Json:
    made = dict(spec)
    try:
        network = parse_network(str(spec.get("subnet", "")))
    except NotAddressesError:
        return made
    made["subnet"] = str(network)
    if not made.get("ipVersion"):
        made["ipVersion"] = network.version
    for name in ("ips", "excludeIPs"):
        made = _ranges(made, name)
    if made.get("gateway"):
        made["gateway"] = _address(made["gateway"])
    if isinstance(made.get("routes"), list):
        made["routes"] = [_route(each) for each in made["routes"]]
    return made


def _reserved(spec: Json) -> Json:
    made = _ranges(spec, "ips")
    try:
        versions = Ranges.parse(made.get("ips") or ()).versions
    except NotAddressesError:
        return made
    if len(versions) == 1 and not made.get("ipVersion"):
        (made["ipVersion"],) = versions
    return made


def _network(spec: Json) -> Json:
    """The defaults that the definition has too, for clusters that were given another one."""
    usual = {"cniType": "custom", "enableCoordinator": True, "disableIPAM": False}
    return {**usual, **{key: value for key, value in spec.items() if value is not None}}


def _ranges(spec: Json, name: str) -> Json:
    """Sorted, joined where they touch, in the usual spelling."""
    listed = spec.get(name)
    if not isinstance(listed, list) or not listed:
        return spec
    try:
        return {**spec, name: list(Ranges.parse(map(str, listed)).texts())}
    except NotAddressesError:
        return spec


def _canonical_list(spec: Json, name: str) -> Json:
    listed = spec.get(name)
    if not isinstance(listed, list):
        return spec
    return {**spec, name: list(dict.fromkeys(_cidr(str(each)) for each in listed))}


def _route(route: Any) -> Any:
    if not isinstance(route, Mapping):
        return route
    return {**route, "dst": _cidr(str(route.get("dst", ""))), "gw": _address(route.get("gw", ""))}


def _cidr(text: str) -> str:
    try:
        return str(parse_network(text))
    except NotAddressesError:
        return text


def _address(text: Any) -> str:
    try:
        return str(parse_address(str(text)))
    except NotAddressesError:
        return str(text)
