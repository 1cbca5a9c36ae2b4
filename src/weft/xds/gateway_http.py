"""How a gateway handles requests: as the first proxy that they meet."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from google.protobuf import wrappers_pb2

from weft.model.authorization import Authorization
from weft.model.request_authentication import TokenRule
from weft.model.topology import NOTHING_BEFORE, Topology
from weft.xds import encode, external_authorization, listeners_http
from weft.xds.authorization import request_filters
from weft.xds.proto import grpc_web_pb2, http_connection_manager_pb2

SERVER_NAME = "istio-envoy"
"""What gateways call themselves in the `server` header, as Istio's do."""

FLUSH_TIMEOUT: Final = timedelta(minutes=5)
"""How long the rest of an answer is kept for a client that does not take it; Envoy would keep it for ever."""

_HCM: Any = http_connection_manager_pb2.HttpConnectionManager


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """What stands before the gateway, and who may ask what. `looks_up`: clusters ask the DNS for any host."""

    topology: Topology = NOTHING_BEFORE
    looks_up: bool = False
    authorization: Authorization | None = None
    tokens: tuple[TokenRule, ...] = ()


def requests(stat_prefix: str, table: str, settings: HttpSettings, *, grpc_web: bool) -> Any:
    """The filter for requests from outside, routed by the RDS table `table`.

    Nobody outside is believed unless the topology says so: the client's address is that of the connection,
    `x-forwarded-*` are made anew, and so is x-forwarded-client-cert, from the certificate that the client showed.
    """
    topology = settings.topology
    before = (
        (listeners_http.http_filter("envoy.filters.http.grpc_web", grpc_web_pb2.GrpcWeb()),) if grpc_web else ()
    )
    manager = listeners_http.edge_manager(
        stat_prefix,
        table,
        before,
        tokens=settings.tokens,
        looks_up=settings.looks_up,
        asking=external_authorization.request_filters(settings.authorization),
        checks=request_filters(settings.authorization),
    )
    manager.stream_flush_timeout.CopyFrom(encode.duration(FLUSH_TIMEOUT))
    manager.use_remote_address.CopyFrom(wrappers_pb2.BoolValue(value=True))
    manager.server_name = SERVER_NAME
    manager.xff_num_trusted_hops = topology.trusted_proxies
    manager.forward_client_cert_details = _HCM.ForwardClientCertDetails.Value(topology.forward_certificate)
    manager.set_current_client_cert_details.CopyFrom(
        _HCM.SetCurrentClientCertDetails(subject=wrappers_pb2.BoolValue(value=True), cert=True, dns=True, uri=True)
    )
    return listeners_http.of_requests(manager)
