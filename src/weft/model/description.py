"""What all rules come to for one pod or one service, in words: what `weft x describe` shows."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from weft.api.virtual_service_checks import MESH
from weft.base.problem import Problem
from weft.model.authorization import Action, PolicyRule
from weft.model.client_tls import TlsMode
from weft.model.clients import Client
from weft.model.destination_rules import TrafficRule
from weft.model.gateways import Gateway, Server
from weft.model.http_rules import RouteRule, Target
from weft.model.kubernetes import Workload
from weft.model.registered import Key, Registered
from weft.model.routing import MatchKind, RequestMatch, StringMatch
from weft.model.routing_rule import RoutingRule
from weft.model.rule import Rule
from weft.model.services import Labels, Protocol
from weft.model.snapshot import Snapshot
from weft.model.traffic import ConnectionPool, LoadBalancer, TrafficPolicy

Addresses = Mapping[Key, tuple[str, ...]]
"""The addresses outside the cluster at which Services are reached, by namespace and name."""

_IN_ORDER = (Action.CUSTOM, Action.AUDIT, Action.DENY, Action.ALLOW)


@dataclass(frozen=True, slots=True)
class Note:
    """Something that is so, with what belongs to it."""

    text: str
    under: tuple["Note", ...] = ()


@dataclass(slots=True)
class _Telling:
    """What is told of one subject. `own` are a pod's labels, None for a service; `met` the objects that matter."""

    snapshot: Snapshot
    namespace: str
    addresses: Addresses
    own: Labels | None = None
    met: set[tuple[str, str, str]] = field(default_factory=set)

    def service(self, found: Registered, workload: Workload | None) -> Note:
        """Its ports, and the rules that say how it is called."""
        service, directory = found.service, self.snapshot.directory
        client = Client(self.namespace, ())
        self.met.add(("Service", service.namespace, found.listing.origin or service.name))
        names = dict(workload.ports if workload else ())
        ports = [
            Note(f"Port: {port.name or 'unnamed'} {port.number}/{_spoken(port.protocol)} {_target(to, names)}")
            for port, to in zip(service.ports, found.listing.targets, strict=True)
        ]
        rules = [self._destination_rule(each) for each in directory.traffic_rules(service, client)]
        routing = [self._virtual_service(each, found) for each in self._routing(found) if each.in_mesh]
        return Note(f"Service: {self._named(service.name, service.namespace)}", (*ports, *rules, *routing))

    def exposed(self, services: Iterable[Registered]) -> Iterator[Note]:
        """The gateways through which services are reached from outside."""
        directory = self.snapshot.directory
        for found in services:
            for rule in self._routing(found):
                for path in rule.gateways:
                    gateway = directory.gateways.by_path.get(path)
                    if gateway is not None:
                        yield from self._exposed(gateway, rule, found)

    def peers(self, workload: Workload) -> Iterator[Note]:
        """What callers may speak, and by which policies."""
        policies = self.snapshot.directory.peer_authentications
        modes = policies.modes(workload.namespace, workload.labels)
        effective = [Note(f"Workload mTLS mode: {modes.mode}")]
        effective += [Note(f"Port {number} mTLS mode: {mode}") for number, mode in modes.ports]
        yield Note("Effective PeerAuthentication:", tuple(effective))
        applied = policies.in_force(workload.namespace, workload.labels)
        self._meet("PeerAuthentication", applied)
        if applied:
            yield Note("Applied PeerAuthentication:", tuple(Note(each.full_name) for each in applied))

    def policies(self, workload: Workload) -> Iterator[Note]:
        """Which tokens are taken, and who may call."""
        directory, root, labels = self.snapshot.directory, self.snapshot.mesh.root_namespace, dict(workload.labels)
        for each in directory.request_authentications.rules:
            if each.scope.takes(workload.namespace, labels, root):
                self._meet("RequestAuthentication", (each,))
                issuers = ", ".join(dict.fromkeys(token.issuer for token in each.tokens)) or "none"
                yield Note(f"RequestAuthentication: {each.full_name}", (Note(f"Issuers: {issuers}"),))
        rules = [
            each for each in directory.authorizations.rules if each.scope.takes(workload.namespace, labels, root)
        ]
        if not rules:
            return
        self._meet("AuthorizationPolicy", rules)
        listed = [_authorization(each) for action in _IN_ORDER for each in rules if each.action is action]
        if any(each.action is Action.ALLOW and not each.policy.dry_run for each in rules):
            listed.append(Note("what no ALLOW policy is for is denied"))
        yield Note("AuthorizationPolicies:", tuple(listed))

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the objects that were met."""
        return tuple(
            each for each in self.snapshot.problems if (each.at.kind, each.at.namespace, each.at.name) in self.met
        )

    def _routing(self, found: Registered) -> list[RoutingRule]:
        """The VirtualServices that name a service, or lead to it."""
        hostname = found.service.hostname
        rules = self.snapshot.directory.virtual_services.rules
        return [each for each in rules if hostname in each.hosts or hostname in each.targets]

    def _destination_rule(self, rule: TrafficRule) -> Note:
        self._meet("DestinationRule", (rule,))
        notes = []
        if self.own is None:
            notes += [Note(f"Subset: {each.name} ({_labels(each.labels)})") for each in rule.subsets]
        elif rule.subsets:
            fitting = [each.name for each in rule.subsets if set(each.labels) <= set(self.own)]
            others = [each.name for each in rule.subsets if each.name not in fitting]
            beside = f" (not {', '.join(others)})" if others else ""
            notes.append(
                Note(f"Matching subsets: {', '.join(fitting)}{beside}")
                if fitting
                else Note(f"WARNING: the pod is in no subset (checked {', '.join(others)})")
            )
        notes += _policy(rule.policy, "Traffic Policy")
        for number, policy in rule.ports:
            notes += _policy(policy, f"Traffic Policy of port {number}")
        name = self._named(rule.name, rule.namespace)
        return Note(f'DestinationRule: {name} for "{rule.written_host}"', tuple(notes))

    def _virtual_service(self, rule: RoutingRule, found: Registered) -> Note:
        self._meet("VirtualService", (rule,))
        hostname, services = found.service.hostname, self.snapshot.directory.virtual_services
        notes = []
        in_force = services.find(hostname, Client(self.namespace, ()))
        if (
            hostname in rule.hosts
            and rule.routes
            and in_force is not None
            and in_force.full_name != rule.full_name
        ):
            notes.append(Note(f"WARNING: not in force, since {in_force.full_name} is older and for the same host"))
        notes += self._routes(rule, hostname, MESH)
        if rule.streams.tls:
            notes.append(Note(f"{len(rule.streams.tls)} TLS route(s)"))
        if rule.streams.tcp:
            notes.append(Note(f"{len(rule.streams.tcp)} TCP route(s)"))
        return Note(f"VirtualService: {self._named(rule.name, rule.namespace)}", tuple(notes))

    def _routes(self, rule: RoutingRule, hostname: str, gateway: str) -> Iterator[Note]:
        """The routes of requests by a gateway, each with whether it leads to the subject."""
        here = False
        for route in rule.routes:
            text = _matches(route, gateway)
            if text is None:
                continue
            if route.delegate:
                yield Note(f"{text}: as VirtualService {route.delegate} has it")
                here = True
                continue
            leading = [each for each in route.targets if each.hostname == hostname and self._is_here(each)]
            here |= bool(leading)
            if leading:
                share = sum(each.weight for each in leading)
                total = sum(each.weight for each in route.targets)
                part = "" if share == total else f" {100 * share // (total or 1)}% of"
                subsets = ", ".join(dict.fromkeys(each.subset for each in leading if each.subset))
                yield Note(f"Route here:{part} {text}{f' (subset {subsets})' if subsets else ''}")
            else:
                yield Note(f"Route elsewhere: {text} to {_elsewhere(route)}")
        if rule.routes and not here:
            yield Note(f"WARNING: no route leads here (checked {len(rule.routes)} HTTP routes)")

    def _is_here(self, target: Target) -> bool:
        """Whether a destination at the service means the pod too."""
        if not target.subset or self.own is None:
            return True
        rules = self.snapshot.directory.destination_rules
        found = rules.rules_for(target.hostname, self.namespace, Client(self.namespace, ()))
        subset = next((each for rule in found for each in rule.subsets if each.name == target.subset), None)
        return subset is not None and set(subset.labels) <= set(self.own)

    def _exposed(self, gateway: Gateway, rule: RoutingRule, found: Registered) -> Iterator[Note]:
        self._meet("Gateway", (gateway,))
        self._meet("VirtualService", (rule,))
        for server in gateway.servers:
            hosts = dict.fromkeys(each for host in rule.hosts for each in server.common(host, rule.namespace))
            if not hosts:
                continue
            under = Note(
                f"VirtualService: {self._named(rule.name, rule.namespace)}",
                tuple(self._routes(rule, found.service.hostname, gateway.path)),
            )
            places = ", ".join(self._places(gateway, server, tuple(hosts)))
            yield Note(f"Exposed on Gateway {gateway.path}: {places}", (under,))

    def _places(self, gateway: Gateway, server: Server, hosts: tuple[str, ...]) -> Iterator[str]:
        """The URLs at which clients outside find a server's hosts, with the address where one is known."""
        scheme = "https" if server.tls is not None else "http" if server.routes_requests else "tcp"
        default = {"https": 443, "http": 80}.get(scheme)
        port = "" if server.number == default else f":{server.number}"
        known = dict.fromkeys(each for where in self._fronts(gateway) for each in self.addresses.get(where, ()))
        at = f" at {', '.join(known)}" if known else ""
        return (f"{scheme}://{host}{port}{at}" for host in hosts)

    def _fronts(self, gateway: Gateway) -> Iterator[Key]:
        """The Services in front of a gateway's pods."""
        pods = [each for each in self.snapshot.workloads.values() if set(gateway.selector) <= set(each.labels)]
        for found in self.snapshot.directory.services.values():
            service, selector = found.service, set(found.listing.selector)
            if selector and any(
                each.namespace == service.namespace and selector <= set(each.labels) for each in pods
            ):
                yield service.namespace, service.name

    def _meet(self, kind: str, rules: Iterable[Rule]) -> None:
        self.met.update((kind, each.namespace, each.name) for each in rules)

    def _named(self, name: str, namespace: str) -> str:
        return name if namespace == self.namespace else f"{name}.{namespace}"


