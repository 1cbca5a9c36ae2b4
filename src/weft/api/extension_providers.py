"""MeshConfig, `extensionProviders`: services outside the mesh's own configuration that proxies call, by name.

Those that decide about requests (ext_authz) are acted on; those of telemetry are known by name.
"""

from typing import Annotated, Any, Final

from msgspec import Meta, field

from weft.api.shape import NOT_YET, Duration, Port, Shape

Anything = Any
Headers = Annotated[tuple[str, ...], Meta(description="Names of headers; * may begin or end one.")]

ServiceName = Annotated[str, Meta(description="[NAMESPACE/]HOST of a Service or ServiceEntry, the host in full.")]


class RequestBodyInCheck(Shape, frozen=True):
    """That the provider is shown the request's body."""

    max_request_bytes: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0
    allow_partial_message: bool = False
    pack_as_bytes: bool = False


class ExtAuthzHttp(Shape, frozen=True):
    """A provider that is asked by HTTP: 200 lets a request pass, any other answer is given to the client."""

    service: ServiceName = ""
    port: Port | None = None
    timeout: Duration | None = None
    path_prefix: str = ""
    fail_open: bool = False
    clear_route_cache: bool = False
    status_on_error: str = ""
    include_headers_in_check: Headers = ()
    include_request_headers_in_check: Headers = ()
    include_additional_headers_in_check: dict[str, str] = field(default_factory=dict)
    include_request_body_in_check: RequestBodyInCheck | None = None
    headers_to_upstream_on_allow: Headers = ()
    headers_to_downstream_on_deny: Headers = ()
    headers_to_downstream_on_allow: Headers = ()


class ExtAuthzGrpc(Shape, frozen=True):
    """A provider that is asked by envoy.service.auth.v3.Authorization/Check, about connections too."""

    service: ServiceName = ""
    port: Port | None = None
    timeout: Duration | None = None
    fail_open: bool = False
    clear_route_cache: bool = False
    status_on_error: str = ""
    include_request_body_in_check: RequestBodyInCheck | None = None


_Telemetry = Annotated[Anything, NOT_YET]


class ExtensionProvider(Shape, frozen=True):
    """One provider under its name: one of the fields besides."""

    name: str = ""
    envoy_ext_authz_http: ExtAuthzHttp | None = None
    envoy_ext_authz_grpc: ExtAuthzGrpc | None = None
    zipkin: _Telemetry = None
    lightstep: _Telemetry = None
    datadog: _Telemetry = None
    stackdriver: _Telemetry = None
    opencensus: _Telemetry = None
    skywalking: _Telemetry = None
    opentelemetry: _Telemetry = None
    prometheus: _Telemetry = None
    envoy_file_access_log: _Telemetry = None
    envoy_http_als: _Telemetry = None
    envoy_tcp_als: _Telemetry = None
    envoy_otel_als: _Telemetry = None
    sds: _Telemetry = None


TELEMETRY: Final = tuple(
    name
    for name in ExtensionProvider.__struct_fields__
    if name not in {"name", "envoy_ext_authz_http", "envoy_ext_authz_grpc"}
)
"""The fields of providers that decide nothing."""
