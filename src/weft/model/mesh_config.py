"""What an operator decides for the whole mesh (MeshConfig, in the ConfigMap `istio`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from weft.model.clients import EVERYWHERE
from weft.model.external_authorization import Provider
from weft.model.locality import BY_DEFAULT, LocalityLb, ZoneAwareLb
from weft.model.routing import Retries
from weft.model.traffic import ConnectionPool, OutlierDetection

NO_LIMITS: Final = ConnectionPool()
_SILENCE: Final = timedelta(seconds=5)
_HTTP_SILENCE: Final = timedelta(minutes=1)


class OutboundPolicy(StrEnum):
    """What becomes of traffic to hosts that the registry does not know.

    ALLOW_ANY_DYNAMIC_DNS: HTTP goes where DNS says that its host is; all else as dialled.
    """

    ALLOW_ANY = "ALLOW_ANY"
    REGISTRY_ONLY = "REGISTRY_ONLY"
    ALLOW_ANY_DYNAMIC_DNS = "ALLOW_ANY_DYNAMIC_DNS"


class PathNormalization(StrEnum):
    """How paths are made alike before they are matched. Each does what the one before it does, and more."""

    NONE = "NONE"
    BASE = "BASE"
    MERGE_SLASHES = "MERGE_SLASHES"
    DECODE_AND_MERGE_SLASHES = "DECODE_AND_MERGE_SLASHES"


class IngressMode(StrEnum):
    """Which Ingress objects are served: none, those of the class, or those of no class as well."""

    OFF = "OFF"
    STRICT = "STRICT"
    DEFAULT = "DEFAULT"


@dataclass(frozen=True, slots=True)
class IngressSettings:
    """How Ingress objects are served. `selector` is the label `istio` of the gateway's pods."""

    mode: IngressMode = IngressMode.STRICT
    class_name: str = "istio"
    service: str = "istio-ingressgateway"
    selector: str = "ingressgateway"


@dataclass(frozen=True, slots=True)
class AccessLog:
    """Where proxies log requests and connections; an empty `file` is nowhere. An empty `format` is Istio's."""

    file: str = ""
    format: str = ""
    json: bool = False


@dataclass(frozen=True, slots=True)
class TlsLimits:
    """What a handshake may agree on; empty lists are Envoy's."""

    tls13_only: bool = False
    ciphers: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()


NO_TLS_LIMITS: Final = TlsLimits()


@dataclass(frozen=True, slots=True)
class Ports:
    """Where sidecars listen. `proxy` is that of the HTTP proxy on 127.0.0.1, 0 for none."""

    outbound: int = 15001
    inbound: int = 15006
    proxy: int = 0


@dataclass(frozen=True, slots=True)
class StatNames:
    """Patterns of the names that clusters are counted under; empty: Envoy's, which is the cluster's name."""

    inbound: str = ""
    outbound: str = ""


@dataclass(frozen=True, slots=True)
class Selector:
    """Demands on labels: `(key, operator, values)`, all to hold. Operators are Kubernetes'."""

    demands: tuple[tuple[str, str, tuple[str, ...]], ...]

    def fits(self, labels: Mapping[str, str]) -> bool:
        """Whether labels meet all demands (LabelSelector, apimachinery)."""
        return all(_meets(labels.get(key), operator, values) for key, operator, values in self.demands)


def _meets(value: str | None, operator: str, values: tuple[str, ...]) -> bool:
    match operator:
        case "In":
            return value is not None and value in values
        case "NotIn":
            return value is None or value not in values
        case "Exists":
            return value is not None
        case _:
            return value is None


@dataclass(frozen=True, slots=True)
class FurtherRoots:
    """Roots (PEM) beside those of the mesh's own authority, and whom they vouch for.

    `domains` are trust domains, the mesh's own where there are none; `signers` are signers of the cluster.
    """

    roots: str
    domains: tuple[str, ...] = ()
    signers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MeshConfig:
    """The mesh's settings, with Istio's defaults.

    `detection_timeout` 0 means to wait for ever, None what suits the port. `pool` and `outliers` hold where no
    DestinationRule says otherwise; `retries` where no route does.
    `default_config` is a ProxyConfig as written. `providers` decide for CUSTOM policies; `other_providers` are
    the names of those that only measure.
    """

    trust_domain: str = "cluster.local"
    trust_domain_aliases: tuple[str, ...] = ()
    authorities: tuple[FurtherRoots, ...] = ()
    root_namespace: str = "istio-system"
    outbound: OutboundPolicy = OutboundPolicy.ALLOW_ANY
    inbound_localhost: bool = False
    detection_timeout: timedelta | None = None
    pool: ConnectionPool = NO_LIMITS
    outliers: OutlierDetection | None = None
    locality: LocalityLb = BY_DEFAULT
    zones: ZoneAwareLb | None = None
    auto_mtls: bool = True
    service_export: tuple[str, ...] = (EVERYWHERE,)
    routing_export: tuple[str, ...] = (EVERYWHERE,)
    traffic_export: tuple[str, ...] = (EVERYWHERE,)
    dns_refresh_rate: timedelta = timedelta(seconds=60)
    retries: Retries | None = None
    inbound_retries: Retries | None = None
    stat_names: StatNames = StatNames()
    ports: Ports = Ports()
    paths: PathNormalization = PathNormalization.BASE
    access_log: AccessLog = AccessLog()
    listener_log: bool = True
    verify_at_client: bool = True
    mutual_tls: TlsLimits = NO_TLS_LIMITS
    tls: TlsLimits = NO_TLS_LIMITS
    discovery: tuple[Selector, ...] = ()
    ingress: IngressSettings = IngressSettings()
    providers: tuple[Provider, ...] = field(default=(), hash=False)
    other_providers: tuple[str, ...] = ()
    default_config: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def silence(self) -> timedelta:
        """How long a client may be silent on a port that may speak anything."""
        return _SILENCE if self.detection_timeout is None else self.detection_timeout

    @property
    def http_silence(self) -> timedelta:
        """The same on ports of HTTP services, where a silent client more likely connects ahead of its requests."""
        return _HTTP_SILENCE if self.detection_timeout is None else self.detection_timeout

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether a namespace with these labels is one that the mesh looks at."""
        return not self.discovery or any(each.fits(labels) for each in self.discovery)


DEFAULT_MESH = MeshConfig()