def of_pod(snapshot: Snapshot, workload: Workload, addresses: Addresses) -> tuple[list[Note], tuple[Problem, ...]]:
    """What the rules come to for a pod, and what is wrong with those that matter to it."""
    telling = _Telling(snapshot, workload.namespace, addresses, workload.labels)
    services = _leading_to(snapshot, workload)
    notes = [telling.service(each, workload) for each in services]
    if not services:
        notes.append(Note("WARNING: no Service selects the pod: it is called by its address only"))
    if workload.mutual_tls:  # of those with a sidecar
        notes += telling.peers(workload)
        notes += telling.policies(workload)
    elif served := snapshot.directory.gateways.selecting(workload.labels):
        notes.append(Note("Gateways of this pod:", tuple(Note(each.path) for each in served)))
        notes += telling.policies(workload)
    else:
        notes.append(Note("WARNING: the pod has no sidecar: it takes plaintext, and no policy is enforced"))
    notes += telling.exposed(services)
    return notes, telling.problems()


def of_service(
    snapshot: Snapshot, found: Registered, addresses: Addresses
) -> tuple[list[Note], tuple[Problem, ...]]:
    """What the rules come to for a service, and what is wrong with those that matter to it."""
    service = found.service
    telling = _Telling(snapshot, service.namespace, addresses)
    notes = [telling.service(found, None)]
    pods = [
        each
        for each in snapshot.workloads.values()
        if each.namespace == service.namespace
        and found.listing.selector
        and set(found.listing.selector) <= set(each.labels)
    ]
    modes: dict[str, list[str]] = {}
    for pod in pods:
        mode = snapshot.directory.peer_authentications.modes(pod.namespace, pod.labels).mode
        modes.setdefault(f"mTLS mode {mode}" if pod.mutual_tls else "no sidecar", []).append(pod.pod)
    notes += [
        Note(f"{len(names)} pod(s), {mode}", tuple(map(Note, sorted(names)))) for mode, names in modes.items()
    ]
    if not pods:
        notes.append(Note("WARNING: no pod is behind it"))
    notes += telling.exposed((found,))
    return notes, telling.problems()


