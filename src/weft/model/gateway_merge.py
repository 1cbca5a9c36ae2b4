"""Servers of several Gateways on one pod: which share a port, and which have to stand back.

As Istio merges them: plaintext HTTP servers of a port share one listener and one route table; TLS servers share a
listener, told apart by server name; nothing else shares a port, and the older Gateway wins.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from weft.model.gateways import Gateway, Server


@dataclass(frozen=True, slots=True)
class Placed:
    """A server of a Gateway and the pod's port where it listens."""

    gateway: Gateway
    server: Server
    port: int

    @property
    def table(self) -> str:
        """The route table of its requests, as Istio spells it."""
        server, bind = self.server, f".{self.server.bind}" if self.server.bind else ""
        if server.tls is None:
            return f"http.{self.port}{bind}"
        name, namespace = self.gateway.name, self.gateway.namespace
        return f"https.{server.number}.{server.port_name}.{name}.{namespace}{bind}"


@dataclass(frozen=True, slots=True)
class Conflict:
    """A server that stands back before another: `reason` says over what."""

    placed: Placed
    winner: Placed
    reason: str


@dataclass(slots=True)
class Shared:
    """The servers of one port and address: plaintext HTTP, or TLS, or a single one of TCP."""

    bind: str
    port: int
    servers: list[Placed] = field(default_factory=list)

    @property
    def over_tls(self) -> bool:
        """Whether server names tell its servers apart."""
        return self.servers[0].server.tls is not None


def merged(gateways: Iterable[Gateway], target: Callable[[int], int]) -> tuple[list[Shared], list[Conflict]]:
    """Put the servers of Gateways, the oldest first, in their places.

    `target` gives the pod's port behind a port of its Service.
    """
    ports: dict[tuple[str, int], Shared] = {}
    conflicts: list[Conflict] = []
    for gateway in gateways:
        for server in gateway.servers:
            placed = Placed(gateway, server, target(server.number))
            shared = ports.setdefault((server.bind, placed.port), Shared(server.bind, placed.port))
            conflict = _conflict(placed, shared.servers)
            if conflict is None:
                shared.servers.append(placed)
            else:
                conflicts.append(conflict)
    return list(ports.values()), conflicts


def _conflict(placed: Placed, others: list[Placed]) -> Conflict | None:
    if not others:
        return None
    first, server = others[0], placed.server
    if (server.tls is None) != (first.server.tls is None):
        return Conflict(placed, first, f"{first.server.protocol} on port {server.number}")
    if server.tls is None:
        if server.routes_requests and first.server.routes_requests:
            return None
        return Conflict(placed, first, f"{first.server.protocol} on port {server.number}")
    names = set(server.server_names or ("*",))
    for other in others:
        both = sorted(names & set(other.server.server_names or ("*",)))
        if both:
            return Conflict(placed, other, f"{', '.join(both)} on port {server.number}")
        if server.routes_requests and other.server.routes_requests and other.table == placed.table:
            return Conflict(placed, other, f"a port {server.number} named {server.port_name}")
    return None
