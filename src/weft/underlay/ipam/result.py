"""What IPAM answers to the plugin that asked (CNI specification: delegated plugins)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from weft.api.spider_endpoint import IPAllocation
from weft.api.underlay_shape import Route
from weft.underlay.addresses import Network, parse_address
from weft.underlay.ipam.annotations import Names
from weft.underlay.ipam.pools import Pool

Json = dict[str, Any]

_EVERYWHERE: Final[Mapping[int, str]] = {4: "0.0.0.0/0", 6: "::/0"}


class InvalidConfigError(ValueError):
    """The network's `ipam` cannot be followed; the message names the field."""


def result(entry: IPAllocation) -> Json:
    """The result for an interface that has what its endpoint says."""
    ips, routes = [], []
    for address, gateway in ((entry.ipv4, entry.ipv4_gateway), (entry.ipv6, entry.ipv6_gateway)):
        if address is None:
            continue
        ips.append({"address": address} | ({"gateway": gateway} if gateway else {}))
        if gateway and not entry.clean_gateway:
            routes.append({"dst": _EVERYWHERE[parse_address(gateway).version], "gw": gateway})
    routes += [{"dst": each.dst, "gw": each.gw} for each in entry.routes or ()]
    return {"cniVersion": "1.0.0", "ips": ips, "routes": routes, "dns": {}}


def routes(pools: Iterable[Pool], wanted: Sequence[Route]) -> tuple[Route, ...]:
    """Routes of an interface: those of its pools, and those of the pod whose gateway is in its subnets."""
    listed = list(pools)
    subnets: list[Network] = [each.subnet for each in listed]
    own = [each for each in wanted if any(parse_address(each.gw) in subnet for subnet in subnets)]
    return tuple(dict.fromkeys([route for each in listed for route in each.routes] + own))


def named_by(config: Mapping[str, Any]) -> Names:
    """The pools that a network's configuration names."""
    ipam = config.get("ipam") or {}
    if not isinstance(ipam, Mapping):
        raise InvalidConfigError("ipam of the network's configuration is no object")
    clean = ipam.get("cleangateway", False)
    if not isinstance(clean, bool):
        raise InvalidConfigError("ipam.cleangateway is neither true nor false")
    four, six = _names(ipam, "default_ipv4_ippool"), _names(ipam, "default_ipv6_ippool")
    return Names(ipv4=four, ipv6=six, cleangateway=clean)


def master_to_match(config: Mapping[str, Any]) -> str:
    """The node's interface whose subnets the pools are to be of; "" where any will do."""
    if (config.get("ipam") or {}).get("match_master_subnet") is not True:
        return ""
    master = config.get("master")
    if not isinstance(master, str) or not master:
        raise InvalidConfigError("ipam.match_master_subnet is true, and the network has no master")
    return master


def asked_for(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The addresses that the pod itself asks for: `ips` of its networks annotation."""
    found: Any = config
    for key in ("args", "cni", "ips"):
        found = found.get(key) if isinstance(found, Mapping) else None
    listed = found if found is not None else (config.get("runtimeConfig") or {}).get("ips")
    if listed is None:
        return ()
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        raise InvalidConfigError("ips of the network is no list of addresses")
    return tuple(each.partition("/")[0] for each in listed)


def _names(ipam: Mapping[str, Any], key: str) -> tuple[str, ...] | None:
    found = ipam.get(key)
    if found is None:
        return None
    if not isinstance(found, list) or not all(isinstance(each, str) and each for each in found):
        raise InvalidConfigError(f"ipam.{key} is no list of names of pools")
    return tuple(found) or None
