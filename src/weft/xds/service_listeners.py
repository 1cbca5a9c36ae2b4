"""The listeners of one service port: where its clients' connections come in."""

from collections.abc import Iterable

from weft.model.services import ServicePort
from weft.model.traffic import BySource
from weft.model.view import PortView, ServiceView
from weft.xds import names
from weft.xds.listeners import ServiceListener
from weft.xds.listeners_http import TcpLimits


def shares_listener(port: ServicePort) -> bool:
    """Whether the port's requests come in on `0.0.0.0_PORT`, told apart by host."""
    return port.protocol.is_http and port.number not in names.PROXY_PORTS


def service_listeners(view: ServiceView, port: ServicePort, port_view: PortView) -> Iterable[ServiceListener]:
    """One listener for each address, for a port that shares none."""
    addresses = view.service.addresses
    if view.service.headless:
        addresses = tuple(sorted({endpoint.address for endpoint in port_view.endpoints}))
    policy = view.traffic.at(port.number)
    by_source = policy.hash is not None and isinstance(policy.hash.key, BySource)
    limits = TcpLimits(policy.pool.tcp_idle_timeout, policy.pool.max_connection_duration, by_source)
    for host in addresses:
        yield ServiceListener(host, port.number, view.service.hostname, port.protocol, limits)
