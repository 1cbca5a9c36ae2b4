"""Resources as one proxy's own settings would have them: headers that it adds, limits of its clients' connections.

A changed resource is remembered by the resource and the traits, as all resources are by their input. Proxies
without settings of this kind never come here.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import duration_pb2, wrappers_pb2

from weft.model.proxy_traits import USUAL, ConnectionTraits, HeaderTraits, ProxyTraits
from weft.xds import encode, identity_files, listeners_http, names
from weft.xds.listeners_http import HTTP_FILTER
from weft.xds.memo import Memo
from weft.xds.proto import (
    cluster_pb2,
    http_connection_manager_pb2,
    http_protocol_options_pb2,
    listener_pb2,
    preserve_case_pb2,
    route_pb2,
    router_pb2,
)
from weft.xds.resource import CLUSTER, LISTENER, ROUTE, Resource, ResourceMap, Resources

_HCM: Final[Any] = http_connection_manager_pb2.HttpConnectionManager
_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_ROUTER: Final = "envoy.filters.http.router"
_MARK: Final = 1337
"""By what istio-iptables tells the proxy's connections that have the address of whoever connected to it."""


@dataclass(frozen=True, slots=True)
class _One:
    resource: Resource
    traits: ProxyTraits


@dataclass(frozen=True, slots=True)
class _All:
    resources: Resources
    traits: ProxyTraits


class Fitter:
    """Fits resources to proxies, and remembers what became of which."""

    def __init__(self) -> None:
        self._one: Memo[_One, Resource] = Memo(_fitted, depth=8)
        self._all: Memo[_All, Resources] = Memo(self._fit_all, depth=8, capacity=4096)

    def __call__(self, label: object, resources: Resources, traits: ProxyTraits) -> Resources:
        """The resources for a proxy of these traits. `label` says whose they are."""
        return resources if traits == USUAL else self._all(label, _All(resources, traits))

    def _fit_all(self, value: _All) -> Resources:
        found: dict[str, Mapping[str, Resource]] = dict(value.resources)
        for url in _FIT.keys() & found.keys():
            found[url] = ResourceMap(
                {name: self._one((url, name), _One(each, value.traits)) for name, each in found[url].items()}
            )
        return found


def _fitted(value: _One) -> Resource:
    resource, traits = value.resource, value.traits
    kind, fit = _FIT[resource.type_url]
    message = kind.FromString(resource.body)
    fit(message, traits)
    fitted = encode.resource(resource.type_url, resource.name, message)
    return resource if fitted.version == resource.version else fitted


def _listener(listener: Any, traits: ProxyTraits) -> None:
    if traits.transparent and listener.name == names.VIRTUAL_INBOUND:
        listener.transparent.value = True
        # after the filter that finds the destination, as in Istio
        listener.listener_filters.insert(1, listeners_http.original_src(_MARK))
    if traits.connections.listener_buffer is not None:
        _set(listener.per_connection_buffer_limit_bytes, traits.connections.listener_buffer)
    for chain in _chains(listener):
        identity_files.in_server(chain.transport_socket, traits.as_server)
        for each in chain.filters:
            if each.name == HTTP_FILTER:
                manager = _HCM()
                each.typed_config.Unpack(manager)
                _manager(manager, traits)
                each.typed_config.CopyFrom(encode.packed(manager))


def _chains(listener: Any) -> Iterator[Any]:
    yield from listener.filter_chains
    if listener.HasField("default_filter_chain"):
        yield listener.default_filter_chain


def _manager(manager: Any, traits: ProxyTraits) -> None:
    _headers(manager, traits.headers)
    _connections(manager, traits.connections)
    if manager.HasField("route_config"):
        _table(manager.route_config, traits)


def _headers(manager: Any, headers: HeaderTraits) -> None:
    if headers.server == "":
        manager.server_name = ""
        manager.server_header_transformation = _HCM.PASS_THROUGH
    elif headers.server is not None:
        manager.server_name = headers.server
        manager.server_header_transformation = _HCM.OVERWRITE
    if headers.client_cert:
        # on a connection without a client's certificate Envoy removes the header, but for ALWAYS_FORWARD_ONLY
        manager.forward_client_cert_details = _HCM.ForwardClientCertDetails.Value(headers.client_cert)
    if headers.cert_details is not None:
        details = _HCM.SetCurrentClientCertDetails(
            subject=wrappers_pb2.BoolValue(value="subject" in headers.cert_details)
        )
        for name in ("cert", "chain", "dns", "uri"):
            setattr(details, name, name in headers.cert_details)
        manager.set_current_client_cert_details.CopyFrom(details)
    if not headers.request_id:
        manager.generate_request_id.CopyFrom(wrappers_pb2.BoolValue(value=False))
    if not headers.debug:
        _quiet(manager)
    if headers.keeps_case:
        _keep_case(manager.http_protocol_options)
    if headers.forwarded_port:
        manager.append_x_forwarded_port = True


