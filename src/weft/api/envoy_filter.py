"""The EnvoyFilter resource as users write it (networking.istio.io)."""

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from weft.api.shape import NOT_YET, Port, Resource, Shape

ApplyTo = Literal[
    "LISTENER",
    "FILTER_CHAIN",
    "NETWORK_FILTER",
    "HTTP_FILTER",
    "ROUTE_CONFIGURATION",
    "VIRTUAL_HOST",
    "HTTP_ROUTE",
    "CLUSTER",
    "EXTENSION_CONFIG",
    "BOOTSTRAP",
    "LISTENER_FILTER",
]
Operation = Literal[
    "MERGE",
    "ADD",
    "REMOVE",
    "INSERT_BEFORE",
    "INSERT_AFTER",
    "INSERT_FIRST",
    "REPLACE",
    "MERGE_AND_REPLACE_LIST",
]


class Selector(Shape, frozen=True):
    """Workloads by their labels."""

    labels: dict[str, str] = field(default_factory=dict)


class TargetRef(Shape, frozen=True):
    """A Gateway of the Gateway API, or another resource that a proxy of its own stands for."""

    group: str = ""
    kind: str = ""
    name: str = ""
    namespace: Annotated[str, Meta(description="The EnvoyFilter's own namespace, as without it.")] = ""


class ProxyMatch(Shape, frozen=True):
    """Which proxies a patch is for."""

    proxy_version: Annotated[
        str | None, Meta(description="A regular expression that is found in the proxy's ISTIO_VERSION.")
    ] = None
    metadata: Annotated[dict[str, str], Meta(description="Metadata that the proxy's node must have.")] = field(
        default_factory=dict
    )


class SubFilterMatch(Shape, frozen=True):
    """A filter inside a network filter."""

    name: str = ""


class FilterMatch(Shape, frozen=True):
    """A network filter, and perhaps an HTTP filter inside it."""

    name: str = ""
    sub_filter: Annotated[SubFilterMatch | None, Meta(description="An HTTP filter; for HTTP_FILTER only.")] = None


class FilterChainMatch(Shape, frozen=True):
    """Which filter chains of a listener."""

    name: str = ""
    sni: str = ""
    transport_protocol: Annotated[str, Meta(description="raw_buffer or tls.")] = ""
    application_protocols: Annotated[str, Meta(description="ALPN values, joined by commas: all of them.")] = ""
    filter: FilterMatch | None = None
    destination_port: Port | None = None
    transport_socket: Annotated[str, Meta(description="The name of the chain's transport socket.")] = ""


class ListenerMatch(Shape, frozen=True):
    """Which listeners."""

    port_number: Annotated[
        Port | None, Meta(description="The service's port going out, the pod's port coming in.")
    ] = None
    port_name: Annotated[
        str, Meta(description="Without effect, as in Istio: listeners do not know names of ports.")
    ] = ""
    filter_chain: FilterChainMatch | None = None
    listener_filter: Annotated[str, Meta(description="The name of a listener filter.")] = ""
    name: str = ""


class RouteMatch(Shape, frozen=True):
    """Which routes of a virtual host."""

    name: str = ""
    action: Literal["ANY", "ROUTE", "REDIRECT", "DIRECT_RESPONSE"] = "ANY"


class VirtualHostMatch(Shape, frozen=True):
    """Which virtual hosts of a route table, by name such as `web.shop.svc.cluster.local:80` or by a domain."""

    name: str = ""
    domain_name: str = ""
    route: RouteMatch | None = None


class RouteConfigurationMatch(Shape, frozen=True):
    """Which route tables."""

    port_number: Port | None = None
    port_name: Annotated[str, Meta(description="The name of the Gateway's server port; for gateways.")] = ""
    gateway: Annotated[str, Meta(description="NAMESPACE/NAME of a Gateway; for gateways with HTTPS.")] = ""
    vhost: VirtualHostMatch | None = None
    name: str = ""


class ClusterMatch(Shape, frozen=True):
    """Which clusters."""

    port_number: Port | None = None
    service: Annotated[str, Meta(description="The full name of the service.")] = ""
    subset: str = ""
    name: Annotated[str, Meta(description="The cluster's name; the rest of the match does not count then.")] = ""


class WaypointMatch(Shape, frozen=True):
    """Parts of a waypoint's configuration."""

    port_number: Port | None = None
    filter: FilterMatch | None = None
    route: RouteMatch | None = None


class Match(Shape, frozen=True):
    """Which parts of which proxies' configuration a patch is for. One of listener, routeConfiguration, cluster."""

    context: Literal["ANY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY", "WAYPOINT"] = "ANY"
    proxy: ProxyMatch | None = None
    listener: ListenerMatch | None = None
    route_configuration: RouteConfigurationMatch | None = None
    cluster: ClusterMatch | None = None
    waypoint: Annotated[WaypointMatch | None, NOT_YET] = None


class Patch(Shape, frozen=True):
    """What is done."""

    operation: Operation | None = None
    value: Annotated[
        dict[str, Any] | None, Meta(description="A part of Envoy's configuration, as its documentation has it.")
    ] = None
    filter_class: Annotated[
        Literal["UNSPECIFIED", "AUTHN", "AUTHZ", "STATS"],
        Meta(
            description="Where ADD puts an HTTP filter: behind those of authentication, of authorization, or last."
        ),
    ] = "UNSPECIFIED"


class ConfigPatch(Shape, frozen=True):
    """One change."""

    apply_to: ApplyTo | None = None
    match: Match | None = None
    patch: Patch | None = None


class EnvoyFilterSpec(Shape, frozen=True):
    """What an EnvoyFilter says."""

    workload_selector: Annotated[
        Selector | None, Meta(description="Without it, all workloads of the namespace; of the root one, all.")
    ] = None
    target_refs: tuple[TargetRef, ...] = ()
    config_patches: tuple[ConfigPatch, ...] = ()
    priority: Annotated[
        int, Meta(description="Lower ones go first; 0 by default. Then the root namespace, then the older.")
    ] = 0


class EnvoyFilter(Resource, frozen=True, kw_only=True):
    """Changes to the configuration that proxies get."""

    spec: EnvoyFilterSpec
