"""Traffic policy: how a proxy talks to a service, after DestinationRules are resolved."""

from dataclasses import dataclass, field
from enum import StrEnum

from weft.model.services import Labels


class LoadBalancer(StrEnum):
    """The ways to choose an endpoint. LEAST_REQUEST is the default, as in Istio."""

    LEAST_REQUEST = "LEAST_REQUEST"
    ROUND_ROBIN = "ROUND_ROBIN"
    RANDOM = "RANDOM"
    PASSTHROUGH = "PASSTHROUGH"


class TlsMode(StrEnum):
    """What a DestinationRule asks of the connection. AUTO: mTLS where the endpoint takes it."""

    AUTO = "AUTO"
    DISABLE = "DISABLE"
    ISTIO_MUTUAL = "ISTIO_MUTUAL"
    SIMPLE = "SIMPLE"


@dataclass(frozen=True, slots=True)
class TrafficPolicy:
    """How to talk to one service (or one subset of it) on one port."""

    load_balancer: LoadBalancer = LoadBalancer.LEAST_REQUEST
    tls: TlsMode = TlsMode.AUTO


@dataclass(frozen=True, slots=True)
class Subset:
    """Some of a service's endpoints: those that carry all these labels."""

    name: str
    labels: Labels
    policy: TrafficPolicy


@dataclass(frozen=True, slots=True)
class HostTraffic:
    """The DestinationRule in force for a host. `rule` is its `name.namespace`, empty where there is none."""

    policy: TrafficPolicy = field(default_factory=TrafficPolicy)
    subsets: tuple[Subset, ...] = ()
    rule: str = ""
