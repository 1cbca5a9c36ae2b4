"""EnvoyFilters, translated once, and the changes that they make for one proxy."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from weft.api import envoy_filter as api
from weft.api.envoy_filter_checks import MESSAGES, OLD_NAMES
from weft.api.envoy_values import parsed
from weft.base.regex import compiled
from weft.model.clients import sorted_labels
from weft.model.patches import (
    ChainMatch,
    ClusterMatch,
    Context,
    FilterClass,
    ListenerMatch,
    Operation,
    Part,
    Patch,
    TableMatch,
)
from weft.model.rule import Rule
from weft.model.services import Labels, Proxy, ProxyKind

VERSION: Final = "ISTIO_VERSION"
"""The key of the node metadata that `proxyVersion` looks at."""

_MAX_CLASSES: Final = 4096
_GATEWAY_NAME: Final = "gateway.networking.k8s.io/gateway-name"
_INSERTS: Final = frozenset({Operation.INSERT_BEFORE, Operation.INSERT_AFTER, Operation.INSERT_FIRST})
_ORDERED: Final = frozenset({Part.HTTP_FILTER, Part.NETWORK_FILTER, Part.LISTENER_FILTER, Part.HTTP_ROUTE})
_ELSEWHERE: Final = {
    ProxyKind.SIDECAR: frozenset({Context.GATEWAY, Context.WAYPOINT}),
    ProxyKind.ROUTER: frozenset({Context.SIDECAR_INBOUND, Context.SIDECAR_OUTBOUND, Context.WAYPOINT}),
}


@dataclass(frozen=True, slots=True)
class Conditional:
    """A change, and which proxies it is for: a pattern found in their version (empty for any), and metadata."""

    patch: Patch
    version: str
    metadata: Labels


@dataclass(frozen=True, slots=True)
class FilterRule(Rule):
    """An EnvoyFilter. `gateways` are the Gateways that it targets; `targeted` says that it targets anything."""

    selector: Labels
    targeted: bool
    gateways: frozenset[str]
    priority: int
    patches: tuple[Conditional, ...]


def filter_rule(source: api.EnvoyFilter, _domain: str) -> FilterRule:
    """Translate an EnvoyFilter that has passed its checks."""
    meta, spec = source.metadata, source.spec
    origin = f"{meta.name}.{meta.namespace}"
    return FilterRule(
        name=meta.name,
        namespace=meta.namespace,
        created=meta.creation_timestamp or "",
        selector=sorted_labels(spec.workload_selector.labels) if spec.workload_selector else (),
        targeted=bool(spec.target_refs),
        gateways=frozenset(each.name for each in spec.target_refs if each.kind == "Gateway"),
        priority=spec.priority,
        patches=tuple(_conditional(each, each.patch, origin) for each in spec.config_patches if each.patch),
    )


class EnvoyFilters:
    """All EnvoyFilters. Not changed once made; what a class of proxies gets is worked out once.

    `metadata_keys` are the keys of node metadata that any of them looks at.
    """

    def __init__(self, rules: Iterable[FilterRule], root_namespace: str) -> None:
        # Istio's order: the priority, then the mesh's own before the namespace's, then the older
        self.rules = tuple(
            sorted(rules, key=lambda each: (each.priority, each.namespace != root_namespace, *_age(each)))
        )
        self._root = root_namespace
        patches = [each for rule in self.rules for each in rule.patches]
        self._label_keys = {key for rule in self.rules for key, _ in rule.selector} | {_GATEWAY_NAME}
        keys = {key for each in patches for key, _ in each.metadata}
        self.metadata_keys = frozenset(keys | ({VERSION} if any(each.version for each in patches) else set()))
        self._known: dict[tuple[str, ProxyKind, Labels, Labels], tuple[Patch, ...]] = {}

    def patches(self, proxy: Proxy) -> tuple[Patch, ...]:
        """The changes for a proxy, in the order in which they are made; the same value for all of its class."""
        if not self.rules:
            return ()
        labels = tuple(pair for pair in proxy.labels if pair[0] in self._label_keys)
        metadata = tuple(pair for pair in proxy.metadata if pair[0] in self.metadata_keys)
        key = (proxy.namespace, proxy.kind, labels, metadata)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _MAX_CLASSES:
                self._known.clear()
            found = self._known[key] = tuple(self._find(proxy.namespace, proxy.kind, dict(labels), dict(metadata)))
        return found

    def _find(
        self, namespace: str, kind: ProxyKind, labels: dict[str, str], metadata: dict[str, str]
    ) -> Iterator[Patch]:
        for rule in self.rules:
            if rule.namespace not in {namespace, self._root} or not _selects(rule, namespace, labels):
                continue
            for each in rule.patches:
                if each.patch.context not in _ELSEWHERE[kind] and _is_for(each, metadata):
                    yield each.patch


def _age(rule: FilterRule) -> tuple[str, str]:
    return rule.created, rule.full_name


def _selects(rule: FilterRule, namespace: str, labels: dict[str, str]) -> bool:
    if rule.targeted:
        return rule.namespace == namespace and labels.get(_GATEWAY_NAME) in rule.gateways
    return all(labels.get(key) == value for key, value in rule.selector)


def _is_for(each: Conditional, metadata: dict[str, str]) -> bool:
    if each.version and not compiled(each.version).search(metadata.get(VERSION, "")):
        return False
    return all(metadata.get(key) == value for key, value in each.metadata)


def _conditional(source: api.ConfigPatch, patch: api.Patch, origin: str) -> Conditional:
    match = source.match or api.Match()
    part, operation = Part(str(source.apply_to)), Operation(str(patch.operation))
    if operation in _INSERTS and part not in _ORDERED:
        operation = Operation.ADD
    message = parsed(MESSAGES[part], patch.value or {})
    made = Patch(
        part=part,
        operation=operation,
        context=Context(match.context),
        value=message.SerializeToString(deterministic=True),
        origin=origin,
        filter_class=FilterClass(patch.filter_class),
        listener=_listener(match.listener or api.ListenerMatch()),
        table=_table(match.route_configuration or api.RouteConfigurationMatch()),
        cluster=_cluster(match.cluster or api.ClusterMatch()),
    )
    proxy = match.proxy or api.ProxyMatch()
    return Conditional(made, proxy.proxy_version or "", sorted_labels(proxy.metadata))


def _listener(match: api.ListenerMatch) -> ListenerMatch:
    chain = match.filter_chain or api.FilterChainMatch()
    inner = chain.filter or api.FilterMatch()
    protocols = tuple(each.strip() for each in chain.application_protocols.split(",") if each.strip())
    return ListenerMatch(
        name=match.name,
        port=match.port_number or 0,
        listener_filter=_current(match.listener_filter),
        chain=ChainMatch(
            name=chain.name,
            sni=chain.sni,
            transport_protocol=chain.transport_protocol,
            application_protocols=protocols,
            destination_port=chain.destination_port or 0,
            transport_socket=chain.transport_socket,
            filter=_current(inner.name),
            sub_filter=_current(inner.sub_filter.name if inner.sub_filter else ""),
        ),
    )


def _table(match: api.RouteConfigurationMatch) -> TableMatch:
    host = match.vhost or api.VirtualHostMatch()
    route = host.route or api.RouteMatch()
    return TableMatch(
        name=match.name,
        port=match.port_number or 0,
        port_name=match.port_name,
        gateway=match.gateway,
        virtual_host=host.name,
        domain=host.domain_name,
        by_route=host.route is not None,
        route=route.name,
        action=route.action,
    )


def _cluster(match: api.ClusterMatch) -> ClusterMatch:
    return ClusterMatch(match.name, match.service, match.subset, match.port_number or 0)


def _current(name: str) -> str:
    """The name that a filter has today."""
    return OLD_NAMES.get(name, name)
