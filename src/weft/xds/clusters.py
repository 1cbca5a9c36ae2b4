"""Where requests can go: clusters of services (CDS)."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from google.protobuf import duration_pb2, struct_pb2

from weft.model.client_tls import TlsMode
from weft.model.locality import ZoneAwareLb
from weft.model.mesh_config import NO_TLS_LIMITS, TlsLimits
from weft.model.placing import Group
from weft.model.services import Protocol
from weft.model.traffic import TrafficPolicy
from weft.xds import client_tls, cluster_policies, discovery, encode, names, protocols, tls
from weft.xds.client_tls import Origination
from weft.xds.discovery import Discovery
from weft.xds.endpoints import localities
from weft.xds.proto import (
    base_pb2,
    circuit_breaker_pb2,
    cluster_pb2,
)
from weft.xds.resource import CLUSTER, Resource

_LB: Any = cluster_pb2.Cluster
_REFRESH = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class OutboundCluster:
    """One service port, or one subset of it, as clients reach it.

    `identities` are the SPIFFE IDs that its endpoints may have, sorted. `all_mutual` says that each known endpoint
    takes mTLS: it decides for DIALLED, where Envoy sees no metadata of endpoints. `resolved` are endpoints for
    the DNS to find; `target`, if not 0, is dialled in place of the port that the client dialled.
    `refresh` is how long an answer of the DNS without a time to live counts; `ipv6`: which addresses to ask for.
    `dns_name`: the name behind an alias. `credentials`: this client may ask for the Secret that its policy names.
    `weighted`: its localities have weights. `zones`: Envoy is to keep traffic in the client's zone.
    `stat_name` is what it is counted under, empty for its name. `aliases` are trust domains that count as the
    mesh's own, `mutual` and `limits` what handshakes of its own mTLS and of other TLS may agree on.
    `at_edge`: for gateways. `passed_on`: for connections that are encrypted already and asked for it by server
    name, which is the cluster's.
    """

    hostname: str
    name: str
    namespace: str
    port: int
    protocol: Protocol
    subset: str
    policy: TrafficPolicy
    rule: str
    discovery: Discovery
    identities: tuple[str, ...]
    trust_domain: str
    resolved: tuple[Group, ...] = ()
    target: int = 0
    refresh: timedelta = _REFRESH
    ipv6: bool = False
    all_mutual: bool = False
    dns_name: str = ""
    credentials: bool = False
    weighted: bool = False
    zones: ZoneAwareLb | None = None
    stat_name: str = ""
    aliases: tuple[str, ...] = ()
    mutual: TlsLimits = NO_TLS_LIMITS
    limits: TlsLimits = NO_TLS_LIMITS
    passed_on: bool = False
    at_edge: bool = False

    @property
    def cluster(self) -> str:
        """`outbound|80|v1|HOST`, or `outbound_.80_.v1_.HOST` for what is passed on."""
        spell = names.sni if self.passed_on else names.outbound_cluster
        return spell(self.hostname, self.port, self.subset)

    @property
    def finds_sidecars(self) -> bool:
        """Whether some endpoint that it brings itself takes mTLS."""
        return any(each.mutual_tls for group in self.resolved for each in group.endpoints)

    @property
    def origination(self) -> Origination | None:
        """TLS of the host's own, if the policy asks for it and this client can have what it takes."""
        settings = self.policy.tls
        if self.passed_on or not settings.mode.originates or (settings.credential and not self.credentials):
            return None
        http = self.protocol.is_http or self.protocol is Protocol.AUTO
        one = "" if "*" in self.hostname else self.dns_name or self.hostname
        http2 = protocols.always_http2(self.protocol, self.policy)
        return Origination(settings, one, http, http2, self.limits)


def outbound_cluster(config: OutboundCluster) -> Resource:
    """The cluster `outbound|PORT|SUBSET|HOSTNAME`."""
    name = config.cluster
    cluster = _base(name, config.policy)
    cluster_policies.apply(cluster, config.policy)
    _localities(cluster, config)
    cluster.metadata.CopyFrom(_metadata(config))
    # an endpoint that leaves is believed at once: Envoy would gather such news for a second (update_merge_window)
    cluster.common_lb_config.update_merge_window.CopyFrom(duration_pb2.Duration())
    cluster.typed_extension_protocol_options[protocols.HTTP_OPTIONS].CopyFrom(
        protocols.http_options(config.protocol, config.policy, config.origination, at_edge=config.at_edge)
    )
    _discover(cluster, config)
    if not config.passed_on:
        _secure(cluster, config)
    cluster.alt_stat_name = config.stat_name
    if config.policy.proxy_protocol:
        _announce(cluster, config.policy.proxy_protocol)
    return encode.resource(CLUSTER, name, cluster)


