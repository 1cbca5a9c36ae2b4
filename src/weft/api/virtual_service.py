"""VirtualService (networking.istio.io): how requests to a host are routed."""

from typing import Annotated, Literal

from msgspec import Meta, field

from weft.api.shape import (
    Duration,
    ExportTo,
    Host,
    Percent,
    Port,
    PortSelector,
    Resource,
    Shape,
    Status,
    UInt,
    not_in_istio,
)


class StringMatch(Shape, frozen=True):
    """One way to compare a string. For a header, an empty comparison asks only that the header is present."""

    exact: str | None = None
    prefix: str | None = None
    regex: Annotated[str | None, Meta(description="RE2 syntax, matched against the whole value.")] = None


class HttpMatch(Shape, frozen=True):
    """Conditions on a request and its sender; all of them must hold."""

    name: Annotated[str, Meta(description="A name for this match, joined to the route's name.")] = ""
    uri: StringMatch | None = None
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: Annotated[dict[str, StringMatch], Meta(description="Comparisons by header name.")] = field(
        default_factory=dict
    )
    without_headers: Annotated[dict[str, StringMatch], Meta(description="Comparisons that must fail.")] = field(
        default_factory=dict
    )
    query_params: Annotated[dict[str, StringMatch], Meta(description="Comparisons by query parameter.")] = field(
        default_factory=dict
    )
    port: Annotated[Port | None, Meta(description="The port that the client dialled.")] = None
    source_labels: Annotated[dict[str, str], Meta(description="Labels that the client's pod must have.")] = field(
        default_factory=dict
    )
    source_namespace: Annotated[str, Meta(description="The namespace that the client must be in.")] = ""
    ignore_uri_case: Annotated[bool, Meta(description="Compare exact and prefix uris without regard to case.")] = (
        False
    )
    gateways: Annotated[tuple[str, ...], Meta(description='Where this holds; "mesh" means all sidecars.')] = ()
    stat_prefix: Annotated[
        str | None, Meta(description="Envoy counts the requests that match under this name too.")
    ] = None


class Destination(Shape, frozen=True):
    """Where requests go: a service, one of its ports, one of its subsets."""

    host: Host
    subset: Annotated[str, Meta(description="A subset of the host's DestinationRule.")] = ""
    port: Annotated[PortSelector | None, Meta(description="Needed where the service has several ports.")] = None


class HeaderChanges(Shape, frozen=True):
    """Headers to set, add and remove. Values may hold Envoy's %COMMAND%s."""

    set: Annotated[dict[str, str], Meta(description="Headers by name; one that is there is replaced.")] = field(
        default_factory=dict
    )
    add: Annotated[dict[str, str], Meta(description="Headers by name, beside those that are there.")] = field(
        default_factory=dict
    )
    remove: Annotated[tuple[str, ...], Meta(description="Names of headers.")] = ()


class Headers(Shape, frozen=True):
    """Changes of a request's and a response's headers."""

    request: HeaderChanges | None = None
    response: HeaderChanges | None = None


class HttpDestination(Shape, frozen=True):
    """A destination and its share of the requests."""

    destination: Destination
    weight: Annotated[
        UInt | None, Meta(description="Share of the requests; the weights of a route sum to 100.")
    ] = None
    headers: Annotated[Headers | None, Meta(description="Changes for requests that go here.")] = None


class Retries(Shape, frozen=True):
    """When and how often a failed request is sent again."""

    attempts: Annotated[UInt, Meta(description="Further tries after the first; 0 means none.")] = 0
    per_try_timeout: Duration | None = None
    retry_on: Annotated[str, Meta(description="Envoy's conditions and HTTP statuses, separated by commas.")] = ""
    backoff: Annotated[
        Duration | None, Meta(description="The wait before the first retry, up to tenfold later; 25ms by default.")
    ] = None
    retry_remote_localities: Annotated[
        bool | None, Meta(description="Try other localities than the one that failed.")
    ] = None
    retry_ignore_previous_hosts: Annotated[
        bool | None, Meta(description="Do not try again where it failed before; true by default.")
    ] = None


class Abort(Shape, frozen=True):
    """Answer some requests with an error."""

    http_status: Status | None = None
    percentage: Percent | None = None
    grpc_status: Annotated[str | None, Meta(description="A gRPC status: UNAVAILABLE, or 14.")] = None
    http2_error: Annotated[str | None, not_in_istio("Use httpStatus, or grpcStatus.")] = None


