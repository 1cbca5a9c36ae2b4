"""What is wrong between Gateways, the pods that they select, and the VirtualServices bound to them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from weft.api import codes
from weft.api.report import Report
from weft.api.virtual_service_checks import MESH
from weft.base.names import nearest
from weft.base.problem import At, Problem
from weft.model.gateway_merge import Conflict, merged
from weft.model.gateways import Gateway, Gateways
from weft.model.kubernetes import Workload
from weft.model.registered import Registered
from weft.model.routing_rule import RoutingRule
from weft.model.services import Labels


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What Gateways are held against: each other, pods, and services."""

    gateways: Gateways
    workloads: Iterable[Workload]
    services: Iterable[Registered]


def problems(surroundings: Surroundings) -> Iterator[Problem]:
    """Everything wrong with all Gateways."""
    selectors = dict.fromkeys(each.selector for each in surroundings.gateways.rules)
    conflicts = {selector: _conflicts(selector, surroundings.gateways) for selector in selectors}
    for each in surroundings.gateways.rules:
        yield from _problems(each, surroundings, conflicts[each.selector])


def gateway_problems(gateway: Gateway, surroundings: Surroundings) -> Iterator[Problem]:
    """What is wrong with one of the Gateways, given the rest of the cluster."""
    yield from _problems(gateway, surroundings, _conflicts(gateway.selector, surroundings.gateways))


def binding_problems(rule: RoutingRule, gateways: Gateways, report: Report) -> Iterator[Problem]:
    """What is wrong between a VirtualService and the gateways that it names."""
    for index, path in enumerate(rule.gateways):
        if path != MESH and path not in gateways.by_path:
            near = nearest(path, gateways.by_path)
            hint = f'Did you mean "{near}"?' if near else "Create the Gateway, or correct the name."
            message = f'Gateway not found "{path}", so no request comes by it.'
            yield report.error(f"spec.gateways[{index}]", message, hint, codes.NOT_FOUND)
        # a rule with this one gateway is told host by host
        elif path == MESH or len(rule.gateways) == 1:
            continue
        elif not any(_serves(gateways.by_path[path], host, rule) for host in rule.hosts):
            message = f"none of the hosts is served by Gateway {path}."
            hint = "Add them to a server there, or correct the name."
            yield report.warning(f"spec.gateways[{index}]", message, hint, codes.HOST_NOT_IN_GATEWAY)
    bound = [gateways.by_path[path] for path in rule.gateways if path in gateways.by_path]
    for index, (host, written) in enumerate(zip(rule.hosts, rule.written_hosts, strict=True)):
        # what some of them serve, or sidecars, is in its place
        if bound and not rule.in_mesh and not any(_serves(gateway, host, rule) for gateway in bound):
            message = f'"{written}" is not among the hosts of {", ".join(each.path for each in bound)}.'
            hint = "Add it to a server there, or take it out here."
            yield report.warning(f"spec.hosts[{index}]", message, hint, codes.HOST_NOT_IN_GATEWAY)


def _serves(gateway: Gateway, host: str, rule: RoutingRule) -> bool:
    return any(server.common(host, rule.namespace) for server in gateway.servers)


def server_ports(rule: RoutingRule, gateways: Gateways) -> set[int]:
    """The ports that requests may come in on by a rule's gateways."""
    bound = (gateways.by_path[path] for path in rule.gateways if path in gateways.by_path)
    return {server.number for each in bound for server in each.servers}


def _conflicts(selector: Labels, gateways: Gateways) -> tuple[Conflict, ...]:
    """Where Gateways of this selector stand back before older ones that may be on the same pods.

    Two are taken for such if one's selector asks for no more than the other's.
    """
    own = set(selector)
    alike = (each for each in gateways.rules if own <= set(each.selector) or own >= set(each.selector))
    _, found = merged(alike, lambda number: number)
    return tuple(each for each in found if each.placed.gateway.selector == selector)


def _problems(gateway: Gateway, around: Surroundings, conflicts: Iterable[Conflict]) -> Iterator[Problem]:
    report = Report(At(kind="Gateway", namespace=gateway.namespace, name=gateway.name))
    for each in conflicts:
        if each.placed.gateway is gateway:
            winner = each.winner.gateway
            whose = "an earlier server" if winner is gateway else f"Gateway {winner.path}, which is older,"
            message = f"is not served: {whose} has {each.reason} already."
            hint = "Merge the two, or give this one a port or host of its own."
            yield report.error(each.placed.server.field, message, hint, codes.CONFLICTING_GATEWAYS)
    pods = [each for each in around.workloads if set(gateway.selector) <= set(each.labels)]
    if not pods:
        wanted = ",".join(f"{key}={value}" for key, value in gateway.selector) or "any label"
        message = f"no pod has {wanted}, so nothing is served."
        hint = "Copy the labels of the gateway's pods, such as istio: ingressgateway."
        yield report.error("spec.selector", message, hint, codes.NOT_FOUND)
        return
    known = _service_ports(pods, around.services)
    for server in gateway.servers if known else ():
        if server.number not in known:
            message = f"no Service of the gateway's pods has port {server.number}."
            hint = f"Use one of {', '.join(map(str, sorted(known)))}, or add it to the Service."
            yield report.warning(f"{server.field}.port.number", message, hint, codes.PORT_NOT_ON_SERVICE)


def _service_ports(pods: Iterable[Workload], services: Iterable[Registered]) -> set[int]:
    """The ports of the services that lead to some of the pods, and the pods' ports behind them."""
    labels: dict[str, list[set[tuple[str, str]]]] = {}
    for pod in pods:
        labels.setdefault(pod.namespace, []).append(set(pod.labels))
    found: set[int] = set()
    for each in services:
        listing = each.listing
        wanted = set(listing.selector)
        if wanted and any(wanted <= own for own in labels.get(listing.service.namespace, ())):
            found.update(port.number for port in listing.service.ports)
            found.update(target for target in listing.targets if isinstance(target, int))
    return found
