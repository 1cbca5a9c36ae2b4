"""What an operator decides about sidecars, once for a mesh."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_NATIVE_SINCE: Final = (1, 29)
"""Kubernetes has had sidecars among init containers on by default since (KEP-753)."""


@dataclass(frozen=True, slots=True)
class Resources:
    """Kubernetes quantities for requests and limits of the sidecar; "" leaves one out."""

    cpu: str = "10m"
    memory: str = "40Mi"
    cpu_limit: str = "2"
    memory_limit: str = "1Gi"


@dataclass(frozen=True, slots=True)
class InjectSettings:
    """The mesh's side of an injection. `image` is the proxy's image with its tag.

    `outbound_port` and `inbound_port` are where its proxies take what iptables leads to them.
    `agent_command` starts the agent inside that image, for hooks that run beside its entry point.
    """

    image: str
    revision: str = "default"
    cluster_id: str = "Kubernetes"
    cluster_domain: str = "cluster.local"
    trust_domain: str = "cluster.local"
    mesh_id: str = "cluster.local"
    ca_address: str = "istiod.istio-system.svc:15012"
    status_port: int = 15020
    outbound_port: int = 15001
    inbound_port: int = 15006
    resources: Resources = field(default_factory=Resources)
    agent_command: tuple[str, ...] = ("weft", "agent")
    native_sidecars: bool = False
    """Whether sidecars are init containers that go on running, where a pod does not say."""
    cni: bool = False
    """Whether the CNI plugin captures the traffic of pods, so that they need no right to do it themselves."""
    multus: bool = False
    """Whether that plugin runs for a pod because its annotations name its network."""


def has_native_sidecars(version: Mapping[str, Any]) -> bool:
    """Whether a cluster has them, by what its API server answers at /version.

    >>> [has_native_sidecars({"major": "1", "minor": minor}) for minor in ("36", "29+", "28", "")]
    [True, True, False, False]
    """
    # some providers write "29+"
    numbers = [re.match(r"\d{1,9}", str(version.get(part, ""))) for part in ("major", "minor")]
    return tuple(int(found[0]) for found in numbers if found) >= _NATIVE_SINCE
