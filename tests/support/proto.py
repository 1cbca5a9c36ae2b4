"""Generated message modules for tests; they make their classes at import, so here they are Any."""

from importlib import import_module
from typing import Any

bootstrap_pb2: Any = import_module("envoy.config.bootstrap.v3.bootstrap_pb2")
cluster_pb2: Any = import_module("envoy.config.cluster.v3.cluster_pb2")
discovery_pb2: Any = import_module("envoy.service.discovery.v3.discovery_pb2")
endpoint_pb2: Any = import_module("envoy.config.endpoint.v3.endpoint_pb2")
external_auth_pb2: Any = import_module("envoy.service.auth.v3.external_auth_pb2")
header_to_metadata_pb2: Any = import_module(
    "envoy.extensions.filters.http.header_to_metadata.v3.header_to_metadata_pb2"
)
listener_pb2: Any = import_module("envoy.config.listener.v3.listener_pb2")
route_pb2: Any = import_module("envoy.config.route.v3.route_pb2")
secret_pb2: Any = import_module("envoy.extensions.transport_sockets.tls.v3.secret_pb2")
