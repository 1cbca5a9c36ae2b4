"""Services. Whether an address is free is the allocator's matter (`serviceips`)."""

from collections.abc import Sequence
from typing import Any

from weft.cluster.apiserver import names
from weft.cluster.apiserver.errors import FieldError, duplicate, forbidden_field, invalid_value, required
from weft.cluster.apiserver.validation.goform import go
from weft.cluster.apiserver.validation.rules import (
    PROTOCOLS,
    Found,
    address,
    cidr,
    go_list,
    one_of,
    ordinary_address,
    port,
    port_or_name,
    qualified,
    reason,
)

Obj = dict[str, Any]
_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_OUTSIDE = ("NodePort", "LoadBalancer")
_POLICIES = ("Cluster", "Local")
_FAMILIES = ("IPv4", "IPv6")
_FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")
_LONGEST_AFFINITY = 86400


def service(obj: Obj) -> list[FieldError]:
    """What is wrong with a Service."""
    return [*_service(obj.get("spec") or {})]


def _headless(spec: Obj) -> bool:
    return bool(spec.get("clusterIP") == "None" or spec.get("clusterIPs") == ["None"])


def _service(spec: Obj) -> Found:
    kind = spec.get("type", "ClusterIP")
    if not spec.get("ports") and not _headless(spec) and kind != "ExternalName":
        yield required("spec.ports")
    if kind in _OUTSIDE and _headless(spec):
        yield invalid_value("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services")
    if kind == "ExternalName":
        yield from _external_name(spec)
    yield from _ports(spec.get("ports") or [])
    yield from names.labels(spec.get("selector") or {}, "spec.selector")
    yield from _affinity(spec)
    if kind != "ExternalName":
        yield from _addresses(spec)
    for index, given in enumerate(spec.get("externalIPs") or ()):
        wrong = list(address(given, f"spec.externalIPs[{index}]"))
        yield from wrong or ordinary_address(given, f"spec.externalIPs[{index}]")
    yield from one_of(kind, "spec.type", _TYPES, absent="")
    yield from _node_ports(spec.get("ports") or (), kind)
    yield from _twice(spec.get("ports") or ())
    yield from _balancing(spec, kind)
    yield from _policies(spec, kind)


def _external_name(spec: Obj) -> Found:
    for field in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if spec.get(field) or (field == "clusterIPs" and spec.get("clusterIP")):
            yield forbidden_field(f"spec.{field}", "may not be set for ExternalName services")
    name = spec.get("externalName", "").removesuffix(".")  # a trailing dot says that it is complete
    if not name:
        yield required("spec.externalName")
    else:
        yield from reason(names.subdomain(name), "spec.externalName", name)


def _ports(ports: Sequence[Obj]) -> Found:
    seen: set[str] = set()
    for index, given in enumerate(ports):
        where, name = f"spec.ports[{index}]", given.get("name", "")
        if not name and len(ports) > 1:
            yield required(f"{where}.name")
        elif name:
            yield from reason(names.label(name), f"{where}.name", name)
            if name in seen:
                yield duplicate(f"{where}.name", name)
            seen.add(name)
        yield from port(given.get("port", 0), f"{where}.port")
        yield from one_of(given.get("protocol", "TCP"), f"{where}.protocol", PROTOCOLS, absent="")
        yield from port_or_name(given.get("targetPort", given.get("port", 0)), f"{where}.targetPort")
        if given.get("appProtocol") is not None:
            yield from qualified(given["appProtocol"], f"{where}.appProtocol")


def _affinity(spec: Obj) -> Found:
    kind, config = spec.get("sessionAffinity", "None"), spec.get("sessionAffinityConfig")
    yield from one_of(kind, "spec.sessionAffinity", ("ClientIP", "None"), absent="")
    if kind == "None" and config is not None:
        yield forbidden_field("spec.sessionAffinityConfig", "must not be set when session affinity is None")
    if kind != "ClientIP":
        return
    seconds = ((config or {}).get("clientIP") or {}).get("timeoutSeconds", 1)
    if not 0 < seconds <= _LONGEST_AFFINITY:
        where = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
        yield invalid_value(where, seconds, f"must be greater than 0 and less than {_LONGEST_AFFINITY}")


def _addresses(spec: Obj) -> Found:
    first, listed = spec.get("clusterIP", ""), spec.get("clusterIPs") or []
    if first and listed and listed[0] != first:
        yield invalid_value("spec.clusterIPs", listed, "first value must match `clusterIP`")
    elif listed and not first:
        yield invalid_value("spec.clusterIPs", listed, "must be empty when `clusterIP` is not specified")
    yield from _families(spec)
    yield from one_of(spec.get("ipFamilyPolicy"), "spec.ipFamilyPolicy", _FAMILY_POLICIES)
    for index, given in enumerate(listed or ([first] if first else [])):
        if given == "None" and index == 0:
            if len(listed) > 1:
                yield invalid_value("spec.clusterIPs", listed, "'None' must be the first and only value")
        else:
            yield from address(given, f"spec.clusterIPs[{index}]")
    if len(listed) > 2:
        yield invalid_value("spec.clusterIPs", listed, "may only hold up to 2 values")


