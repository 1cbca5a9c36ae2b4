"""From where a Service is reached: external addresses, sources of a load balancer, and whom traffic prefers."""

import ipaddress
from collections.abc import Iterator
from typing import Any

from weft.cluster.apiserver.errors import FieldError, forbidden_field, invalid_value, unsupported

Obj = dict[str, Any]
_DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")
_LINK_LOCAL_MULTICAST = (ipaddress.ip_network("224.0.0.0/24"), ipaddress.ip_network("ff02::/16"))


def reach(spec: Obj, kind: str) -> Iterator[FieldError]:
    """What is wrong with it; `kind` is the Service's type."""
    for index, address in enumerate(spec.get("externalIPs") or ()):
        if why := _not_external(str(address)):
            yield invalid_value(f"spec.externalIPs[{index}]", address, why)
    ranges = spec.get("loadBalancerSourceRanges") or ()
    # the capital letter is Kubernetes' own
    where = "spec.LoadBalancerSourceRanges"
    if ranges and kind != "LoadBalancer":
        yield forbidden_field(where, "may only be used when `type` is 'LoadBalancer'")
    for index, given in enumerate(ranges):
        if not _is_range(str(given).strip()):
            why = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
            yield invalid_value(f"{where}[{index}]", str(given).strip(), why)
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in _DISTRIBUTIONS:
        yield unsupported("spec.trafficDistribution", distribution, _DISTRIBUTIONS)


def _not_external(text: str) -> str:
    """Why it is no address that others can reach; empty if it is one."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
    if address.is_unspecified:
        return f"may not be unspecified ({text})"
    if address.is_loopback:
        return "may not be in the loopback range (127.0.0.0/8, ::1/128)"
    if address.is_link_local:
        return "may not be in the link-local range (169.254.0.0/16, fe80::/10)"
    if any(address in network for network in _LINK_LOCAL_MULTICAST):
        return "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
    return ""


def _is_range(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text
