"""The kinds whose objects become rules: how each is translated, and where the directory keeps them all."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from weft.base.problem import Problem
from weft.model.authorization import Authorizations, policy_rule
from weft.model.authorization_closed import closed
from weft.model.clients import exported_to
from weft.model.destination_rules import DestinationRules, traffic_rule
from weft.model.envoy_filters import EnvoyFilters, filter_rule
from weft.model.gateways import Gateways, gateway
from weft.model.mesh_config import MeshConfig
from weft.model.peer_authentications import PeerAuthentications, peer_rule
from weft.model.proxy_configs import ProxyConfigs, proxy_config_rule
from weft.model.request_authentication import RequestAuthentications, authentication_rule
from weft.model.routing_rule import routing_rule
from weft.model.rule import Rule
from weft.model.sidecars import Sidecars, sidecar_rule
from weft.model.virtual_services import VirtualServices


@dataclass(frozen=True, slots=True)
class RuleKind:
    """One kind. `translate` takes an object that has passed its checks and the cluster's domain.

    `collect` makes the collection of all rules, kept in the field `field` of `Directory`. `exports` gives the
    exportTo of rules that have none. `closed` takes an object that cannot be used, of which no older version is
    known, and its problems: what holds in its place, and what that does.
    """

    field: str
    translate: Callable[[Any, str], Rule]
    collect: Callable[[Iterable[Any], MeshConfig], Any]
    exports: Callable[[MeshConfig], tuple[str, ...]] | None = None
    closed: Callable[[Mapping[str, Any], tuple[Problem, ...]], tuple[Rule, str] | None] | None = None

    def exported(self, rule: Any, mesh: MeshConfig) -> Any:
        """The rule with the namespaces that it is in force in, where it does not say so itself."""
        if self.exports is None or rule.export_to:
            return rule
        return replace(rule, export_to=exported_to(self.exports(mesh), rule.namespace))


RULE_KINDS: Final[Mapping[str, RuleKind]] = {
    "VirtualService": RuleKind(
        "virtual_services",
        routing_rule,
        lambda rules, _: VirtualServices(rules),
        lambda mesh: mesh.routing_export,
    ),
    "DestinationRule": RuleKind(
        "destination_rules", traffic_rule, DestinationRules, lambda mesh: mesh.traffic_export
    ),
    "ProxyConfig": RuleKind(
        "proxy_configs", proxy_config_rule, lambda rules, mesh: ProxyConfigs(rules, mesh.root_namespace)
    ),
    "AuthorizationPolicy": RuleKind("authorizations", policy_rule, Authorizations, closed=closed),
    "EnvoyFilter": RuleKind(
        "envoy_filters", filter_rule, lambda rules, mesh: EnvoyFilters(rules, mesh.root_namespace)
    ),
    "Gateway": RuleKind("gateways", gateway, lambda rules, _: Gateways(rules)),
    "PeerAuthentication": RuleKind(
        "peer_authentications", peer_rule, lambda rules, mesh: PeerAuthentications(rules, mesh.root_namespace)
    ),
    "RequestAuthentication": RuleKind(
        "request_authentications",
        authentication_rule,
        lambda rules, mesh: RequestAuthentications(rules, mesh.root_namespace),
    ),
    "Sidecar": RuleKind("sidecars", sidecar_rule, lambda rules, mesh: Sidecars(rules, mesh.root_namespace)),
}
