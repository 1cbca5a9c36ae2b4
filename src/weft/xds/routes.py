"""Which cluster takes a request: virtual hosts and their routes (RDS)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from google.protobuf import duration_pb2, struct_pb2, wrappers_pb2

from weft.model.routing import Answer, HostRoutes, HttpRoute, Redirect, RequestMatch, Retries
from weft.model.services import Service
from weft.xds import encode, matches, names, route_policies
from weft.xds.proto import base_pb2, route_components_pb2, route_pb2
from weft.xds.resource import ROUTE, Resource
from weft.xds.route_actions import change_headers, forward, redirect

_HTTP = 80
_NO_LIMIT = duration_pb2.Duration()
_ROUTE: Any = route_components_pb2


@dataclass(frozen=True, slots=True)
class VirtualHost:
    """The requests for one host and port, under the names that its clients may use."""

    hostname: str
    port: int
    domains: tuple[str, ...]
    routes: HostRoutes


def domains(service: Service, namespace: str, domain: str) -> tuple[str, ...]:
    """All names of a service for a client in `namespace`: its full name, its short forms, its addresses."""
    suffix = f".{service.namespace}.svc.{domain}"
    if not service.hostname.endswith(suffix):
        # an address of six parts stands in brackets, and a range of them is no name
        single = (each for each in (*service.addresses, *service.allocated) if "/" not in each)
        return (service.hostname, *(f"[{each}]" if ":" in each else each for each in single))
    name = service.hostname.removesuffix(suffix)
    local = (name,) if service.namespace == namespace else ()
    shorter = (f"{name}.{service.namespace}.svc", f"{name}.{service.namespace}")
    names = (service.hostname, *local, *shorter)
    # pods of a headless service have names of their own below it
    pods = (f"*.{each}" for each in names) if service.headless else ()
    return (*names, *service.addresses, *pods)


def with_port(names: tuple[str, ...], port: int) -> tuple[str, ...]:
    """Names with a port behind them; on port 80 also without, as clients write it."""
    return (*(f"{name}:{port}" for name in names), *(names if port == _HTTP else ()))


def distinct(hosts: Iterable[VirtualHost]) -> tuple[VirtualHost, ...]:
    """The hosts, each domain left to the first that has it: Envoy refuses a table with a domain in two places."""
    taken: set[str] = set()
    kept = []
    for host in hosts:
        lowered = {name.lower(): name for name in host.domains}
        if taken.isdisjoint(lowered) and len(lowered) == len(host.domains):
            kept.append(host)
        elif free := tuple(name for key, name in lowered.items() if key not in taken):
            kept.append(VirtualHost(host.hostname, host.port, free, host.routes))
        taken.update(lowered)
    return tuple(kept)


def table(name: str, virtual_hosts: Iterable[bytes], *, ports_matter: bool = False) -> Resource:
    """A RouteConfiguration of listed virtual hosts; `ports_matter`: `host:1` and `host:2` are told apart."""
    config = route_pb2.RouteConfiguration(
        name=name,
        validate_clusters=wrappers_pb2.BoolValue(value=False),
        max_direct_response_body_size_bytes=wrappers_pb2.UInt32Value(value=1 << 20),
        ignore_port_in_host_matching=not ports_matter,
    )
    return encode.from_bytes(ROUTE, name, config.SerializeToString(deterministic=True) + b"".join(virtual_hosts))


def listed(virtual_host: Any) -> bytes:
    """A VirtualHost as an entry of a RouteConfiguration, to be joined with others (see `encode.framed`)."""
    field = route_pb2.RouteConfiguration.VIRTUAL_HOSTS_FIELD_NUMBER
    return encode.framed(field, virtual_host.SerializeToString(deterministic=True))


def virtual_host(host: VirtualHost) -> bytes:
    """The VirtualHost, listed."""
    authority = f"{host.hostname}:{host.port}"
    message = _ROUTE.VirtualHost(name=authority, domains=host.domains, include_request_attempt_count=True)
    message.routes.extend(messages(host.routes, authority))
    return listed(message)


def messages(routes: HostRoutes, authority: str) -> Iterator[Any]:
    """The Route messages, one for each match of each route, of the virtual host `authority`."""
    for route in routes.routes:
        for match in route.matches or (RequestMatch(),):
            yield _route(route, match, authority, routes.rule)


def _route(route: HttpRoute, match: RequestMatch, authority: str, rule: str) -> Any:
    message = _ROUTE.Route(
        name=".".join(part for part in (route.name, match.name) if part) or ("" if rule else "default"),
        match=matches.route_match(match),
        stat_prefix=match.stat_prefix,
        decorator=_ROUTE.Decorator(operation=authority + matches.describe(match)),
    )
    if rule:
        istio = struct_pb2.Struct()
        istio["config"] = names.config_path(rule, "virtual-service")
        message.metadata.CopyFrom(base_pb2.Metadata(filter_metadata={"istio": istio}))
    _outcome(message, route)
    change_headers(message, route.headers)
    if route.abort or route.delay:
        message.typed_per_filter_config[route_policies.FAULT_FILTER].CopyFrom(
            encode.packed(route_policies.fault(route.abort, route.delay))
        )
    if route.cors:
        message.typed_per_filter_config[route_policies.CORS_FILTER].CopyFrom(
            encode.packed(route_policies.cors(route.cors))
        )
    return message


def _outcome(message: Any, route: HttpRoute) -> None:
    match route.outcome:
        case None:
            message.route.CopyFrom(forward(route))
        case Redirect():
            message.redirect.CopyFrom(redirect(route.outcome))
        case Answer(status, body):
            message.direct_response.CopyFrom(
                _ROUTE.DirectResponseAction(status=status, body=base_pb2.DataSource(inline_bytes=body))
            )


def inline_table(
    name: str, virtual_host_name: str, cluster: str, operation: str, retries: Retries | None = None
) -> Any:
    """A RouteConfiguration inside a listener: every request goes to `cluster`."""
    forever = _ROUTE.RouteAction.MaxStreamDuration(
        max_stream_duration=_NO_LIMIT, grpc_timeout_header_max=_NO_LIMIT
    )
    route = _ROUTE.Route(
        name="default",
        match=_ROUTE.RouteMatch(prefix="/"),
        route=_ROUTE.RouteAction(cluster=cluster, timeout=_NO_LIMIT, max_stream_duration=forever),
        decorator=_ROUTE.Decorator(operation=operation),
    )
    if retries is not None and retries.attempts:
        # there is one application: it is tried again where it was tried
        route.route.retry_policy.CopyFrom(route_policies.retry_policy(replace(retries, elsewhere=False)))
    host = _ROUTE.VirtualHost(name=virtual_host_name, domains=["*"], routes=[route])
    return route_pb2.RouteConfiguration(
        name=name, virtual_hosts=[host], validate_clusters=wrappers_pb2.BoolValue(value=False)
    )
