"""What an operator decides for the whole mesh (MeshConfig, in the ConfigMap `istio`)."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class OutboundPolicy(StrEnum):
    """What becomes of traffic to hosts that the registry does not know."""

    ALLOW_ANY = "ALLOW_ANY"
    REGISTRY_ONLY = "REGISTRY_ONLY"


@dataclass(frozen=True, slots=True)
class MeshConfig:
    """The mesh's settings, with Istio's defaults. `detection_timeout` 0 means to wait for ever."""

    trust_domain: str = "cluster.local"
    root_namespace: str = "istio-system"
    outbound: OutboundPolicy = OutboundPolicy.ALLOW_ANY
    connect_timeout: timedelta = timedelta(seconds=10)
    detection_timeout: timedelta = timedelta(seconds=5)


DEFAULT_MESH = MeshConfig()
