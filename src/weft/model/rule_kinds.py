"""The kinds whose objects become rules: how each is translated, and where the directory keeps them all."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from weft.model.destination_rules import DestinationRules, traffic_rule
from weft.model.envoy_filters import EnvoyFilters, filter_rule
from weft.model.gateways import Gateways, gateway
from weft.model.mesh_config import MeshConfig
from weft.model.routing_rule import routing_rule
from weft.model.rule import Rule
from weft.model.virtual_services import VirtualServices


@dataclass(frozen=True, slots=True)
class RuleKind:
    """One kind. `translate` takes an object that has passed its checks and the cluster's domain.

    `collect` makes the collection of all rules, kept in the field `field` of `Directory`.
    """

    field: str
    translate: Callable[[Any, str], Rule]
    collect: Callable[[Iterable[Any], MeshConfig], Any]


RULE_KINDS: Final[Mapping[str, RuleKind]] = {
    "VirtualService": RuleKind("virtual_services", routing_rule, lambda rules, _: VirtualServices(rules)),
    "DestinationRule": RuleKind(
        "destination_rules", traffic_rule, lambda rules, mesh: DestinationRules(rules, mesh.root_namespace)
    ),
    "EnvoyFilter": RuleKind(
        "envoy_filters", filter_rule, lambda rules, mesh: EnvoyFilters(rules, mesh.root_namespace)
    ),
    "Gateway": RuleKind("gateways", gateway, lambda rules, _: Gateways(rules)),
}