def _leading_to(snapshot: Snapshot, workload: Workload) -> list[Registered]:
    own = set(workload.labels)
    return [
        each
        for found in snapshot.directory.services.values()
        for each in found.all
        if each.service.namespace == workload.namespace
        and each.listing.selector
        and set(each.listing.selector) <= own
    ]


def _authorization(rule: PolicyRule) -> Note:
    how = ", dry run" if rule.policy.dry_run else ""
    how += f" by {rule.provider}" if rule.provider else ""
    return Note(f"{rule.action}{how}: {rule.full_name} ({len(rule.policy.clauses)} rule(s))")


def _spoken(protocol: Protocol) -> str:
    return "auto-detect" if protocol is Protocol.AUTO else protocol.value.upper()


def _target(target: int | str, names: Mapping[str, int]) -> str:
    if isinstance(target, int):
        return f"targets pod port {target}"
    return f"targets pod port {names.get(target, 'unknown')} ({target})"


def _labels(labels: Labels) -> str:
    return ",".join(f"{key}={value}" for key, value in labels)


def _policy(policy: TrafficPolicy | None, title: str) -> list[Note]:
    """What a policy says other than the default, in short."""
    if policy is None:
        return [Note(f"No {title}")]
    said = []
    if policy.tls.mode is not TlsMode.AUTO:
        said.append(f"TLS Mode: {policy.tls.mode}")
    if policy.load_balancer is not LoadBalancer.LEAST_REQUEST or policy.hash is not None:
        said.append("load balancer")
    if policy.pool != ConnectionPool():
        said.append("connection pool")
    if policy.outliers is not None:
        said.append("outlier detection")
    if policy.locality is not None:
        said.append("localities")
    return [Note(f"{title}: {', '.join(said) or 'others'}")]


