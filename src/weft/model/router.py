"""What a proxy at the edge of the mesh is to do: its listeners, and the tables that route its requests."""

from dataclasses import dataclass

from weft.model.routing import HostRoutes
from weft.model.server_tls import ServerTls
from weft.model.streams import EVERY, StreamMatch, StreamRoute
from weft.model.topology import NOTHING_BEFORE, Topology


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests, routed by a table. `grpc_web`: browsers may speak gRPC's variant for them."""

    table: str
    grpc_web: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """TLS connections of the mesh that name their cluster by SNI: they go on to it as they are."""

    hostname: str
    port: int
    subset: str = ""


Handler = Requests | StreamRoute | Asked


@dataclass(frozen=True, slots=True)
class Chain:
    """What becomes of the connections of one match. Without `tls`, bytes are taken as they come.

    The match of `Asked` is the server name that it stands for. `name` is for statistics.
    """

    handler: Handler
    match: StreamMatch = EVERY
    tls: ServerTls | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class RouterListener:
    """A port of the pod, and an address or all (empty). `by_name`: server names tell the chains apart.

    No two chains have the same match.
    """

    bind: str
    port: int
    chains: tuple[Chain, ...]
    by_name: bool


@dataclass(frozen=True, slots=True)
class RoutedHost:
    """A host or wildcard of a table, with the routes of all VirtualServices that are bound for it, in order.

    `redirect`: plaintext requests are sent to https.
    """

    host: str
    routes: tuple[HostRoutes, ...]
    redirect: bool = False


@dataclass(frozen=True, slots=True)
class RouterTable:
    """A route table. `port` is the one that clients dial, that of the gateway's Service.

    Requests for a host of `elsewhere` came by the wrong connection; for one of `unrouted` there is no rule. The
    closest of all names counts.
    """

    name: str
    port: int
    hosts: tuple[RoutedHost, ...]
    elsewhere: tuple[str, ...] = ()
    unrouted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Router:
    """All that a gateway does; `automatic` says that it has to know every service by its server name."""

    listeners: tuple[RouterListener, ...]
    tables: tuple[RouterTable, ...]
    automatic: bool = False
    topology: Topology = NOTHING_BEFORE