def _families(spec: Obj) -> Found:
    seen: set[str] = set()
    for index, family in enumerate(spec.get("ipFamilies") or ()):
        where = f"spec.ipFamilies[{index}]"
        yield from one_of(family, where, _FAMILIES, absent="")
        if family in seen:
            yield duplicate(where, family)
        seen.add(family)


def _node_ports(ports: Sequence[Obj], kind: str) -> Found:
    if kind == "ClusterIP":
        for index, given in enumerate(ports):
            if given.get("nodePort"):
                yield forbidden_field(
                    f"spec.ports[{index}].nodePort", "may not be used when `type` is 'ClusterIP'"
                )
    seen: set[tuple[Any, Any]] = set()
    for index, given in enumerate(ports):
        if not given.get("nodePort"):
            continue
        pair = given.get("protocol", "TCP"), given["nodePort"]
        if pair in seen:
            yield duplicate(f"spec.ports[{index}].nodePort", given["nodePort"])
        seen.add(pair)


def _twice(ports: Sequence[Obj]) -> Found:
    seen: set[tuple[Any, Any]] = set()
    for index, given in enumerate(ports):
        pair = given.get("protocol", "TCP"), given.get("port", 0)
        if pair in seen:
            shown = go("ServicePort", {"protocol": pair[0], "port": pair[1], "targetPort": 0})
            yield duplicate(f"spec.ports[{index}]", shown)
        seen.add(pair)


def _balancing(spec: Obj, kind: str) -> Found:
    """What is for load balancers alone."""
    ranges, only = spec.get("loadBalancerSourceRanges") or (), "may only be used when `type` is 'LoadBalancer'"
    if ranges and kind != "LoadBalancer":
        yield forbidden_field("spec.LoadBalancerSourceRanges", only)
    for index, given in enumerate(ranges):
        yield from cidr(given.strip(), f"spec.LoadBalancerSourceRanges[{index}]")
    if kind != "LoadBalancer":
        for field in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
            if spec.get(field) is not None:
                yield forbidden_field(f"spec.{field}", only)
    elif spec.get("loadBalancerClass") is not None:
        yield from qualified(spec["loadBalancerClass"], "spec.loadBalancerClass")


def _policies(spec: Obj, kind: str) -> Found:
    external, internal = spec.get("externalTrafficPolicy", ""), spec.get("internalTrafficPolicy")
    if kind not in _OUTSIDE and not (kind == "ClusterIP" and spec.get("externalIPs")):
        if external:
            why = "may only be set for externally-accessible services"
            yield invalid_value("spec.externalTrafficPolicy", external, why)
    else:
        yield from one_of(external, "spec.externalTrafficPolicy", _POLICIES, absent="")
    if spec.get("healthCheckNodePort") and not (kind == "LoadBalancer" and external == "Local"):
        why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        yield invalid_value("spec.healthCheckNodePort", spec["healthCheckNodePort"], why)
    yield from one_of(internal, "spec.internalTrafficPolicy", _POLICIES)
    yield from one_of(spec.get("trafficDistribution"), "spec.trafficDistribution", _DISTRIBUTIONS)


def changed(obj: Obj, before: Obj) -> list[FieldError]:
    """An address that was given stays, and so does who balances the load."""
    return [*_changed(obj["spec"], before["spec"])]


def _changed(new: Obj, old: Obj) -> Found:
    if "ExternalName" not in {new.get("type"), old.get("type")}:
        yield from _address_changed(new, old)
        yield from _family_changed(new, old)
    sort, port_of_checks = "loadBalancerClass", "healthCheckNodePort"
    if new.get("type") == old.get("type") == "LoadBalancer":
        if new.get(sort) != old.get(sort):
            yield invalid_value(f"spec.{sort}", new.get(sort), "may not change once set")
        local = new.get("externalTrafficPolicy") == old.get("externalTrafficPolicy") == "Local"
        if local and new.get(port_of_checks) != old.get(port_of_checks):
            yield forbidden_field(f"spec.{port_of_checks}", "field is immutable")


def _listed(spec: Obj) -> list[str] | None:
    return spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else None)


def _address_changed(new: Obj, old: Obj) -> Found:
    if _headless(new) and _headless(old):
        return
    is_, was = _listed(new), _listed(old)
    if was and not is_:
        yield invalid_value("spec.clusterIPs[0]", go_list(is_), "primary clusterIP can not be unset")
    elif was and is_ and is_[0] != was[0]:
        yield invalid_value("spec.clusterIPs[0]", is_, "may not change once set")


def _family_changed(new: Obj, old: Obj) -> Found:
    if _headless(new) or _headless(old):
        return
    is_, was = new.get("ipFamilies"), old.get("ipFamilies")
    if was and is_ and is_[0] != was[0]:
        yield invalid_value("spec.ipFamilies[0]", is_, "may not change once set")