def _matches(route: RouteRule, gateway: str) -> str | None:
    """What a route is for, None where nothing comes by this gateway."""
    if route.conditions is None:
        return "every request"
    fitting = [each.request for each in route.conditions if not each.gateways or gateway in each.gateways]
    return " or ".join(map(_match, fitting)) or None


def _match(match: RequestMatch) -> str:
    said = [_string(match.uri)] if match.uri else []
    said += [
        f"{name} {_string(each)}" for name, each in (("method", match.method), ("host", match.authority)) if each
    ]
    said += [f"header {name}: {_string(each)}" for name, each in match.headers]
    said += [f"without header {name}: {_string(each)}" for name, each in match.without_headers]
    said += [f"parameter {name}={_string(each)}" for name, each in match.query]
    said += [f"claim {'.'.join(path)}: {_string(each)}" for path, each in match.claims]
    said += [f"without claim {'.'.join(path)}: {_string(each)}" for path, each in match.without_claims]
    return ", ".join(said) or "every request"


def _string(match: StringMatch) -> str:
    match match.kind:
        case MatchKind.PREFIX:
            return f"{match.value}*"
        case MatchKind.REGEX:
            return f"~{match.value}"
        case MatchKind.PRESENT:
            return "*"
        case _:
            return match.value


def _elsewhere(route: RouteRule) -> str:
    said = [f"{each.written}{f' subset {each.subset}' if each.subset else ''}" for each in route.targets]
    return ", ".join(said) or ("an answer of the proxy's own" if route.route.outcome else "nowhere")