def _quiet(manager: Any) -> None:
    for each in manager.http_filters:
        if each.name == _ROUTER:
            router = router_pb2.Router()
            each.typed_config.Unpack(router)
            router.suppress_envoy_headers = True
            each.typed_config.CopyFrom(encode.packed(router))


def _keep_case(options: Any) -> None:
    formatter = options.header_key_format.stateful_formatter
    formatter.name = "preserve_case"
    formatter.typed_config.CopyFrom(encode.packed(preserve_case_pb2.PreserveCaseFormatterConfig()))


def _connections(manager: Any, connections: ConnectionTraits) -> None:
    common = manager.common_http_protocol_options
    for message, field, value in (
        (common, "idle_timeout", connections.idle_timeout),
        (common, "max_connection_duration", connections.max_connection_duration),
        (common, "max_stream_duration", connections.max_stream_duration),
        (manager, "stream_idle_timeout", connections.stream_idle_timeout),
        (manager, "request_timeout", connections.request_timeout),
        (manager, "request_headers_timeout", connections.request_headers_timeout),
        (manager, "drain_timeout", connections.drain_timeout),
    ):
        if value is not None:
            duration: duration_pb2.Duration = encode.duration(value)
            getattr(message, field).CopyFrom(duration)
    http2 = manager.http2_protocol_options
    for field, number in (
        ("max_concurrent_streams", connections.max_concurrent_streams),
        ("initial_stream_window_size", connections.stream_window),
        ("initial_connection_window_size", connections.connection_window),
    ):
        if number is not None:
            _set(getattr(http2, field), number)
    if connections.underscores:
        common.headers_with_underscores_action = common.HeadersWithUnderscoresAction.Value(connections.underscores)
    if connections.merge_slashes is not None:
        manager.merge_slashes = connections.merge_slashes
    if connections.escaped_slashes:
        manager.path_with_escaped_slashes_action = _HCM.PathWithEscapedSlashesAction.Value(
            connections.escaped_slashes
        )


def _table(table: Any, traits: ProxyTraits) -> None:
    headers = traits.headers
    for host in table.virtual_hosts:
        if not headers.attempt_count:
            host.include_request_attempt_count = False
        if headers.forwarded_host:
            for route in host.routes:
                if route.HasField("route"):
                    route.route.append_x_forwarded_host = True


def _cluster(cluster: Any, traits: ProxyTraits) -> None:
    for each in (
        cluster.transport_socket,
        *(match.transport_socket for match in cluster.transport_socket_matches),
    ):
        identity_files.in_client(each, traits.as_client)
    if traits.connections.cluster_buffer is not None:
        _set(cluster.per_connection_buffer_limit_bytes, traits.connections.cluster_buffer)
    if traits.headers.keeps_case:
        options = http_protocol_options_pb2.HttpProtocolOptions()
        if _OPTIONS in cluster.typed_extension_protocol_options:
            cluster.typed_extension_protocol_options[_OPTIONS].Unpack(options)
        match options.WhichOneof("upstream_protocol_options"):
            case "use_downstream_protocol_config":
                _keep_case(options.use_downstream_protocol_config.http_protocol_options)
            case "auto_config":
                _keep_case(options.auto_config.http_protocol_options)
            case "explicit_http_config" if options.explicit_http_config.HasField("http2_protocol_options"):
                return  # names of headers have no case in HTTP/2
            case _:
                _keep_case(options.explicit_http_config.http_protocol_options)
        cluster.typed_extension_protocol_options[_OPTIONS].CopyFrom(encode.packed(options))


def _set(field: Any, value: int) -> None:
    field.CopyFrom(wrappers_pb2.UInt32Value(value=value))


_FIT: Final[Mapping[str, tuple[Any, Callable[[Any, ProxyTraits], None]]]] = {
    CLUSTER: (cluster_pb2.Cluster, _cluster),
    LISTENER: (listener_pb2.Listener, _listener),
    ROUTE: (route_pb2.RouteConfiguration, _table),
}
