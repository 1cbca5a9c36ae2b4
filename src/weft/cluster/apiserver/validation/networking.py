"""Ingresses, NetworkPolicies, and the addresses behind Services."""

import ipaddress
from typing import Any

from weft.cluster.apiserver import names
from weft.cluster.apiserver.errors import (
    NIL_MAP,
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    required,
    too_many,
    unsupported,
)
from weft.cluster.apiserver.validation.rules import (
    PROTOCOLS,
    Found,
    address,
    cidr,
    dns_label,
    immutable,
    label_selector,
    one_of,
    ordinary_address,
    port,
    port_name,
    qualified,
    reason,
)

Obj = dict[str, Any]
_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_BAD_PARTS = ("//", "/./", "/../", "%2f", "%2F")
_BAD_ENDS = ("/..", "/.")
_CLASS = "kubernetes.io/ingress.class"
_POLICY_PROTOCOLS = ("TCP", "UDP", "SCTP")
_ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
_MOST_ENDPOINTS, _MOST_ADDRESSES, _MOST_PORTS = 1000, 100, 20_000


def ingress(obj: Obj) -> list[FieldError]:
    """What is wrong with an Ingress."""
    return [*_ingress(obj.get("spec") or {})]


def new_ingress(obj: Obj) -> list[FieldError]:
    """The class may be said twice, but not differently."""
    said = (obj["metadata"].get("annotations") or {}).get(_CLASS)
    named = (obj.get("spec") or {}).get("ingressClassName")
    if said is None or named in {None, said}:
        return []
    return [invalid_value(f"annotations.{_CLASS}", said, "must match `ingressClassName` when both are specified")]


def _ingress(spec: Obj) -> Found:
    if not spec.get("rules") and spec.get("defaultBackend") is None:
        rules = spec.get("rules", NIL_MAP)
        yield invalid_value("spec", rules, "either `defaultBackend` or `rules` must be specified")
    if spec.get("defaultBackend") is not None:
        yield from _backend(spec["defaultBackend"], "spec.defaultBackend")
    for index, rule in enumerate(spec.get("rules") or ()):
        yield from _rule(rule, f"spec.rules[{index}]")
    for index, tls in enumerate(spec.get("tls") or ()):
        for number, host in enumerate(tls.get("hosts") or ()):
            yield from _host(host, f"spec.tls[{index}].hosts[{number}]")
        if name := tls.get("secretName"):
            yield from reason(names.subdomain(name), f"spec.tls[{index}].secretName", name)
    if (name := spec.get("ingressClassName")) is not None:
        yield from reason(names.subdomain(name), "spec.ingressClassName", name)


def _host(host: str, path: str) -> Found:
    why = names.wildcard(host) if "*" in host else names.subdomain(host)
    yield from reason(why, path, host)


def _rule(rule: Obj, path: str) -> Found:
    if host := rule.get("host"):
        if not [*address(host, path)]:
            yield invalid_value(f"{path}.host", host, "must be a DNS name, not an IP address")
        yield from _host(host, f"{path}.host")
    http = rule.get("http")
    if http is None:
        return
    if not http.get("paths"):
        yield required(f"{path}.http.paths")
    for index, one in enumerate(http.get("paths") or ()):
        yield from _path(one, f"{path}.http.paths[{index}]")


def _path(given: Obj, path: str) -> Found:
    kind, text = given.get("pathType"), given.get("path", "")
    if kind is None:
        yield required(f"{path}.pathType", "pathType must be specified")
        return
    if kind not in _PATH_TYPES:
        yield unsupported(f"{path}.pathType", kind, _PATH_TYPES)
    elif (text or kind != "ImplementationSpecific") and not text.startswith("/"):
        yield invalid_value(f"{path}.path", text, "must be an absolute path")
    if kind in {"Exact", "Prefix"}:
        for part in _BAD_PARTS:
            if part in text:
                yield invalid_value(f"{path}.path", text, f"must not contain '{part}'")
        for end in _BAD_ENDS:
            if text.endswith(end):
                yield invalid_value(f"{path}.path", text, f"cannot end with '{end}'")
    yield from _backend(given.get("backend") or {}, f"{path}.backend")


def _backend(given: Obj, path: str) -> Found:
    service, resource = given.get("service"), given.get("resource")
    if service is not None and resource is not None:
        yield invalid_value(path, "", "cannot set both resource and service backends")
    elif resource is not None:
        for field in ("kind", "name"):
            if not resource.get(field):
                yield required(f"{path}.resource.{field}")
    elif service is not None:
        yield from _service(service, path)
    else:
        yield invalid_value(path, "", "resource or service backend is required")


