"""One encoded resource, ready for every proxy that wants it."""

from collections.abc import Mapping
from dataclasses import dataclass

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINT = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
ROUTE = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
EXTENSION = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
BOOTSTRAP = "type.googleapis.com/envoy.config.bootstrap.v3.Bootstrap"
"""Not for Envoy: what the agent merges into the bootstrap before it starts Envoy."""
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105, a type's name
NAME_TABLE = "type.googleapis.com/istio.networking.nds.v1.NameTable"


@dataclass(frozen=True, slots=True)
class Resource:
    """`version` is a hash of the content; `body` is the serialized message inside the Any of type `type_url`."""

    type_url: str
    name: str
    version: str
    body: bytes


Resources = Mapping[str, Mapping[str, Resource]]
"""All of one proxy's resources: type URL → name → resource."""
