"""The TLS and TCP routes of a VirtualService, translated."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network

from weft.api import virtual_service as api
from weft.api.virtual_service_checks import MESH
from weft.base.names import full_host
from weft.model.clients import Client, sorted_labels
from weft.model.gateway_names import gateway_path
from weft.model.http_rules import Target
from weft.model.services import Labels
from weft.model.streams import EVERY, StreamMatch


@dataclass(frozen=True, slots=True)
class StreamCondition:
    """One entry of a route's `match`: what Envoy tests, and what is known beforehand. `port` 0 means any.

    `gateways` are as in `RoutingRule`, none for those of the whole rule.
    """

    match: StreamMatch
    port: int = 0
    labels: Labels = ()
    namespace: str = ""
    gateways: tuple[str, ...] = ()

    def may_hold(self, client: Client, port: int, gateway: str = MESH) -> bool:
        """Whether connections of this client to this port, by this gateway, can match."""
        return (
            self.port in {0, port}
            and self.namespace in {"", client.namespace}
            and client.has(self.labels)
            and (not self.gateways or gateway in self.gateways)
        )


@dataclass(frozen=True, slots=True)
class StreamRule:
    """One entry of `spec.tls` or `spec.tcp`. `conditions` are alternatives; `targets` share the connections."""

    field: str
    conditions: tuple[StreamCondition, ...]
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class StreamRules:
    """All routes of connections of a VirtualService, in order."""

    tls: tuple[StreamRule, ...] = ()
    tcp: tuple[StreamRule, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.tls or self.tcp)

    def __iter__(self) -> Iterator[StreamRule]:
        yield from self.tls
        yield from self.tcp

    @property
    def label_keys(self) -> Iterator[str]:
        """The labels that they ask of clients."""
        return (key for each in self for condition in each.conditions for key, _ in condition.labels)

    @property
    def hostnames(self) -> Iterator[str]:
        """The hosts that they lead to."""
        return (target.hostname for each in self for target in each.targets)


NO_STREAMS = StreamRules()


def stream_rules(spec: api.VirtualServiceSpec, namespace: str, domain: str) -> StreamRules:
    """Translate the routes of connections of a VirtualService in `namespace` that has passed its checks."""
    return StreamRules(
        tls=tuple(_tls(route, f"spec.tls[{index}]", namespace, domain) for index, route in enumerate(spec.tls)),
        tcp=tuple(_tcp(route, f"spec.tcp[{index}]", namespace, domain) for index, route in enumerate(spec.tcp)),
    )


def _tls(route: api.TlsRoute, field: str, namespace: str, domain: str) -> StreamRule:
    conditions = tuple(
        StreamCondition(
            StreamMatch(_names(match.sni_hosts), _blocks(match.destination_subnets)),
            match.port or 0,
            sorted_labels(match.source_labels),
            match.source_namespace,
            tuple(gateway_path(each, namespace) for each in match.gateways),
        )
        for match in route.match
    )
    return StreamRule(field, conditions, _targets(route.route, field, namespace, domain))


def _tcp(route: api.TcpRoute, field: str, namespace: str, domain: str) -> StreamRule:
    conditions = tuple(
        StreamCondition(
            StreamMatch(
                destinations=_blocks(match.destination_subnets),
                sources=_blocks((match.source_subnet,) if match.source_subnet else ()),
            ),
            match.port or 0,
            sorted_labels(match.source_labels),
            match.source_namespace,
            tuple(gateway_path(each, namespace) for each in match.gateways),
        )
        for match in route.match
    )
    every = (StreamCondition(EVERY),)
    return StreamRule(field, conditions or every, _targets(route.route, field, namespace, domain))


def _names(written: tuple[str, ...]) -> tuple[str, ...]:
    return () if "*" in written else tuple(dict.fromkeys(each.lower() for each in written))


def _blocks(written: tuple[str, ...]) -> tuple[str, ...]:
    blocks = tuple(dict.fromkeys(ip_network(each, strict=False) for each in written))
    return tuple(map(str, blocks)) if all(each.prefixlen for each in blocks) else ()


def _targets(
    destinations: tuple[api.StreamDestination, ...], field: str, namespace: str, domain: str
) -> tuple[Target, ...]:
    return tuple(
        Target(
            field=f"{field}.route[{index}].destination",
            hostname=full_host(each.destination.host, namespace, domain),
            written=each.destination.host,
            port=each.destination.port.number if each.destination.port else 0,
            subset=each.destination.subset,
            weight=100 if len(destinations) == 1 else each.weight or 0,
        )
        for index, each in enumerate(destinations)
    )
