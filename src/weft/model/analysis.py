"""Problems that show only when objects are seen together: `istioctl analyze`'s, by Istio's codes."""

from collections.abc import Iterable, Iterator

from weft.api import codes
from weft.api.report import Report
from weft.api.virtual_service_checks import MESH
from weft.base.names import host_matches
from weft.base.problem import At, Problem
from weft.model import delegates, gateway_analysis, peer_analysis, port_analysis, stream_analysis
from weft.model import unregistered as unregistered_hosts
from weft.model.clients import EVERYWHERE, Client
from weft.model.destination_rules import TrafficRule
from weft.model.gateway_analysis import Surroundings, server_ports
from weft.model.kubernetes import Workload
from weft.model.registered import LeftOut, Registered
from weft.model.resolution import Directory, Missing, host_hint, resolve
from weft.model.routing_rule import RoutingRule


def ordered(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Sort problems by place and drop repetitions."""
    return tuple(sorted(dict.fromkeys(problems), key=lambda each: (each.at, each.code, each.message)))


def problems(directory: Directory, workloads: Iterable[Workload] = ()) -> tuple[Problem, ...]:
    """Everything wrong between objects."""
    surroundings = Surroundings(directory.gateways, workloads, directory.services.values())
    found: list[Problem] = list(gateway_analysis.problems(surroundings))
    for rule in directory.virtual_services.rules:
        found += routing_problems(rule, directory)
    for each in directory.destination_rules.rules:
        found += traffic_problems(each, directory)
    for shared in directory.services.values():
        found += (entry_problem(left) for each in shared.all for left in each.left_out)
    found += port_analysis.problems(directory.services.values(), directory.destination_rules.mesh.root_namespace)
    return ordered(found)


def entry_problem(left: LeftOut) -> Problem:
    """A ServiceEntry without effect for one of its hosts, or without one of its workloads."""
    report = Report(At(kind="ServiceEntry", namespace=left.namespace, name=left.name))
    return report.warning(left.field, f"{left.reason}.", left.hint, codes.SHADOWED)


def routing_problems(rule: RoutingRule, directory: Directory) -> tuple[Problem, ...]:
    """What is wrong with a VirtualService, given the rest of the cluster."""
    report = Report(At(kind="VirtualService", namespace=rule.namespace, name=rule.name))
    client = Client(rule.namespace)
    found = [
        *_hosts(rule, client, directory, report),
        *_destinations(rule, client, directory, report),
        *_delegates(rule, directory, report),
        *gateway_analysis.binding_problems(rule, directory.gateways, report),
        *stream_analysis.problems(rule, _services(rule.hosts, directory), report),
    ]
    return ordered(found)


def traffic_problems(rule: TrafficRule, directory: Directory) -> tuple[Problem, ...]:
    """What is wrong with a DestinationRule, given the rest of the cluster."""
    report = Report(At(kind="DestinationRule", namespace=rule.namespace, name=rule.name))
    found: list[Problem] = []
    services = _services((rule.host,), directory)
    if not services:
        hint = host_hint(rule.written_host, Client(rule.namespace), directory)
        message = f'host not found "{rule.written_host}", so the rule has no effect.'
        found.append(report.warning("spec.host", message, hint, codes.UNKNOWN_RULE_HOST))
    older = _older_policy(rule, directory)
    if older is not None:
        message = f"is not in force: DestinationRule {older.full_name} is older and has one for the same host."
        found.append(report.warning("spec.trafficPolicy", message, "Keep one of them.", codes.SHADOWED))
    return (*found, *peer_analysis.client_conflicts(rule, services, directory.peer_authentications))


def _older_policy(rule: TrafficRule, directory: Directory) -> TrafficRule | None:
    if rule.policy is None:
        return None
    for each in directory.destination_rules.rules:
        if each.precedence >= rule.precedence:
            return None
        alike = (each.namespace, each.host, each.selector) == (rule.namespace, rule.host, rule.selector)
        if alike and each.policy is not None and _overlap(each.export_to, rule.export_to):
            return each
    return None


def _hosts(rule: RoutingRule, client: Client, directory: Directory, report: Report) -> Iterator[Problem]:
    if not rule.in_mesh:
        return
    for index, (host, written) in enumerate(zip(rule.hosts, rule.written_hosts, strict=True)):
        field = f"spec.hosts[{index}]"
        # one that gateways know as well may be there for those outside only
        if rule.gateways == (MESH,) and not _services((host,), directory):
            hint = host_hint(written, client, directory)
            yield _unregistered(host, written, routes=bool(rule.routes), hint=hint, field=field, report=report)
        for other in directory.virtual_services.namesakes(host):
            if other.precedence >= rule.precedence:
                break
            # routes of connections are joined; only of those of requests one rule wins
            if other.routes and rule.routes and _overlap(other.export_to, rule.export_to):
                message = f'VirtualService {other.full_name} is older and already routes "{written}"; it wins.'
                hint = "Merge the two, or let exportTo keep them apart."
                yield report.error(field, message, hint, codes.CONFLICTING_HOSTS)
                break


def _unregistered(host: str, written: str, *, routes: bool, hint: str, field: str, report: Report) -> Problem:
    """A host of no service. A name of the cluster is a mistake, most likely; any other may be meant so."""
    message = f'host not found "{written}", '
    if not routes or host == "*":
        return report.warning(field, f"{message}so nothing is routed by it.", hint, codes.NOT_FOUND)
    message += f"so requests to it are routed on port {unregistered_hosts.PORT} only."
    if "." not in written or ".svc." in host:
        return report.warning(field, message, hint, codes.NOT_FOUND)
    return report.info(field, message, f"{hint} It says which ports the host has.", codes.NOT_FOUND)


def _destinations(rule: RoutingRule, client: Client, directory: Directory, report: Report) -> Iterator[Problem]:
    """Resolve each destination for every port that its requests may come in on."""
    ports = server_ports(rule, directory.gateways)
    if rule.in_mesh:
        ports |= {port.number for each in _services(rule.hosts, directory) for port in each.service.ports}
    unregistered = rule.in_mesh and not all(_services((host,), directory) for host in rule.hosts)
    asked_for = ports | {unregistered_hosts.PORT} if unregistered else ports
    reached = [(each, asked_for) for route in rule.routes for each in route.references]
    for stream in rule.streams:
        asked = {each.port for each in stream.conditions}
        # a route for single ports is not asked about others
        reached += [(each, ports if 0 in asked else ports & asked) for each in stream.targets]
    for target, numbers in reached:
        for port in sorted(numbers or {0}):
            found = resolve(target, port, client, directory)
            if isinstance(found, Missing):
                yield report.error(found.field, f"{found.reason}.", found.hint, found.code)


def _delegates(rule: RoutingRule, directory: Directory, report: Report) -> Iterator[Problem]:
    for route in rule.routes:
        found = delegates.find(route, rule, directory.virtual_services.by_name) if route.delegate else None
        if isinstance(found, delegates.NoDelegate):
            field = f"{route.field}.delegate"
            yield report.error(field, f"{found.reason}: requests get 503.", found.hint, codes.NOT_FOUND)


def _services(hosts: Iterable[str], directory: Directory) -> list[Registered]:
    found: list[Registered] = []
    for host in hosts:
        if host.startswith("*"):
            found += [each for name, each in directory.services.items() if host_matches(host, name)]
        elif host in directory.services:
            found.append(directory.services[host])
        else:
            # an entry for all hosts below a name
            found += [
                each for name, each in directory.services.items() if name[0] == "*" and host_matches(name, host)
            ]
    return found


def _overlap(one: frozenset[str], other: frozenset[str]) -> bool:
    if not (one and other):
        return True
    return EVERYWHERE in one or EVERYWHERE in other or not one.isdisjoint(other)
