"""The route tables of gateways (RDS): the hosts of their servers, with the routes of the rules bound to them."""

from dataclasses import dataclass
from typing import Any

from weft.model.router import RoutedHost, RouterTable
from weft.xds import routes
from weft.xds.proto import route_components_pb2
from weft.xds.resource import Resource

_HOST: Any = route_components_pb2.VirtualHost


@dataclass(frozen=True, slots=True)
class EdgeHost:
    """A host of a table, and the port that clients dial."""

    routed: RoutedHost
    port: int


def table(config: RouterTable, encoded: list[bytes]) -> Resource:
    """The table of encoded virtual hosts; where no rule is bound, one that answers 404 to all."""
    hosts = encoded or [routes.listed(_HOST(name=f"blackhole:{config.port}", domains=["*"]))]
    return routes.table(config.name, hosts)


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