def _service(given: Obj, path: str) -> Found:
    if not given.get("name"):
        yield required(f"{path}.service.name")
    else:
        yield from reason(names.label_1035(given["name"]), f"{path}.service.name", given["name"])
    name, number = (given.get("port") or {}).get("name"), (given.get("port") or {}).get("number")
    if name and number:
        yield invalid_value(path, "", "cannot set both port name & port number")
    elif name:
        yield from port_name(name, f"{path}.service.port.name")
    elif number:
        yield from port(number, f"{path}.service.port.number")
    else:
        yield required(path, "port name or number is required")


def ingress_class(obj: Obj) -> list[FieldError]:
    """What is wrong with an IngressClass."""
    return [*_ingress_class(obj.get("spec") or {})]


def _ingress_class(spec: Obj) -> Found:
    controller = spec.get("controller", "")
    if not controller:
        yield required("spec.controller")
    else:
        domain, slash, rest = controller.partition("/")
        if not slash or not domain or not rest:
            why = 'must be a domain-prefixed path (such as "acme.io/foo")'
            yield invalid_value("spec.controller", controller, why)
        else:
            yield from reason(names.subdomain(domain), "spec.controller", domain)
    parameters = spec.get("parameters")
    if parameters is None:
        return
    for field in ("kind", "name"):
        if not parameters.get(field):
            yield required(f"spec.parameters.{field}")
    scope = parameters.get("scope", "Cluster")
    yield from one_of(scope, "spec.parameters.scope", ("Cluster", "Namespace"))
    if scope == "Namespace" and not parameters.get("namespace"):
        yield required("spec.parameters.namespace", "`parameters.scope` is set to 'Namespace'")
    elif scope == "Cluster" and parameters.get("namespace"):
        yield forbidden_field("spec.parameters.namespace", "`parameters.scope` is set to 'Cluster'")


def ingress_class_changed(obj: Obj, before: Obj) -> list[FieldError]:
    """A class keeps its controller."""
    return list(immutable(obj.get("spec") or {}, before.get("spec") or {}, "spec.", "controller"))


def network_policy(obj: Obj) -> list[FieldError]:
    """What is wrong with a NetworkPolicy."""
    return [*_policy(obj.get("spec") or {})]


def _policy(spec: Obj) -> Found:
    yield from label_selector(spec.get("podSelector"), "spec.podSelector")
    for side, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(side) or ()):
            where = f"spec.{side}[{index}]"
            for number, given in enumerate(rule.get("ports") or ()):
                yield from _policy_port(given, f"{where}.ports[{number}]")
            for number, peer in enumerate(rule.get(peers) or ()):
                yield from _peer(peer, f"{where}.{peers}[{number}]")
    kinds = spec.get("policyTypes") or []
    if len(kinds) > 2:
        yield invalid_value("spec.policyTypes", kinds, "may not specify more than two policyTypes")
        return
    for index, kind in enumerate(kinds):
        yield from one_of(kind, f"spec.policyTypes[{index}]", ("Ingress", "Egress"))


def _policy_port(given: Obj, path: str) -> Found:
    yield from one_of(given.get("protocol"), f"{path}.protocol", _POLICY_PROTOCOLS)
    wanted, last = given.get("port"), given.get("endPort")
    if isinstance(wanted, int):
        yield from port(wanted, f"{path}.port")
        if last is not None:
            if last < wanted:
                yield invalid_value(f"{path}.endPort", last, "must be greater than or equal to `port`")
            yield from port(last, f"{path}.endPort")
    elif wanted is not None:
        if last is not None:
            yield invalid_value(f"{path}.endPort", last, "may not be specified when `port` is non-numeric")
        yield from port_name(wanted, f"{path}.port")
    elif last is not None:
        yield invalid_value(f"{path}.endPort", last, "may not be specified when `port` is not specified")


def _peer(given: Obj, path: str) -> Found:
    chosen = [kind for kind in ("podSelector", "namespaceSelector", "ipBlock") if given.get(kind) is not None]
    for kind in chosen[:2]:
        if kind != "ipBlock":
            yield from label_selector(given[kind], f"{path}.{kind}")
    if "ipBlock" in chosen:
        yield from _block(given["ipBlock"], f"{path}.ipBlock")
    if not chosen:
        yield required(path, "must specify a peer")
    elif len(chosen) > 1 and "ipBlock" in chosen:
        yield forbidden_field(path, "may not specify both ipBlock and another peer")


def _block(given: Obj, path: str) -> Found:
    outer = given.get("cidr", "")
    if not outer:
        yield required(f"{path}.cidr")
        return
    wrong = [*cidr(outer, f"{path}.cidr")]
    yield from wrong
    if wrong:
        return
    for index, inner in enumerate(given.get("except") or ()):
        where = f"{path}.except[{index}]"
        wrong = [*cidr(inner, where)]
        yield from wrong
        if not wrong and not _strictly_inside(inner, outer):
            yield invalid_value(where, inner, "must be a strict subset of `cidr`")


