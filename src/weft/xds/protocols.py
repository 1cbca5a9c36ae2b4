"""What protocol a cluster speaks to its endpoints."""

from typing import Any

from google.protobuf import any_pb2

from weft.model.services import Protocol
from weft.xds import encode
from weft.xds.proto import http_protocol_options_pb2, protocol_pb2

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

_HTTP1: Any = protocol_pb2.Http1ProtocolOptions
_HTTP2: Any = protocol_pb2.Http2ProtocolOptions
_OPTIONS: Any = http_protocol_options_pb2.HttpProtocolOptions

_AS_DOWNSTREAM = encode.packed(
    _OPTIONS(
        use_downstream_protocol_config=_OPTIONS.UseDownstreamHttpConfig(
            http_protocol_options=_HTTP1(), http2_protocol_options=_HTTP2()
        )
    )
)
_ALWAYS_HTTP2 = encode.packed(
    _OPTIONS(explicit_http_config=_OPTIONS.ExplicitHttpConfig(http2_protocol_options=_HTTP2()))
)


def always_http2(protocol: Protocol) -> bool:
    """Whether endpoints are spoken to in HTTP/2 whatever the client speaks."""
    return protocol in {Protocol.HTTP2, Protocol.GRPC}


def http_options(protocol: Protocol) -> any_pb2.Any:
    """The cluster's HTTP protocol options: HTTP/2 where the port says so, else what the client speaks."""
    return _ALWAYS_HTTP2 if always_http2(protocol) else _AS_DOWNSTREAM
