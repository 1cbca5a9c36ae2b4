"""Gateways, translated, and which of them a pod is to be."""

from collections.abc import Iterable
from dataclasses import dataclass

from weft.api import gateway as api
from weft.api.gateway_checks import HTTP, OVER_TLS
from weft.base.names import host_covers
from weft.model.clients import sorted_labels
from weft.model.rule import Rule
from weft.model.server_tls import ServerTls, server_tls
from weft.model.services import Labels

_OWN = "."
_ANY = "*"


@dataclass(frozen=True, slots=True)
class ServerHost:
    """A host or wildcard that a server serves, for VirtualServices of one namespace, or of any if it is empty."""

    host: str
    namespace: str = ""

    def common(self, host: str, namespace: str) -> str:
        """What this and a VirtualService's `host` both mean, the narrower of the two; empty if nothing."""
        if self.namespace not in {"", namespace}:
            return ""
        if host_covers(self.host, host):
            return host
        return self.host if host_covers(host, self.host) else ""


@dataclass(frozen=True, slots=True)
class Server:
    """One entry of `spec.servers`. `number` is the port of the gateway's Service; `protocol` is in capitals.

    `redirect`: plaintext requests are sent to https. `name` is for statistics.
    """

    field: str
    number: int
    port_name: str
    protocol: str
    bind: str
    hosts: tuple[ServerHost, ...]
    redirect: bool
    tls: ServerTls | None
    name: str = ""

    @property
    def routes_requests(self) -> bool:
        """Whether it sees requests: plaintext HTTP, or HTTPS that ends here."""
        ends_here = self.tls is not None and not self.tls.mode.passes
        return self.protocol in HTTP or (self.protocol == "HTTPS" and ends_here)

    @property
    def server_names(self) -> tuple[str, ...]:
        """The names that clients ask for by SNI, sorted; none if all are served."""
        names = {each.host for each in self.hosts}
        return () if _ANY in names else tuple(sorted(names))

    def common(self, host: str, namespace: str) -> tuple[str, ...]:
        """The hosts of a VirtualService's `host` that are served here."""
        found = (each.common(host, namespace) for each in self.hosts)
        return tuple(dict.fromkeys(each for each in found if each))


@dataclass(frozen=True, slots=True)
class Gateway(Rule):
    """A Gateway: its servers, and the labels of the pods that are to be them, in any namespace."""

    selector: Labels
    servers: tuple[Server, ...]

    @property
    def path(self) -> str:
        """`namespace/name`, as VirtualServices refer to it."""
        return f"{self.namespace}/{self.name}"


class Gateways:
    """All Gateways, the oldest first. Not changed once made."""

    def __init__(self, gateways: Iterable[Gateway]) -> None:
        self.rules = tuple(sorted(gateways, key=lambda each: each.precedence))
        self.by_path = {each.path: each for each in self.rules}

    def selecting(self, labels: Labels) -> tuple[Gateway, ...]:
        """The Gateways that a proxy with these labels is to be."""
        own = set(labels)
        return tuple(each for each in self.rules if own.issuperset(each.selector))


def gateway(source: api.Gateway, _domain: str) -> Gateway:
    """Translate a Gateway that has passed its checks."""
    meta, spec = source.metadata, source.spec
    return Gateway(
        name=meta.name,
        namespace=meta.namespace,
        created=meta.creation_timestamp or "",
        selector=sorted_labels(spec.selector),
        servers=tuple(_server(each, f"spec.servers[{i}]", meta.namespace) for i, each in enumerate(spec.servers)),
    )


def _server(source: api.Server, field: str, namespace: str) -> Server:
    protocol = source.port.protocol.upper()
    tls = source.tls if protocol in OVER_TLS else None
    return Server(
        field=field,
        number=source.port.number,
        port_name=source.port.name,
        protocol=protocol,
        bind=source.bind,
        hosts=tuple(dict.fromkeys(_host(each, namespace) for each in source.hosts)),
        redirect=protocol in HTTP and source.tls is not None and bool(source.tls.https_redirect),
        tls=None if tls is None else server_tls(tls),
        name=source.name,
    )


def _host(written: str, namespace: str) -> ServerHost:
    where, _, host = written.lower().rpartition("/")
    return ServerHost(host.removesuffix("."), {_OWN: namespace, _ANY: ""}.get(where, where))
