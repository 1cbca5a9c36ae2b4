"""A change to the configuration that proxies get: where, what, and in which of its parts."""

from dataclasses import dataclass
from enum import StrEnum


class Part(StrEnum):
    """What is changed (`applyTo`)."""

    LISTENER = "LISTENER"
    LISTENER_FILTER = "LISTENER_FILTER"
    FILTER_CHAIN = "FILTER_CHAIN"
    NETWORK_FILTER = "NETWORK_FILTER"
    HTTP_FILTER = "HTTP_FILTER"
    ROUTE_CONFIGURATION = "ROUTE_CONFIGURATION"
    VIRTUAL_HOST = "VIRTUAL_HOST"
    HTTP_ROUTE = "HTTP_ROUTE"
    CLUSTER = "CLUSTER"
    EXTENSION_CONFIG = "EXTENSION_CONFIG"
    BOOTSTRAP = "BOOTSTRAP"


class Operation(StrEnum):
    """What is done. MERGE_AND_REPLACE_LIST is MERGE with lists replaced instead of appended to."""

    MERGE = "MERGE"
    MERGE_AND_REPLACE_LIST = "MERGE_AND_REPLACE_LIST"
    ADD = "ADD"
    REMOVE = "REMOVE"
    INSERT_BEFORE = "INSERT_BEFORE"
    INSERT_AFTER = "INSERT_AFTER"
    INSERT_FIRST = "INSERT_FIRST"
    REPLACE = "REPLACE"

    @property
    def merges(self) -> bool:
        """Whether it changes what is there in place."""
        return self in {Operation.MERGE, Operation.MERGE_AND_REPLACE_LIST}


class Context(StrEnum):
    """Which side of which proxies. WAYPOINT is none that exists yet."""

    ANY = "ANY"
    SIDECAR_INBOUND = "SIDECAR_INBOUND"
    SIDECAR_OUTBOUND = "SIDECAR_OUTBOUND"
    GATEWAY = "GATEWAY"
    WAYPOINT = "WAYPOINT"


class FilterClass(StrEnum):
    """Where ADD puts an HTTP filter."""

    UNSPECIFIED = "UNSPECIFIED"
    AUTHN = "AUTHN"
    AUTHZ = "AUTHZ"
    STATS = "STATS"


@dataclass(frozen=True, slots=True)
class ChainMatch:
    """Which filter chains, and which filters in them. Whatever is empty or 0 does not count."""

    name: str = ""
    sni: str = ""
    transport_protocol: str = ""
    application_protocols: tuple[str, ...] = ()
    destination_port: int = 0
    transport_socket: str = ""
    filter: str = ""
    sub_filter: str = ""


@dataclass(frozen=True, slots=True)
class ListenerMatch:
    """Which listeners. Whatever is empty or 0 does not count."""

    name: str = ""
    port: int = 0
    listener_filter: str = ""
    chain: ChainMatch = ChainMatch()


@dataclass(frozen=True, slots=True)
class TableMatch:
    """Which route tables, virtual hosts and routes. `action` is ANY, ROUTE, REDIRECT or DIRECT_RESPONSE.

    `by_route` says that a route is asked for at all, if only by its action.
    """

    name: str = ""
    port: int = 0
    port_name: str = ""
    gateway: str = ""
    virtual_host: str = ""
    domain: str = ""
    by_route: bool = False
    route: str = ""
    action: str = "ANY"


@dataclass(frozen=True, slots=True)
class ClusterMatch:
    """Which clusters. `name` alone counts where it is given."""

    name: str = ""
    service: str = ""
    subset: str = ""
    port: int = 0


@dataclass(frozen=True, slots=True)
class Patch:
    """One change. `value` is the serialized message of Envoy; `origin` the EnvoyFilter, as `name.namespace`."""

    part: Part
    operation: Operation
    context: Context
    value: bytes
    origin: str
    filter_class: FilterClass = FilterClass.UNSPECIFIED
    listener: ListenerMatch = ListenerMatch()
    table: TableMatch = TableMatch()
    cluster: ClusterMatch = ClusterMatch()
