"""The application behind its sidecar, and the three fixed clusters (CDS)."""

from dataclasses import dataclass
from typing import Any

from google.protobuf import struct_pb2

from weft.model.inbound import ServedPort
from weft.model.mesh_config import NO_LIMITS, MeshConfig, OutboundPolicy
from weft.model.services import Protocol
from weft.model.traffic import ConnectionPool
from weft.xds import cluster_policies, discovery, encode, names, protocols, stat_names
from weft.xds.endpoints import address
from weft.xds.proto import address_pb2, base_pb2, circuit_breaker_pb2, cluster_pb2, endpoint_pb2
from weft.xds.resource import CLUSTER, Resource

SOURCE = "127.0.0.6"
"""The sidecar's source address towards its application: iptables lets it through to the loopback."""

_LB: Any = cluster_pb2.Cluster


@dataclass(frozen=True, slots=True)
class InboundCluster:
    """A port of the proxy's own pod; `stat_name` is a pattern, empty for the cluster's name."""

    served: ServedPort
    stat_name: str = ""


def inbound_cluster(config: InboundCluster) -> Resource:
    """The cluster `inbound|PORT||`: the application in this pod, at the address dialled or a given one."""
    served = config.served
    port = served.port
    name = names.inbound_cluster(port.number)
    cluster = _to_application(name, port.protocol, served.pool)
    if served.endpoint:
        _at(cluster, served.endpoint)
    istio = struct_pb2.Struct()
    istio["services"] = [_service(port.hostname)]
    cluster.metadata.CopyFrom(base_pb2.Metadata(filter_metadata={"istio": istio}))
    if config.stat_name:
        cluster.alt_stat_name = stat_names.inbound(config.stat_name, port)
    return encode.resource(CLUSTER, name, cluster)


def fixed_clusters(mesh: MeshConfig) -> tuple[Resource, ...]:
    """BlackHoleCluster (nobody: 503), PassthroughCluster (as dialled) and InboundPassthroughClusterIpv4.

    Where hosts of requests are looked up, AllowAnyDynamicDNSCluster too.
    """
    black_hole = _base(names.BLACK_HOLE, NO_LIMITS)
    black_hole.type = _LB.STATIC
    passthrough = _base(names.PASSTHROUGH, mesh.pool)
    discovery.as_dialled(passthrough)
    passthrough.typed_extension_protocol_options[protocols.HTTP_OPTIONS].CopyFrom(
        protocols.http_options(Protocol.AUTO)
    )
    inbound = _to_application(names.INBOUND_PASSTHROUGH, Protocol.AUTO, NO_LIMITS)
    found = [black_hole, passthrough, inbound]
    if mesh.outbound is OutboundPolicy.ALLOW_ANY_DYNAMIC_DNS:
        found.append(_looked_up(mesh))
    return tuple(encode.resource(CLUSTER, cluster.name, cluster) for cluster in found)


def _looked_up(mesh: MeshConfig) -> Any:
    cluster = _base(names.DYNAMIC_DNS, mesh.pool)
    discovery.by_request(cluster)
    cluster.typed_extension_protocol_options[protocols.HTTP_OPTIONS].CopyFrom(
        protocols.http_options(Protocol.AUTO)
    )
    return cluster


def _base(name: str, pool: ConnectionPool) -> Any:
    cluster = cluster_pb2.Cluster(
        name=name,
        connect_timeout=encode.duration(cluster_policies.CONNECT_TIMEOUT),
        circuit_breakers=circuit_breaker_pb2.CircuitBreakers(thresholds=[cluster_policies.thresholds(pool, None)]),
    )
    cluster_policies.connect(cluster, pool)
    return cluster


def _to_application(name: str, protocol: Protocol, pool: ConnectionPool) -> Any:
    cluster = _base(name, pool)
    discovery.as_dialled(cluster)
    source = address_pb2.SocketAddress(address=SOURCE, port_value=0)
    cluster.upstream_bind_config.CopyFrom(address_pb2.BindConfig(source_address=source))
    cluster.typed_extension_protocol_options[protocols.HTTP_OPTIONS].CopyFrom(
        protocols.application_options(protocol, pool)
    )
    return cluster


def _at(cluster: Any, endpoint: str) -> None:
    """Lead to one place in the pod. Only towards the pod's own address does the source tell who dials."""
    if endpoint.startswith("unix://"):
        where = address(endpoint, 0)
    else:
        host, _, port = endpoint.rpartition(":")
        where = address(host.strip("[]"), int(port))
    if endpoint.startswith(("unix://", "127.", "[::1]")):
        cluster.ClearField("upstream_bind_config")
    cluster.type = _LB.STATIC
    cluster.lb_policy = _LB.ROUND_ROBIN
    assignment = endpoint_pb2.ClusterLoadAssignment(cluster_name=cluster.name)
    assignment.endpoints.add().lb_endpoints.add().endpoint.address.CopyFrom(where)
    cluster.load_assignment.CopyFrom(assignment)


def _service(hostname: str) -> dict[str, str]:
    parts = hostname.split(".")
    return {"host": hostname, "name": parts[0], "namespace": parts[1] if len(parts) > 1 else ""}
