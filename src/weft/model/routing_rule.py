"""A VirtualService, translated."""

from dataclasses import dataclass

from weft.api import virtual_service as api
from weft.api.virtual_service_checks import MESH
from weft.base.names import full_host
from weft.model.clients import exported_to
from weft.model.gateway_names import gateway_path
from weft.model.http_rules import RouteRule, route_rule
from weft.model.rule import Rule
from weft.model.stream_rules import NO_STREAMS, StreamRules, stream_rules


@dataclass(frozen=True, slots=True)
class RoutingRule(Rule):
    """A VirtualService with full host names.

    `gateways` are where it holds, by `namespace/name`, MESH for sidecars. `label_keys` are the labels that it asks
    of clients, `targets` the hosts that its routes lead to.
    Without `hosts` it is a delegate: its routes hold where another rule leaves some of its own to it.
    """

    hosts: tuple[str, ...]
    written_hosts: tuple[str, ...]
    export_to: frozenset[str]
    in_mesh: bool
    routes: tuple[RouteRule, ...]
    label_keys: frozenset[str]
    targets: frozenset[str]
    gateways: tuple[str, ...] = (MESH,)
    streams: StreamRules = NO_STREAMS

    @property
    def client_labels(self) -> frozenset[str]:
        """The labels that its sourceLabels ask for."""
        return self.label_keys


def routing_rule(source: api.VirtualService, domain: str) -> RoutingRule:
    """Translate a VirtualService that has passed its checks."""
    meta, spec = source.metadata, source.spec
    routes = tuple(route_rule(route, index, meta.namespace, domain) for index, route in enumerate(spec.http))
    streams = stream_rules(spec, meta.namespace, domain)
    keys = {key for route in routes for each in route.conditions or () for key, _ in each.labels}
    return RoutingRule(
        name=meta.name,
        namespace=meta.namespace,
        created=meta.creation_timestamp or "",
        hosts=tuple(full_host(host, meta.namespace, domain) for host in spec.hosts),
        written_hosts=spec.hosts,
        export_to=exported_to(spec.export_to, meta.namespace),
        in_mesh=not spec.gateways or MESH in spec.gateways,
        gateways=tuple(gateway_path(each, meta.namespace) for each in spec.gateways) or (MESH,),
        routes=routes,
        label_keys=frozenset((*keys, *streams.label_keys)),
        targets=frozenset(
            (*(target.hostname for route in routes for target in route.references), *streams.hostnames)
        ),
        streams=streams,
    )
