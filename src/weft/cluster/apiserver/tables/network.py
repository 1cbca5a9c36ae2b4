"""The columns of services, endpoints, ingresses and network policies."""

from datetime import datetime

from weft.cluster.apiserver.tables.columns import (
    AGE,
    NAME,
    NONE,
    UNSET,
    Column,
    Object,
    at,
    few,
    joined,
    label_cell,
    look,
    maps,
    selector_cell,
    text,
    texts,
)


def _external_ip(service: Object, _now: datetime) -> str:
    addresses = texts(service, "spec.externalIPs")
    match look(service, "spec.type", "ClusterIP"):
        case "ExternalName":
            return str(look(service, "spec.externalName", "")) or NONE
        case "LoadBalancer":
            return ",".join(_ingress(service) + addresses) or "<pending>"
        case _:
            return joined(addresses)


def _ingress(obj: Object) -> list[str]:
    """Addresses that a load balancer gave."""
    found = maps(obj, "status.loadBalancer.ingress")
    return [
        str(look(one, "ip") or look(one, "hostname")) for one in found if look(one, "ip") or look(one, "hostname")
    ]


def _ports(service: Object, _now: datetime) -> str:
    return joined(_port(port) for port in maps(service, "spec.ports"))


def _port(port: Object) -> str:
    node = f":{look(port, 'nodePort')}" if look(port, "nodePort") else ""
    return f"{look(port, 'port')}{node}/{look(port, 'protocol', 'TCP')}"


def _endpoints(endpoints: Object, _now: datetime) -> str:
    found = []
    for subset in maps(endpoints, "subsets"):
        addresses = [str(look(one, "ip", "")) for one in maps(subset, "addresses")]
        ports = [look(port, "port") for port in maps(subset, "ports")]
        found += [_host_port(ip, port) for port in ports for ip in addresses] if ports else addresses
    return few(found)


def _host_port(ip: str, port: object) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def _slice_ports(endpoint_slice: Object, _now: datetime) -> str:
    return few([str(look(port, "port", "*")) for port in maps(endpoint_slice, "ports")], UNSET)


def _slice_endpoints(endpoint_slice: Object, _now: datetime) -> str:
    found = maps(endpoint_slice, "endpoints")
    return few([address for one in found for address in texts(one, "addresses")], UNSET)


def _hosts(ingress: Object, _now: datetime) -> str:
    hosts = [str(look(rule, "host")) for rule in maps(ingress, "spec.rules") if look(rule, "host")]
    return few(hosts, "*")


SERVICES = (
    NAME,
    Column("Type", at("spec.type", "ClusterIP")),
    Column("Cluster-IP", text("spec.clusterIP")),
    Column("External-IP", _external_ip),
    Column("Port(s)", _ports),
    AGE,
    Column("Selector", label_cell("spec.selector"), wide=True),
)
ENDPOINTS = (NAME, Column("Endpoints", _endpoints), AGE)
ENDPOINT_SLICES = (
    NAME,
    Column("AddressType", at("addressType")),
    Column("Ports", _slice_ports),
    Column("Endpoints", _slice_endpoints),
    AGE,
)
INGRESSES = (
    NAME,
    Column("Class", text("spec.ingressClassName")),
    Column("Hosts", _hosts),
    Column("Address", lambda ingress, _now: ",".join(_ingress(ingress))),
    Column("Ports", lambda ingress, _now: "80, 443" if maps(ingress, "spec.tls") else "80"),
    AGE,
)
INGRESS_CLASSES = (
    NAME,
    Column("Controller", at("spec.controller")),
    Column("Parameters", text("spec.parameters.name")),
    AGE,
)
NETWORK_POLICIES = (NAME, Column("Pod-Selector", selector_cell("spec.podSelector")), AGE)
