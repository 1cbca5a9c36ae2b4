"""What an update of a Service keeps and drops by itself (`registry/core/service/storage`)."""

import copy
from typing import Any

Obj = dict[str, Any]
_WITH_PORTS = frozenset({"NodePort", "LoadBalancer"})
_BALANCED = "LoadBalancer"


def settle(obj: Obj, before: Obj) -> None:
    """Bring a Service that is about to replace another to what its type allows, in place."""
    spec, old = obj["spec"], before["spec"]
    _keep(spec, old)
    _drop(spec, old)
    balanced = (obj.get("status") or {}).get("loadBalancer")
    if spec.get("type") != _BALANCED and old.get("type") == _BALANCED and balanced:
        obj["status"] = {**obj["status"], "loadBalancer": {}}


def _keep(spec: Obj, old: Obj) -> None:
    """What was given and the client did not repeat."""
    if spec.get("type") == "ExternalName" or old.get("type") == "ExternalName":
        return
    for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if not spec.get(name) and old.get(name):
            spec[name] = copy.deepcopy(old[name])
    if spec.get("clusterIP") != old.get("clusterIP") and spec.get("clusterIPs") == old.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]  # whoever changes the one form means both
    if spec.get("type") not in _WITH_PORTS or old.get("type") not in _WITH_PORTS:
        return
    known = {_port(port): port.get("nodePort") for port in old.get("ports") or ()}
    asked = {port.get("nodePort") for port in spec.get("ports") or ()}
    for port in spec.get("ports") or ():
        given = known.get(_port(port))
        if not port.get("nodePort") and given and given not in asked:
            port["nodePort"] = given
    if _checked(spec) and _checked(old) and not spec.get("healthCheckNodePort") and old.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = old["healthCheckNodePort"]


def _port(port: Obj) -> tuple[Any, Any]:
    return port.get("port"), port.get("protocol", "TCP")


def _checked(spec: Obj) -> bool:
    return spec.get("type") == _BALANCED and spec.get("externalTrafficPolicy") == "Local"


def _drop(spec: Obj, old: Obj) -> None:
    """What the former type had and this one has not, unless the client changed it and so means it."""
    gone: list[str] = []
    if spec.get("type") == "ExternalName":
        gone += ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy")
    if spec.get("type") not in _WITH_PORTS:
        _drop_node_ports(spec, old)
        gone += ["externalTrafficPolicy"] if not spec.get("externalIPs") else []
    if not _checked(spec):
        gone.append("healthCheckNodePort")
    if spec.get("type") != _BALANCED:
        gone += ("allocateLoadBalancerNodePorts", "loadBalancerClass")
    for name in gone:
        if name in old and spec.get(name) == old[name]:
            del spec[name]


def _drop_node_ports(spec: Obj, old: Obj) -> None:
    numbers = {port.get("nodePort") for port in old.get("ports") or ()}
    for port in spec.get("ports") or ():
        if port.get("nodePort") in numbers:
            port.pop("nodePort", None)