def _base(name: str, policy: TrafficPolicy = protocols.NO_POLICY) -> Any:
    limits = cluster_policies.thresholds(policy.pool, policy.retry_budget)
    return cluster_pb2.Cluster(
        name=name,
        connect_timeout=encode.duration(cluster_policies.CONNECT_TIMEOUT),
        circuit_breakers=circuit_breaker_pb2.CircuitBreakers(thresholds=[limits]),
    )


def _discover(cluster: Any, config: OutboundCluster) -> None:
    match config.discovery:
        case Discovery.EDS:
            discovery.told(cluster)
        case Discovery.DIALLED:
            discovery.as_dialled(cluster, config.target)
        case Discovery.DNS | Discovery.DNS_ROUND_ROBIN:
            each = config.discovery is Discovery.DNS
            found = localities(config.resolved, weighted=config.weighted)
            discovery.by_dns(cluster, found, config.refresh, each_address=each, ipv6=config.ipv6)
        case Discovery.DYNAMIC_DNS:
            discovery.by_request(cluster)


def _localities(cluster: Any, config: OutboundCluster) -> None:
    if cluster.HasField("load_balancing_policy"):
        # a policy of that kind brings its own way with localities; zones it knows none of
        if config.weighted:
            cluster_policies.weigh_localities(cluster)
    elif config.zones is not None:
        zones = cluster.common_lb_config.zone_aware_lb_config
        zones.routing_enabled.value = 100 if config.zones.enabled else 0
        zones.min_cluster_size.value = config.zones.min_cluster_size
    elif config.weighted:
        cluster.common_lb_config.locality_weighted_lb_config.SetInParent()


def _secure(cluster: Any, config: OutboundCluster) -> None:
    match config.policy.tls.mode:
        case TlsMode.DISABLE:
            pass
        case TlsMode.SIMPLE | TlsMode.MUTUAL:
            if config.origination is not None:
                cluster.transport_socket.CopyFrom(client_tls.socket(config.origination))
        case TlsMode.ISTIO_MUTUAL:
            cluster.transport_socket.CopyFrom(_mutual(config))
        case TlsMode.AUTO if config.discovery is Discovery.DIALLED:
            if config.all_mutual:
                cluster.transport_socket.CopyFrom(_mutual(config))
        case TlsMode.AUTO if config.discovery is Discovery.EDS or config.finds_sidecars:
            matches: tuple[tuple[str, dict[str, str], Any], ...] = (
                ("tlsMode-istio", {"tlsMode": "istio"}, _mutual(config)),
                ("tlsMode-disabled", {}, tls.plaintext()),
            )
            for name, labels, socket in matches:
                match = struct_pb2.Struct()
                match.update(labels)
                cluster.transport_socket_matches.append(
                    _LB.TransportSocketMatch(name=name, match=match, transport_socket=socket)
                )
        case TlsMode.AUTO:
            pass  # a host outside the mesh takes no mTLS of ours


def _announce(cluster: Any, version: int) -> None:
    """Say the client's address first, by the PROXY protocol."""
    for each in cluster.transport_socket_matches:
        each.transport_socket.CopyFrom(cluster_policies.through_proxy_protocol(each.transport_socket, version))
    socket = cluster.transport_socket if cluster.HasField("transport_socket") else tls.plaintext()
    cluster.transport_socket.CopyFrom(cluster_policies.through_proxy_protocol(socket, version))


def _mutual(config: OutboundCluster) -> Any:
    alpn = (*tls.TCP_ALPN, "h2") if protocols.always_http2(config.protocol, config.policy) else tls.TCP_ALPN
    settings = config.policy.tls
    own = f"spiffe://{config.trust_domain}/"
    known = settings.names or config.identities
    others = (each.replace(own, f"spiffe://{alias}/", 1) for alias in config.aliases for each in known)
    return tls.mutual_upstream(
        settings.sni or names.sni(config.hostname, config.port, config.subset),
        tuple(dict.fromkeys((*known, *others))),
        tuple(f"spiffe://{each}/ns/{config.namespace}/" for each in (config.trust_domain, *config.aliases)),
        alpn,
        config.mutual,
    )


def _metadata(config: OutboundCluster) -> Any:
    istio = struct_pb2.Struct()
    istio["services"] = [_service(config.hostname, config.name, config.namespace)]
    if config.subset:
        istio["subset"] = config.subset
    if config.rule:
        istio["config"] = names.config_path(config.rule, "destination-rule")
    if protocols.always_http2(config.protocol, config.policy):
        istio["http2"] = True
    elif config.at_edge and config.policy.pool.use_client_protocol:
        istio["client_protocol"] = True
    if config.origination is not None:
        istio[client_tls.ALPN_OVERRIDE] = "false"
    return base_pb2.Metadata(filter_metadata={"istio": istio})


def _service(hostname: str, name: str = "", namespace: str = "") -> dict[str, str]:
    parts = hostname.split(".")
    return {
        "host": hostname,
        "name": name or parts[0],
        "namespace": namespace or (parts[1] if len(parts) > 1 else ""),
    }