class Delay(Shape, frozen=True):
    """Hold some requests for a while before they go on."""

    fixed_delay: Duration | None = None
    percentage: Percent | None = None
    percent: Annotated[
        Annotated[int, Meta(ge=0, le=100)] | None, Meta(description="Deprecated: use percentage.")
    ] = None
    exponential_delay: Annotated[Duration | None, not_in_istio("Use fixedDelay.")] = None


class Fault(Shape, frozen=True):
    """Faults to inject; the route must match first."""

    abort: Abort | None = None
    delay: Delay | None = None


class Redirect(Shape, frozen=True):
    """An answer that sends the client elsewhere; what is not given stays as the client asked for it."""

    uri: Annotated[
        str | None, Meta(description="The whole path; after %PREFIX()%, only what the match took of it.")
    ] = None
    prefix_rewrite: Annotated[str | None, Meta(description="Replaces what the match took of the path.")] = None
    authority: Annotated[str | None, Meta(description="The host.")] = None
    port: Port | None = None
    derive_port: Annotated[
        Literal["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"] | None,
        Meta(description="The scheme's own port, or the one that the client asked for."),
    ] = None
    scheme: Annotated[str | None, Meta(description="http or https.")] = None
    redirect_code: Annotated[UInt | None, Meta(description="301 (the default), 302, 303, 307 or 308.")] = None


class Body(Shape, frozen=True):
    """A body as text or as base64."""

    string: str | None = None
    bytes: Annotated[str | None, Meta(description="Base64.")] = None


class DirectResponse(Shape, frozen=True):
    """An answer without a destination."""

    status: Status
    body: Annotated[Body | None, Meta(description="At most 1 MiB.")] = None


class Delegate(Shape, frozen=True):
    """Another VirtualService, one without hosts, that holds the routes."""

    name: str = ""
    namespace: Annotated[str, Meta(description="By default that of this rule.")] = ""


class RegexRewrite(Shape, frozen=True):
    """A rewrite by regular expression (RE2)."""

    match: Annotated[str, Meta(description="What is replaced in the path, wherever it stands.")] = ""
    rewrite: Annotated[str, Meta(description="What takes its place; \\1 is the first group.")] = ""


class Rewrite(Shape, frozen=True):
    """A change of the request's path or host."""

    uri: Annotated[
        str | None, Meta(description="Replaces what a prefix match took of the path, else the whole path.")
    ] = None
    authority: Annotated[str | None, Meta(description="The host.")] = None
    uri_regex_rewrite: RegexRewrite | None = None


class Mirror(Shape, frozen=True):
    """A destination that gets copies of requests."""

    destination: Destination
    percentage: Annotated[Percent | None, Meta(description="Of the requests; all by default.")] = None


