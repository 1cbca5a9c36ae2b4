"""Sidecars, translated once, and which of them is in force for a proxy."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from weft.api import sidecar as api
from weft.api.sidecar_checks import HTTP_PROXY, UNIX
from weft.base.names import full_host
from weft.model.clients import sorted_labels
from weft.model.imports import Imports, imports
from weft.model.kubernetes import PROTOCOLS
from weft.model.rule import Rule
from weft.model.server_tls import ServerTls, server_tls
from weft.model.services import Labels, Protocol
from weft.model.traffic import ConnectionPool
from weft.model.traffic_policies import connection_pool


class Capture(StrEnum):
    """How connections come to a listener: led there by iptables, or dialled by the application."""

    LED = "led"
    DIALLED = "dialled"


@dataclass(frozen=True, slots=True)
class Listening:
    """Where an egress listener takes connections. No `address`: any; `unix://…`: a socket, and `port` is 0.

    `proxy`: it serves as an HTTP proxy, and requests name host and port themselves. `table` is a name for the
    table of its routes, empty for the usual.
    """

    port: int
    protocol: Protocol
    address: str = ""
    capture: Capture = Capture.LED
    proxy: bool = False
    table: str = ""


@dataclass(frozen=True, slots=True)
class Egress:
    """Hosts that are called. Without `listening`, on all ports that no other listener has.

    `address` is where listeners of the services' ports are then, empty for the usual.
    """

    hosts: tuple[str, ...]
    listening: Listening | None = None
    address: str = ""
    capture: Capture = Capture.LED

    def imports(self, namespace: str) -> Imports:
        """What proxies in a namespace see by it."""
        one_port = self.listening is not None and not self.listening.proxy
        return imports(self.hosts, namespace, self.listening.port if self.listening and one_port else 0)


@dataclass(frozen=True, slots=True)
class Ingress:
    """A port of the workload. `endpoint` is where its traffic goes, empty: the same port of the pod."""

    port: int
    protocol: Protocol
    name: str = ""
    address: str = ""
    capture: Capture = Capture.LED
    endpoint: str = ""
    tls: ServerTls | None = None
    pool: ConnectionPool | None = None


@dataclass(frozen=True, slots=True)
class EgressProxy:
    """Where traffic to unknown hosts goes instead of its own way."""

    host: str
    port: int
    subset: str = ""


@dataclass(frozen=True, slots=True)
class Unlisted:
    """What becomes of traffic to hosts that are not listed."""

    allowed: bool
    proxy: EgressProxy | None = None


@dataclass(frozen=True, slots=True)
class SidecarRule(Rule):
    """A Sidecar. Without `selector` it is for all workloads of its namespace, the root namespace's for all others.

    `ingress` empty: the ports that services lead to. `unlisted` and `pool` None: as the mesh has them.
    """

    selector: Labels | None
    egress: tuple[Egress, ...]
    ingress: tuple[Ingress, ...] = ()
    pool: ConnectionPool | None = None
    unlisted: Unlisted | None = None

    @property
    def client_labels(self) -> frozenset[str]:
        """None: a proxy's Sidecar is found by all of its labels, before its client is narrowed to some."""
        return frozenset()


class Sidecars:
    """The Sidecars, found by workload. Not changed once made."""

    def __init__(self, rules: Iterable[SidecarRule], root_namespace: str) -> None:
        self.rules = tuple(sorted(rules, key=lambda rule: rule.precedence))
        self._root = root_namespace
        self._selecting: dict[str, list[SidecarRule]] = {}
        self._defaults: dict[str, SidecarRule] = {}
        for rule in self.rules:
            if rule.selector is None:
                self._defaults.setdefault(rule.namespace, rule)
            else:
                self._selecting.setdefault(rule.namespace, []).append(rule)

    def find(self, namespace: str, labels: Labels) -> SidecarRule | None:
        """The oldest that selects the workload, else its namespace's default, else the root namespace's."""
        for rule in self._selecting.get(namespace, ()):
            if set(rule.selector or ()) <= set(labels):
                return rule
        return self._defaults.get(namespace) or self._defaults.get(self._root)

    def default(self, namespace: str) -> SidecarRule | None:
        """The one of a namespace without a selector."""
        return self._defaults.get(namespace)

    def selecting(self, namespace: str) -> tuple[SidecarRule, ...]:
        """Those of a namespace that select workloads, in order of precedence."""
        return tuple(self._selecting.get(namespace, ()))


def sidecar_rule(source: api.Sidecar, domain: str) -> SidecarRule:
    """Translate a Sidecar that has passed its checks."""
    meta, spec = source.metadata, source.spec
    selector = spec.workload_selector
    egress = spec.egress or (api.EgressListener(hosts=("*/*",)),)
    pool = spec.inbound_connection_pool
    return SidecarRule(
        name=meta.name,
        namespace=meta.namespace,
        created=meta.creation_timestamp or "",
        selector=sorted_labels(selector.labels) if selector is not None and selector.labels else None,
        egress=tuple(_egress(each) for each in egress),
        ingress=tuple(_ingress(each) for each in spec.ingress if _protocol(each.port) is not Protocol.UDP),
        pool=None if pool is None else connection_pool(pool),
        unlisted=_unlisted(spec.outbound_traffic_policy, meta.namespace, domain),
    )


def _egress(written: api.EgressListener) -> Egress:
    own_socket = written.capture_mode == "NONE" or written.bind.startswith(UNIX)
    capture = Capture.DIALLED if own_socket else Capture.LED
    if written.port is None:
        return Egress(written.hosts, None, written.bind, capture)
    address = written.bind or ("127.0.0.1" if own_socket else "")
    proxy = written.port.protocol.upper() == HTTP_PROXY
    protocol = Protocol.HTTP if proxy else _protocol(written.port)
    return Egress(written.hosts, Listening(written.port.number, protocol, address, capture, proxy))


def _ingress(written: api.IngressListener) -> Ingress:
    tls, pool = written.tls, written.connection_pool
    return Ingress(
        port=written.port.number,
        protocol=_protocol(written.port),
        name=written.port.name,
        address=written.bind,
        capture=Capture.DIALLED if written.capture_mode == "NONE" else Capture.LED,
        endpoint=written.default_endpoint,
        tls=None if tls is None else server_tls(tls),
        pool=None if pool is None else connection_pool(pool),
    )


def _unlisted(written: api.OutboundTrafficPolicy | None, namespace: str, domain: str) -> Unlisted | None:
    if written is None:
        return None
    proxy = written.egress_proxy
    if proxy is None or proxy.port is None:
        return Unlisted(written.mode == "ALLOW_ANY")
    host = full_host(proxy.host, namespace, domain)
    return Unlisted(written.mode == "ALLOW_ANY", EgressProxy(host, proxy.port.number, proxy.subset))


def _protocol(port: api.ListenerPort) -> Protocol:
    return PROTOCOLS.get(port.protocol.lower(), Protocol.TCP)
