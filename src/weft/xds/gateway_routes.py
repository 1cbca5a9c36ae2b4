"""The route tables of gateways (RDS): the hosts of their servers, with the routes of the rules bound to them."""

from dataclasses import dataclass
from typing import Any, Final

from weft.model.router import RoutedHost, RouterTable
from weft.xds import routes
from weft.xds.proto import route_components_pb2
from weft.xds.resource import Resource

_HOST: Any = route_components_pb2.VirtualHost
_ROUTE: Any = route_components_pb2.Route
_MATCH: Any = route_components_pb2.RouteMatch
_MISDIRECTED_REQUEST: Final = 421


@dataclass(frozen=True, slots=True)
class EdgeHost:
    """A host of a table, and the port that clients dial."""

    routed: RoutedHost
    port: int


def table(config: RouterTable, encoded: list[bytes]) -> Resource:
    """The table of encoded virtual hosts; what no rule is for is answered 404, the host of another server 421."""
    hosts = list(encoded)
    unrouted = config.unrouted if encoded or config.elsewhere else ("*",)
    if unrouted:
        hosts.append(routes.listed(_HOST(name=f"blackhole:{config.port}", domains=unrouted)))
    if config.elsewhere:
        hosts.append(_misdirected(config))
    return routes.table(config.name, hosts)


def _misdirected(config: RouterTable) -> bytes:
    answer = _ROUTE(name="misdirected", match=_MATCH(prefix="/"))
    answer.direct_response.status = _MISDIRECTED_REQUEST
    return routes.listed(_HOST(name=f"misdirected:{config.port}", domains=config.elsewhere, routes=[answer]))


def virtual_host(config: EdgeHost) -> bytes:
    """The VirtualHost `HOST:PORT`, listed."""
    routed = config.routed
    name = f"{routed.host}:{config.port}"
    message = _HOST(name=name, domains=[routed.host], include_request_attempt_count=True)
    if routed.redirect:
        message.require_tls = _HOST.ALL
    for each in routed.routes:
        message.routes.extend(routes.messages(each, name))
    return routes.listed(message)
