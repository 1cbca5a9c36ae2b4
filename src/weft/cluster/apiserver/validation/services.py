"""Services. Whether an address is free is the allocator's matter (`serviceips`)."""

import ipaddress
from collections.abc import Iterator
from typing import Any

from weft.cluster.apiserver import names
from weft.cluster.apiserver.errors import FieldError, duplicate, invalid_value, required, unsupported

Obj = dict[str, Any]
_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PROTOCOLS = ("SCTP", "TCP", "UDP")


def service(obj: Obj) -> list[FieldError]:
    """What is wrong with a Service."""
    return list(_service(obj.get("spec") or {}))


def _service(spec: Obj) -> Iterator[FieldError]:
    kind = spec.get("type", "ClusterIP")
    if kind not in _TYPES:
        yield unsupported("spec.type", kind, _TYPES)
    headless = spec.get("clusterIP") == "None"
    if kind == "ExternalName":
        if not spec.get("externalName"):
            yield required("spec.externalName")
    elif not spec.get("ports") and not headless:
        yield required("spec.ports")
    if spec.get("sessionAffinity", "None") not in {"None", "ClientIP"}:
        yield unsupported("spec.sessionAffinity", spec["sessionAffinity"], ("ClientIP", "None"))
    yield from _ports(spec.get("ports") or [])
    yield from _addresses(spec)
    yield from names.labels(spec.get("selector") or {}, "spec.selector")


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
    """An address that was given stays."""
    new, old = obj["spec"], before["spec"]
    kept = {"ClusterIP", "NodePort", "LoadBalancer"}
    if new.get("type") in kept and old.get("type") in kept and old.get("clusterIP") != new.get("clusterIP"):
        shown = [new["clusterIP"]] if new.get("clusterIP") else []
        return [invalid_value("spec.clusterIPs[0]", shown, "may not change once set")]
    return []
