"""Services. Whether an address is free is the allocator's matter (`serviceips`)."""

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Any

from weft.cluster.apiserver import names
from weft.cluster.apiserver.errors import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    required,
    unsupported,
)
from weft.cluster.apiserver.validation.service_reach import reach

Obj = dict[str, Any]
_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_WITH_PORTS = ("NodePort", "LoadBalancer")
_POLICIES = ("Cluster", "Local")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_LONGEST_AFFINITY = 86400
_KUBELET = 10250


def service(obj: Obj) -> list[FieldError]:
    """What is wrong with a Service."""
    return list(_service(obj.get("spec") or {}))


def _service(spec: Obj) -> Iterator[FieldError]:
    kind = spec.get("type", "ClusterIP")
    if kind not in _TYPES:
        yield unsupported("spec.type", kind, _TYPES)
    if kind == "ExternalName":
        yield from _external_name(spec)
    elif not spec.get("ports") and spec.get("clusterIP") != "None":
        yield required("spec.ports")
    yield from _affinity(spec)
    yield from _ports(spec.get("ports") or [])
    yield from _addresses(spec)
    yield from names.labels(spec.get("selector") or {}, "spec.selector")
    yield from _outside(spec, kind)
    yield from reach(spec, kind)


def _external_name(spec: Obj) -> Iterator[FieldError]:
    name = spec.get("externalName", "")
    if not name:
        yield required("spec.externalName")
    elif why := names.subdomain(name.removesuffix(".")):  # a trailing dot says that it is complete
        yield invalid_value("spec.externalName", name.removesuffix("."), why)
    if spec.get("clusterIP") or spec.get("clusterIPs"):
        yield forbidden_field("spec.clusterIPs", "may not be set for ExternalName services")


def _affinity(spec: Obj) -> Iterator[FieldError]:
    affinity = spec.get("sessionAffinity", "None")
    if affinity not in {"None", "ClientIP"}:
        yield unsupported("spec.sessionAffinity", affinity, ("ClientIP", "None"))
    config = spec.get("sessionAffinityConfig")
    if affinity == "None" and config:
        yield forbidden_field("spec.sessionAffinityConfig", "must not be set when session affinity is None")
    seconds = ((config or {}).get("clientIP") or {}).get("timeoutSeconds", 1)
    if not 0 < seconds <= _LONGEST_AFFINITY:
        where = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
        yield invalid_value(where, seconds, f"must be greater than 0 and less than {_LONGEST_AFFINITY}")


def _outside(spec: Obj, kind: str) -> Iterator[FieldError]:
    """What concerns connections from outside the cluster."""
    if kind in _WITH_PORTS and spec.get("clusterIP") == "None":
        yield invalid_value("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services")
    yield from _node_ports(spec.get("ports") or (), kind)
    yield from _policies(spec, kind)
    if kind == "LoadBalancer":
        yield from _kubelets_port(spec.get("ports") or ())
        return
    for name in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
        if spec.get(name) is not None:
            yield forbidden_field(f"spec.{name}", "may only be used when `type` is 'LoadBalancer'")


def _node_ports(ports: Sequence[Obj], kind: str) -> Iterator[FieldError]:
    seen: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        number, where = port.get("nodePort"), f"spec.ports[{index}].nodePort"
        if number and kind == "ClusterIP":
            yield forbidden_field(where, "may not be used when `type` is 'ClusterIP'")
        elif number and (number, port.get("protocol", "TCP")) in seen:
            yield duplicate(where, number)
        seen.add((number, port.get("protocol", "TCP")))


def _policies(spec: Obj, kind: str) -> Iterator[FieldError]:
    external = spec.get("externalTrafficPolicy")
    if external and kind not in _WITH_PORTS and not (kind == "ClusterIP" and spec.get("externalIPs")):
        why = "may only be set for externally-accessible services"
        yield invalid_value("spec.externalTrafficPolicy", external, why)
    for name in ("externalTrafficPolicy", "internalTrafficPolicy"):
        if spec.get(name, "Cluster") not in _POLICIES:
            yield unsupported(f"spec.{name}", spec[name], _POLICIES)
    if spec.get("healthCheckNodePort") and not (kind == "LoadBalancer" and external == "Local"):
        why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        yield invalid_value("spec.healthCheckNodePort", spec["healthCheckNodePort"], why)


def _kubelets_port(ports: Sequence[Obj]) -> Iterator[FieldError]:
    for index, port in enumerate(ports):
        if port.get("port") == _KUBELET:
            why = f"may not expose port {_KUBELET} externally since it is used by kubelet"
            yield invalid_value(f"spec.ports[{index}]", _KUBELET, why)


def _addresses(spec: Obj) -> Iterator[FieldError]:
    address = spec.get("clusterIP")
    if address and address != "None":
        try:
            ipaddress.ip_address(address)
        except ValueError:
            yield invalid_value(
                "spec.clusterIPs[0]", address, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
            )


def _ports(ports: list[Obj]) -> Iterator[FieldError]:
    seen_names: set[str] = set()
    seen_ports: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        where = f"spec.ports[{index}]"
        name, number = port.get("name", ""), port.get("port", 0)
        if not name and len(ports) > 1:
            yield required(f"{where}.name")
        elif name and (why := names.label(name)):
            yield invalid_value(f"{where}.name", name, why)
        elif name and name in seen_names:
            yield duplicate(f"{where}.name", name)
        if not 0 < number < 65536:
            yield invalid_value(f"{where}.port", number, "must be between 1 and 65535, inclusive")
        yield from _target(port.get("targetPort", number), f"{where}.targetPort")
        if port.get("protocol", "TCP") not in _PROTOCOLS:
            yield unsupported(f"{where}.protocol", port["protocol"], _PROTOCOLS)
        if (number, port.get("protocol")) in seen_ports:
            yield duplicate(where, {"port": number, "protocol": port.get("protocol")})
        seen_names.add(name)
        seen_ports.add((number, port.get("protocol")))


def _target(target: Any, path: str) -> Iterator[FieldError]:
    if isinstance(target, int) and not 0 < target < 65536:
        yield invalid_value(path, target, "must be between 1 and 65535, inclusive")
    elif isinstance(target, str) and (len(target) > 15 or names.label(target)):
        yield invalid_value(path, target, "must be no more than 15 characters and a lower case IANA name")


def changed(obj: Obj, before: Obj) -> list[FieldError]:
    """An address that was given stays, and so does who balances the load."""
    new, old = obj["spec"], before["spec"]
    kept = {"ClusterIP", "NodePort", "LoadBalancer"}
    if new.get("type") in kept and old.get("type") in kept and old.get("clusterIP") != new.get("clusterIP"):
        shown = [new["clusterIP"]] if new.get("clusterIP") else []
        return [invalid_value("spec.clusterIPs[0]", shown, "may not change once set")]
    sort = "loadBalancerClass"
    if new.get("type") == old.get("type") == "LoadBalancer" and new.get(sort) != old.get(sort):
        return [invalid_value(f"spec.{sort}", new.get(sort), "may not change once set")]
    return []
