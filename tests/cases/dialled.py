"""Where a request of a case is sent, and what becomes of it where nobody knows its host."""

from collections.abc import Iterable
from dataclasses import dataclass

from tests.cases import whereabouts
from tests.cases.whereabouts import service_of

from weft.base.names import host_matches
from weft.model.routing import HostRoutes
from weft.model.unregistered import PORT
from weft.model.view import HostView, ServiceView, View
from weft.xds import names
from weft.xds.unlisted import otherwise

UNKNOWN = "10.99.99.99"
"""The address of every host that the registry does not know."""
PASSED, CLOSED, RESOLVED, APPLICATION = "passed", "closed", "resolved", "application"
"""Reached as dialled; ended without an answer; reached where the DNS says; the application beside the proxy."""


@dataclass(frozen=True)
class Dialled:
    """The address and port that the client connects to, and the routes of the port if its host is known there."""

    address: str
    port: int
    routes: HostRoutes | None


def dialled(host: str, port: int, by: str, seen: View) -> Dialled:
    """`by` is an `ADDRESS:PORT` that is dialled in place of the host's own."""
    address, _, number = by.rpartition(":")
    at = int(number or port)
    listeners = [each for each in seen.scope.egress if each.listening.port == at]
    services = listeners[0].services if listeners else seen.services
    found = service_of(host, services)
    own = whereabouts.dialled(found.service, seen) if found else UNKNOWN
    hosts = listeners[0].hosts if listeners else seen.hosts
    routes = _routes(found, port)
    unregistered = host_of(host, hosts) if at == PORT else None
    if unregistered is not None and (
        found is None or routes is None or _is_closer(unregistered.hostname, found.service.hostname)
    ):
        routes = unregistered.routes
    return Dialled(address or own, at, routes)


def host_of(host: str, hosts: Iterable[HostView]) -> HostView | None:
    """The host without a service that a client means: of this name, or the closest wildcard."""
    fitting = [each for each in hosts if host_matches(each.hostname, host)]
    return max(fitting, key=lambda each: _closeness(each.hostname), default=None)


def _is_closer(one: str, other: str) -> bool:
    return _closeness(one) > _closeness(other)


def _closeness(hostname: str) -> tuple[bool, int]:
    return (not hostname.startswith("*"), len(hostname))


def _routes(found: ServiceView | None, port: int) -> HostRoutes | None:
    return next((each.routes for each in found.ports if each.number == port), None) if found else None


def unlisted(at: int, seen: View) -> str:
    """Where a request goes whose host is not known on the port that was dialled."""
    if any(each.bound and each.port.number == at for each in seen.served or ()):
        return APPLICATION
    to = otherwise(seen.scope.unlisted, seen.mesh)
    tables = any(
        port.number == at and port.protocol.is_http for each in seen.services for port in each.service.ports
    ) or (at == PORT and bool(seen.hosts))
    tables |= any(each.listening.port == at and each.listening.protocol.is_http for each in seen.scope.egress)
    return key(to.requests, refused="502") if tables else key(to.connections, refused=CLOSED)


def key(cluster: str, *, refused: str = "503") -> str:
    """A cluster as cases write it."""
    match cluster:
        case names.PASSTHROUGH:
            return PASSED
        case names.BLACK_HOLE:
            return refused
        case names.DYNAMIC_DNS:
            return RESOLVED
        case _ if cluster.startswith("inbound|"):
            return APPLICATION
        case _:
            _, port, subset, hostname = cluster.split("|")
            return f"{hostname}|{port}|{subset}"
