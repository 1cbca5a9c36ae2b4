"""Where clients and endpoints are, and what a policy says of it.

A locality is written `region/zone/subzone`, shorter where less is known; labels carry the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

REGION: Final = "topology.kubernetes.io/region"
ZONE: Final = "topology.kubernetes.io/zone"
SUBZONE: Final = "topology.istio.io/subzone"
NETWORK: Final = "topology.istio.io/network"
CLUSTER: Final = "topology.istio.io/cluster"
HOSTNAME: Final = "kubernetes.io/hostname"

LEVELS: Final = (REGION, ZONE, SUBZONE)
"""The labels of a locality's parts."""
OWN_CLUSTER: Final = "Kubernetes"
_POD_LOCALITY: Final = ("topology.istio.io/locality", "istio-locality")


class Nearness(StrEnum):
    """Which endpoints a Service prefers (trafficDistribution). ANY: none of them."""

    ANY = ""
    SAME_ZONE = "PreferSameZone"
    SAME_NODE = "PreferSameNode"

    @property
    def priorities(self) -> tuple[str, ...]:
        """The labels that near endpoints share with the client, the widest first."""
        match self:
            case Nearness.SAME_ZONE:
                return (NETWORK, REGION, ZONE)
            case Nearness.SAME_NODE:
                return (NETWORK, REGION, ZONE, SUBZONE, HOSTNAME)
            case Nearness.ANY:
                return ()


NEARNESS: Final[Mapping[str, Nearness]] = {
    "PreferClose": Nearness.SAME_ZONE,  # Kubernetes' old name
    "PreferSameZone": Nearness.SAME_ZONE,
    "PreferSameNode": Nearness.SAME_NODE,
}
"""By the value of `trafficDistribution` and of Istio's annotation."""


@dataclass(frozen=True, slots=True)
class LocalityLb:
    """Load balancing by locality. `distribute` pairs clients' localities with percentages by locality.

    `failover` pairs a region with the next one. `priorities` are labels, or `label=value`. A locality in
    `distribute` may end in `*`.
    """

    enabled: bool = True
    distribute: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = ()
    failover: tuple[tuple[str, str], ...] = ()
    priorities: tuple[str, ...] = ()


BY_DEFAULT: Final = LocalityLb()
"""What holds where neither a rule nor the mesh says anything: failover, wherever failure is detected."""


@dataclass(frozen=True, slots=True)
class ZoneAwareLb:
    """Load balancing by zone: Envoy keeps in the client's zone what evenly fits there."""

    enabled: bool = True
    failover: tuple[tuple[str, str], ...] = ()
    priorities: tuple[str, ...] = ()
    min_cluster_size: int = 6


def label_of(priority: str) -> str:
    """The label of an entry of `failoverPriority`."""
    return priority.partition("=")[0]


def locality(labels: Mapping[str, str], of_node: str) -> str:
    """A pod's locality: that of its label, in which dots stand for slashes, else its node's."""
    written = next((labels[each] for each in _POD_LOCALITY if labels.get(each)), "")
    if not written:
        return of_node
    return written if "/" in written else written.replace(".", "/")


def node_locality(labels: Mapping[str, str]) -> str:
    """A node's locality by its labels, up to the first part that is not known."""
    return "/".join(labels.get(level, "") for level in LEVELS).rstrip("/")


def parts(text: str) -> tuple[str, str, str]:
    """Region, zone and subzone."""
    region, _, rest = text.partition("/")
    zone, _, subzone = rest.partition("/")
    return region, zone, subzone


def place_labels(place: str, node: str, network: str) -> dict[str, str]:
    """What is known of a place, as labels."""
    known = (*zip(LEVELS, parts(place), strict=True), (HOSTNAME, node), (NETWORK, network), (CLUSTER, OWN_CLUSTER))
    return {label: value for label, value in known if value}


def is_within(place: str, pattern: str) -> bool:
    """Whether a locality is one that `distribute` means: `us/*`, `us/west`, `*`."""
    return all(
        asked in {"*", part} or (not asked and level > 0)
        for level, (asked, part) in enumerate(zip(parts(pattern), parts(place), strict=True))
    )
