"""What comes to a proxy's own workload: its ports, where their traffic goes, and with which limits."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from weft.model.clients import Client
from weft.model.mesh_config import NO_LIMITS
from weft.model.mesh_defaults import pool_over
from weft.model.resolution import Directory
from weft.model.server_tls import ServerTls
from weft.model.services import InboundPort, Proxy
from weft.model.sidecars import Capture, Ingress, SidecarRule
from weft.model.traffic import ConnectionPool

_LOOPBACK = "127.0.0.1"
_POD = "0.0.0.0"


@dataclass(frozen=True, slots=True)
class ServedPort:
    """A port of the workload.

    `endpoint` is where its traffic goes, `ADDRESS:PORT` or `unix:///PATH`; empty: as dialled. `bound`: the proxy
    listens there itself, at `address`; else iptables leads to 15006. `tls` is the application's own.
    """

    port: InboundPort
    pool: ConnectionPool = NO_LIMITS
    endpoint: str = ""
    tls: ServerTls | None = None
    address: str = ""
    bound: bool = False


def served(proxy: Proxy, rule: SidecarRule | None, directory: Directory) -> tuple[ServedPort, ...]:
    """The ports of a Sidecar, else those that services lead to; `proxy.inbound` are the latter.

    Limits are those of the port in the Sidecar, else of the Sidecar, else of the service's DestinationRule, never
    merged (Istio, Sidecar.inboundConnectionPool).
    """
    mesh = directory.mesh
    pool = None if rule is None or rule.pool is None else pool_over(rule.pool, mesh.pool)
    if rule is not None and rule.ingress:
        return tuple(_of_ingress(rule.ingress, proxy, pool, directory))
    local = mesh.inbound_localhost
    return tuple(
        ServedPort(
            port,
            _service_pool(port, proxy, directory) if pool is None else pool,
            f"{_LOOPBACK}:{port.number}" if local else "",
        )
        for port in proxy.inbound
    )


def _of_ingress(
    listeners: tuple[Ingress, ...], proxy: Proxy, pool: ConnectionPool | None, directory: Directory
) -> Iterator[ServedPort]:
    known = {port.number: port for port in proxy.inbound}
    for each in listeners:
        led = known.get(each.port) or InboundPort(each.port, each.protocol, "", each.port)
        port = replace(led, protocol=each.protocol, name=each.name or led.name)
        limits = None if each.pool is None else pool_over(each.pool, directory.mesh.pool)
        bound = each.capture is Capture.DIALLED
        yield ServedPort(
            port=port,
            pool=limits or pool or _service_pool(port, proxy, directory),
            endpoint=_endpoint(each, proxy, directory),
            tls=each.tls,
            address=(each.address or _POD) if bound else "",
            bound=bound,
        )


def _endpoint(ingress: Ingress, proxy: Proxy, directory: Directory) -> str:
    host, _, number = ingress.endpoint.rpartition(":")
    if host == _POD:
        return f"{proxy.address}:{number}"
    if ingress.endpoint:
        return ingress.endpoint
    # what the proxy itself listens on cannot be dialled to reach the application
    local = directory.mesh.inbound_localhost or ingress.capture is Capture.DIALLED
    return f"{_LOOPBACK}:{ingress.port}" if local else ""


def _service_pool(port: InboundPort, proxy: Proxy, directory: Directory) -> ConnectionPool:
    """The limits of the service's rule; those that select clients do not hold here, as in Istio."""
    service = directory.service(port.hostname, proxy.namespace)
    if service is None:
        return directory.mesh.pool
    return directory.traffic(service, Client(proxy.namespace)).at(port.service_port).pool