class CorsPolicy(Shape, frozen=True):
    """What browsers may do across origins."""

    allow_origin: Annotated[tuple[str, ...], Meta(description="Deprecated: use allowOrigins.")] = ()
    allow_origins: tuple[StringMatch, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: Annotated[Duration | None, Meta(description="How long browsers may keep the answer.")] = None
    allow_credentials: bool | None = None
    unmatched_preflights: Annotated[
        Literal["UNSPECIFIED", "FORWARD", "IGNORE"] | None,
        Meta(description="Whether preflights of other origins reach the service; they do by default."),
    ] = None


class HttpRoute(Shape, frozen=True):
    """Matches and what becomes of the requests that fit one of them. The first route that fits is taken."""

    name: Annotated[str, Meta(description="A name for logs and for weft proxy-config.")] = ""
    match: Annotated[tuple[HttpMatch, ...], Meta(description="Alternatives; none means every request.")] = ()
    route: Annotated[tuple[HttpDestination, ...], Meta(description="Destinations that share the requests.")] = ()
    timeout: Duration | None = None
    retries: Retries | None = None
    fault: Fault | None = None
    redirect: Redirect | None = None
    direct_response: DirectResponse | None = None
    delegate: Delegate | None = None
    rewrite: Rewrite | None = None
    mirror: Annotated[Destination | None, Meta(description="Gets copies of the requests.")] = None
    mirrors: Annotated[tuple[Mirror, ...], Meta(description="Destinations that get copies, each its share.")] = ()
    mirror_percent: Annotated[UInt | None, Meta(description="Deprecated: use mirrorPercentage.")] = None
    mirror_percent_old: Annotated[UInt | None, Meta(description="Deprecated: use mirrorPercentage.")] = field(
        default=None, name="mirror_percent"
    )
    mirror_percentage: Annotated[Percent | None, Meta(description="Of the requests; all by default.")] = None
    cors_policy: CorsPolicy | None = None
    headers: Annotated[Headers | None, Meta(description="Changes for all requests of this route.")] = None


class StreamDestination(Shape, frozen=True):
    """A destination and its share of the connections."""

    destination: Destination
    weight: Annotated[
        UInt | None, Meta(description="Share of the connections; the weights of a route sum to 100.")
    ] = None


class TlsMatch(Shape, frozen=True):
    """Conditions on a TLS connection and its sender; all of them must hold."""

    sni_hosts: Annotated[
        tuple[str, ...], Meta(description="Server names that the client asks for; *.x is a wildcard.")
    ] = ()
    destination_subnets: Annotated[
        tuple[str, ...], Meta(description="Addresses that the client dialled, as 10.1.2.3 or 10.1.0.0/16.")
    ] = ()
    port: Annotated[Port | None, Meta(description="The port that the client dialled.")] = None
    source_labels: Annotated[dict[str, str], Meta(description="Labels that the client's pod must have.")] = field(
        default_factory=dict
    )
    source_namespace: Annotated[str, Meta(description="The namespace that the client must be in.")] = ""
    gateways: Annotated[tuple[str, ...], Meta(description='Where this holds; "mesh" means all sidecars.')] = ()


class TlsRoute(Shape, frozen=True):
    """Routes of TLS connections by server name; they are passed on as they are."""

    match: Annotated[tuple[TlsMatch, ...], Meta(description="Alternatives.")] = ()
    route: Annotated[
        tuple[StreamDestination, ...], Meta(description="Destinations that share the connections.")
    ] = ()


class TcpMatch(Shape, frozen=True):
    """Conditions on a TCP connection and its sender; all of them must hold."""

    destination_subnets: Annotated[
        tuple[str, ...], Meta(description="Addresses that the client dialled, as 10.1.2.3 or 10.1.0.0/16.")
    ] = ()
    port: Annotated[Port | None, Meta(description="The port that the client dialled.")] = None
    source_subnet: Annotated[
        str, Meta(description="Addresses that the client may have, as 10.1.2.3 or 10.1.0.0/16.")
    ] = ""
    source_labels: Annotated[dict[str, str], Meta(description="Labels that the client's pod must have.")] = field(
        default_factory=dict
    )
    source_namespace: Annotated[str, Meta(description="The namespace that the client must be in.")] = ""
    gateways: Annotated[tuple[str, ...], Meta(description='Where this holds; "mesh" means all sidecars.')] = ()


class TcpRoute(Shape, frozen=True):
    """Routes of TCP connections."""

    match: Annotated[tuple[TcpMatch, ...], Meta(description="Alternatives; none means every connection.")] = ()
    route: Annotated[
        tuple[StreamDestination, ...], Meta(description="Destinations that share the connections.")
    ] = ()


class VirtualServiceSpec(Shape, frozen=True):
    """Hosts, and the routes of requests to them."""

    hosts: Annotated[
        tuple[str, ...], Meta(description="The hosts that clients ask for; * and *.x are wildcards.")
    ] = ()
    gateways: Annotated[
        tuple[str, ...], Meta(description='Where these routes hold; "mesh", the default, means all sidecars.')
    ] = ()
    export_to: ExportTo = ()
    http: Annotated[
        tuple[HttpRoute, ...], Meta(description="HTTP routes in order: the first that fits is taken.")
    ] = ()
    tls: Annotated[
        tuple[TlsRoute, ...], Meta(description="Routes of TLS connections, on ports of protocol TLS or HTTPS.")
    ] = ()
    tcp: Annotated[
        tuple[TcpRoute, ...], Meta(description="Routes of connections, on ports that carry neither HTTP nor TLS.")
    ] = ()


class VirtualService(Resource, frozen=True):
    """Routes for one or more hosts."""

    spec: VirtualServiceSpec = VirtualServiceSpec()