def _strictly_inside(inner: str, outer: str) -> bool:
    small, large = (ipaddress.ip_network(text, strict=False) for text in (inner, outer))
    if isinstance(small, ipaddress.IPv4Network) and isinstance(large, ipaddress.IPv4Network):
        return small != large and small.subnet_of(large)
    if isinstance(small, ipaddress.IPv6Network) and isinstance(large, ipaddress.IPv6Network):
        return small != large and small.subnet_of(large)
    return False


def endpoint_slice(obj: Obj) -> list[FieldError]:
    """What is wrong with an EndpointSlice."""
    return [*_slice(obj)]


def _slice(obj: Obj) -> Found:
    kind, endpoints, ports = obj.get("addressType", ""), obj.get("endpoints") or [], obj.get("ports") or []
    yield from one_of(kind, "addressType", _ADDRESS_TYPES, absent="")
    if len(endpoints) > _MOST_ENDPOINTS:
        yield too_many("endpoints", len(endpoints), _MOST_ENDPOINTS)
    for index, endpoint in enumerate(endpoints):
        yield from _endpoint(endpoint, f"endpoints[{index}]", kind)
    if len(ports) > _MOST_PORTS:
        yield too_many("ports", len(ports), _MOST_PORTS)
    seen: set[str] = set()
    for index, given in enumerate(ports):
        where, name = f"ports[{index}]", given.get("name", "")
        if name:
            yield from reason(names.label(name), f"{where}.name", name)
        if name in seen:
            yield duplicate(f"{where}.name", name)
        seen.add(name)
        yield from one_of(given.get("protocol", "TCP"), f"{where}.protocol", PROTOCOLS, absent="")
        if given.get("port") is not None:
            yield from port(given["port"], f"{where}.port")
        if given.get("appProtocol") is not None:
            yield from qualified(given["appProtocol"], f"{where}.appProtocol")


def _endpoint(given: Obj, path: str, kind: str) -> Found:
    addresses = given.get("addresses") or []
    if not addresses:
        yield required(f"{path}.addresses", "must contain at least 1 address")
    elif len(addresses) > _MOST_ADDRESSES:
        yield too_many(f"{path}.addresses", len(addresses), _MOST_ADDRESSES)
    for index, one in enumerate(addresses):
        yield from _typed_address(one, f"{path}.addresses[{index}]", kind)
    if given.get("hostname") is not None:
        yield from dns_label(given["hostname"], f"{path}.hostname")


def _typed_address(value: str, path: str, kind: str) -> Found:
    if kind == "FQDN":
        yield from reason(names.subdomain(value), path, value)
        return
    if kind not in {"IPv4", "IPv6"}:
        return
    try:
        version = f"IPv{ipaddress.ip_address(value).version}"
    except ValueError:
        version = ""
    if version != kind:
        yield invalid_value(path, value, f"must be a valid {kind} address")
    else:
        yield from ordinary_address(value, path, loopback=True)  # a cluster of one machine may well have those


def slice_changed(obj: Obj, before: Obj) -> list[FieldError]:
    """A slice keeps its sort of addresses."""
    return list(immutable(obj, before, "", "addressType"))


def endpoints(obj: Obj) -> list[FieldError]:
    """What is wrong with Endpoints."""
    return [*_subsets(obj.get("subsets") or ())]


def _subsets(subsets: Any) -> Found:
    for index, subset in enumerate(subsets):
        where = f"subsets[{index}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            yield required(where, "must specify `addresses` or `notReadyAddresses`")
        for field in ("addresses", "notReadyAddresses"):
            for number, one in enumerate(subset.get(field) or ()):
                at = f"{where}.{field}[{number}]"
                yield from address(one.get("ip", ""), f"{at}.ip")
                if one.get("hostname"):
                    yield from dns_label(one["hostname"], f"{at}.hostname")
                yield from ordinary_address(one.get("ip", ""), f"{at}.ip", loopback=True)
        ports = subset.get("ports") or []
        for number, given in enumerate(ports):
            yield from _endpoint_port(given, f"{where}.ports[{number}]", named=len(ports) > 1)


def _endpoint_port(given: Obj, path: str, *, named: bool) -> Found:
    if named or given.get("name"):
        yield from dns_label(given.get("name"), f"{path}.name")
    yield from port(given.get("port", 0), f"{path}.port")
    yield from one_of(given.get("protocol", "TCP"), f"{path}.protocol", PROTOCOLS, absent="")
