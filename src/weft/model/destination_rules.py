"""DestinationRules, translated once, and which of them is in force for a host and a client."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from weft.api import destination_rule as api
from weft.base.names import full_host, host_matches
from weft.model.clients import Client, exported_to, is_visible, sorted_labels
from weft.model.locality import Nearness
from weft.model.mesh_config import MeshConfig
from weft.model.placing import placement
from weft.model.rule import Rule
from weft.model.services import Labels, Service
from weft.model.traffic import HostTraffic, PortPolicies, Subset, TrafficPolicy
from weft.model.traffic_policies import overridden, port_policies, subset_ports

NO_RULE: Final = HostTraffic()
"""How to talk to a host without a DestinationRule."""


@dataclass(frozen=True, slots=True)
class TrafficRule(Rule):
    """A DestinationRule with its host's full name; subsets have their whole policy, overrides included."""

    host: str
    written_host: str
    export_to: frozenset[str]
    selector: Labels
    policy: TrafficPolicy | None
    ports: PortPolicies
    subsets: tuple[Subset, ...]

    @property
    def client_labels(self) -> frozenset[str]:
        """The labels by which it selects its clients."""
        return frozenset(key for key, _ in self.selector)

    @property
    def traffic(self) -> HostTraffic:
        """The rule as if no other were in force."""
        policy = self.policy or TrafficPolicy()
        return HostTraffic(policy, self.subsets, self.full_name, self.ports, bool(self.selector))


def traffic_rule(source: api.DestinationRule, domain: str) -> TrafficRule:
    """Translate a DestinationRule that has passed its checks."""
    meta, spec = source.metadata, source.spec
    policy = None if spec.traffic_policy is None else overridden(TrafficPolicy(), spec.traffic_policy)
    base = policy or TrafficPolicy()
    ports = port_policies(base, spec.traffic_policy)
    return TrafficRule(
        name=meta.name,
        namespace=meta.namespace,
        created=meta.creation_timestamp or "",
        host=full_host(spec.host, meta.namespace, domain),
        written_host=spec.host,
        export_to=exported_to(spec.export_to, meta.namespace),
        selector=sorted_labels(spec.workload_selector.match_labels) if spec.workload_selector else (),
        policy=policy,
        ports=ports,
        subsets=tuple(_subset(each, base, ports) for each in spec.subsets),
    )


def _subset(written: api.Subset, base: TrafficPolicy, ports: PortPolicies) -> Subset:
    policy = overridden(base, written.traffic_policy)
    own = port_policies(policy, written.traffic_policy)
    return Subset(
        written.name, sorted_labels(written.labels), policy, subset_ports(ports, own, written.traffic_policy)
    )


class DestinationRules:
    """The DestinationRules, found by host and client. Not changed once made."""

    def __init__(self, rules: Iterable[TrafficRule], mesh: MeshConfig) -> None:
        self.rules = tuple(sorted(rules, key=lambda rule: rule.precedence))
        self.mesh = mesh
        self.near_labels: frozenset[str] = frozenset()
        """All labels of clients on which the order of a host's endpoints depends by some rule."""
        self._near: dict[str, frozenset[str]] = {}
        self._by_place: dict[tuple[str, str], tuple[TrafficRule, ...]] = {}
        self._wild: dict[str, tuple[str, ...]] = {}
        for rule in self.rules:
            self._near[rule.full_name] = near = self._near_labels(rule.traffic, Nearness.ANY)
            self.near_labels |= near
            place = (rule.namespace, rule.host)
            self._by_place[place] = (*self._by_place.get(place, ()), rule)
            if rule.host.startswith("*"):
                patterns = {*self._wild.get(rule.namespace, ()), rule.host}
                self._wild[rule.namespace] = tuple(sorted(patterns, key=lambda each: (-len(each), each)))

    def rules_for(self, hostname: str, service_namespace: str, client: Client) -> tuple[TrafficRule, ...]:
        """The rules in force for a host: those of the client's namespace, else the service's, else the root's.

        In one namespace the closest host counts. Rules that select clients by label go before those that do not;
        the rest are merged by `traffic`.
        """
        for namespace in dict.fromkeys((client.namespace, service_namespace, self.mesh.root_namespace)):
            for host in (hostname, *self._patterns(namespace, hostname)):
                rules = [each for each in self._by_place.get((namespace, host), ()) if _in_force(each, client)]
                if rules:
                    return tuple(sorted(rules, key=lambda rule: not rule.selector))
        return ()

    def label_keys(self, service: Service, client_namespace: str) -> frozenset[str]:
        """The labels by which rules for this service tell clients apart: to select them, or by where they are."""
        keys = set(self.near_labels_of(service.nearness))
        for namespace in {client_namespace, service.namespace, self.mesh.root_namespace}:
            for host in (service.hostname, *self._patterns(namespace, service.hostname)):
                for each in self._by_place.get((namespace, host), ()):
                    keys |= each.client_labels | self._near[each.full_name]
        return frozenset(keys)

    def near_labels_of(self, nearness: Nearness) -> frozenset[str]:
        """The labels of clients that matter to services without a rule that have this preference."""
        return self._near_labels(NO_RULE, nearness)

    def near(self, service: Service, traffic: HostTraffic, client: Client) -> Labels:
        """The labels of a client by which endpoints of a service are near to it, or far."""
        keys = self._near_labels(traffic, service.nearness)
        return client.narrowed(keys).labels if client.labels else ()

    def _near_labels(self, traffic: HostTraffic, nearness: Nearness) -> frozenset[str]:
        keys: frozenset[str] = frozenset()
        for policy in traffic.policies:
            if policy.outliers is None and self.mesh.outliers is not None:
                policy = replace(policy, outliers=self.mesh.outliers)  # noqa: PLW2901, as it is in force
            placed = placement(policy, nearness, self.mesh.locality, self.mesh.zones)
            if placed is not None:
                keys |= placed.labels
        return keys

    def _patterns(self, namespace: str, hostname: str) -> Iterable[str]:
        return (pattern for pattern in self._wild.get(namespace, ()) if host_matches(pattern, hostname))


def traffic(rules: tuple[TrafficRule, ...]) -> HostTraffic:
    """Merge the rules in force for one host: the first policy wins, subsets add up, the first of a name wins."""
    match rules:
        case ():
            return NO_RULE
        case (only,):
            return only.traffic
        case _:
            first = next((each for each in rules if each.policy is not None), rules[0]).traffic
            subsets: dict[str, Subset] = {}
            for rule in rules:
                for subset in rule.subsets:
                    subsets.setdefault(subset.name, subset)
            return replace(first, subsets=tuple(subsets.values()), rule=rules[0].full_name)


def _in_force(rule: TrafficRule, client: Client) -> bool:
    if rule.selector and (rule.namespace != client.namespace or not client.has(rule.selector)):
        return False
    return is_visible(rule.export_to, client.namespace)
