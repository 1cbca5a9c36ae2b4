"""Who answers for a cluster (EDS)."""

from dataclasses import dataclass
from typing import Any

from google.protobuf import struct_pb2, wrappers_pb2

from weft.model.locality import parts
from weft.model.placing import Group
from weft.model.services import Endpoint
from weft.xds import encode
from weft.xds.proto import address_pb2, base_pb2, endpoint_components_pb2, endpoint_pb2, health_check_pb2
from weft.xds.resource import ENDPOINT, Resource


@dataclass(frozen=True, slots=True)
class Assignment:
    """The endpoints of one cluster, already narrowed to its subset. `weighted`: its localities have weights."""

    cluster: str
    groups: tuple[Group, ...]
    weighted: bool = False


def assignment(config: Assignment) -> Resource:
    """The ClusterLoadAssignment."""
    found = localities(config.groups, weighted=config.weighted)
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=config.cluster, endpoints=found)
    return encode.resource(ENDPOINT, config.cluster, message)


def localities(groups: tuple[Group, ...], *, weighted: bool) -> list[Any]:
    """Endpoints by priority and locality, as EDS and clusters that bring their own have them."""
    return [_locality(group, weighted=weighted) for group in groups]


def _locality(group: Group, *, weighted: bool) -> Any:
    region, zone, subzone = parts(group.locality)
    ordered = sorted(group.endpoints, key=lambda endpoint: (endpoint.address, endpoint.port))
    found = endpoint_components_pb2.LocalityLbEndpoints(
        locality=base_pb2.Locality(region=region, zone=zone, sub_zone=subzone),
        lb_endpoints=[_endpoint(endpoint) for endpoint in ordered],
        priority=group.priority,
    )
    if weighted:
        found.load_balancing_weight.value = group.weight
    return found


def address(host: str, port: int) -> Any:
    """A TCP socket address, or a Unix socket: `unix:///PATH`, `unix://@NAME`."""
    if host.startswith("unix://"):
        return address_pb2.Address(pipe=address_pb2.Pipe(path=host.removeprefix("unix://")))
    return address_pb2.Address(socket_address=address_pb2.SocketAddress(address=host, port_value=port))


def _endpoint(endpoint: Endpoint) -> Any:
    health = health_check_pb2.HEALTHY if endpoint.healthy else health_check_pb2.UNHEALTHY
    return endpoint_components_pb2.LbEndpoint(
        endpoint=endpoint_components_pb2.Endpoint(address=address(endpoint.address, endpoint.port)),
        health_status=health,
        metadata=_metadata(endpoint),
        load_balancing_weight=wrappers_pb2.UInt32Value(value=endpoint.weight),
    )


def _metadata(endpoint: Endpoint) -> Any:
    labels = dict(endpoint.labels)
    name = labels.get("service.istio.io/canonical-name", endpoint.workload)
    revision = labels.get("service.istio.io/canonical-revision", "latest")
    istio = struct_pb2.Struct()
    # workload;namespace;canonical name;canonical revision;cluster, as Istio's telemetry reads it
    istio["workload"] = f"{endpoint.workload};{endpoint.namespace};{name};{revision};Kubernetes"
    metadata = base_pb2.Metadata(filter_metadata={"istio": istio})
    if endpoint.mutual_tls:
        metadata.filter_metadata["envoy.transport_socket_match"]["tlsMode"] = "istio"
    return metadata
