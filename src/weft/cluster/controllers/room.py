"""What a node has room for: resources and host ports."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from weft.adapters.kube.client import Json
from weft.cluster.apiserver.quantities import parse

Amounts = Mapping[str, Fraction]
HostPort = tuple[str, str, int]
"""Transport, address and number."""

# what a container counts for when it asks for nothing, for spreading only (`schedutil.GetNonzeroRequests`)
_ASSUMED: Amounts = {"cpu": Fraction(1, 10), "memory": Fraction(200 * 1024 * 1024)}
_NONE = Fraction(0)


@dataclass(slots=True)
class Site:
    """A node with the pods on it."""

    node: Json
    pods: list[Json] = field(default_factory=list)
    taken: dict[str, Fraction] = field(default_factory=dict)
    assumed: dict[str, Fraction] = field(default_factory=dict)
    ports: set[HostPort] = field(default_factory=set)

    @property
    def name(self) -> str:
        """The node's name."""
        return str(self.node["metadata"]["name"])

    @property
    def labels(self) -> Mapping[str, str]:
        """The node's labels."""
        return self.node["metadata"].get("labels") or {}

    @property
    def allocatable(self) -> Mapping[str, str]:
        """What the node offers to pods."""
        status = self.node.get("status", {})
        return status.get("allocatable") or status.get("capacity") or {}

    def add(self, pod: Json, asked: Amounts) -> None:
        """Count a pod in."""
        self.pods.append(pod)
        _add(self.taken, asked)
        _add(self.assumed, _at_least(asked, pod))
        self.ports |= host_ports(pod)


def _add(total: dict[str, Fraction], more: Amounts) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, _NONE) + amount


def _at_least(asked: Amounts, pod: Json) -> Amounts:
    count = len(pod["spec"].get("containers") or ())
    return {name: asked.get(name) or value * count for name, value in _ASSUMED.items()}


def requests(pod: Json) -> dict[str, Fraction]:
    """What a pod asks for: its containers and sidecars together, or its hungriest moment of starting."""
    spec = pod["spec"]
    running: dict[str, Fraction] = {}
    for container in spec.get("containers") or ():
        _add(running, _asked(container))
    sidecars: dict[str, Fraction] = {}
    starting: dict[str, Fraction] = {}
    for container in spec.get("initContainers") or ():
        own = _asked(container)
        if container.get("restartPolicy") == "Always":
            _add(sidecars, own)
            peak: Amounts = sidecars
        else:
            peak = {name: own.get(name, _NONE) + sidecars.get(name, _NONE) for name in {*own, *sidecars}}
        starting = {name: max(starting.get(name, _NONE), peak.get(name, _NONE)) for name in {*starting, *peak}}
    _add(running, sidecars)
    total = {name: max(running.get(name, _NONE), starting.get(name, _NONE)) for name in {*running, *starting}}
    whole = (spec.get("resources") or {}).get("requests") or {}
    total |= {name: parse(str(value)) for name, value in whole.items()}
    _add(total, {name: parse(str(value)) for name, value in (spec.get("overhead") or {}).items()})
    return total


def _asked(container: Json) -> dict[str, Fraction]:
    resources = container.get("resources") or {}
    given = (resources.get("limits") or {}) | (resources.get("requests") or {})
    return {name: parse(str(value)) for name, value in given.items()}


def host_ports(pod: Json) -> set[HostPort]:
    """The ports of the node that a pod takes."""
    spec = pod["spec"]
    sidecars = [each for each in spec.get("initContainers") or () if each.get("restartPolicy") == "Always"]
    return {
        (port.get("protocol", "TCP"), port.get("hostIP") or "0.0.0.0", port["hostPort"])
        for container in (*(spec.get("containers") or ()), *sidecars)
        for port in container.get("ports") or ()
        if port.get("hostPort")
    }


def ports_clash(wanted: Iterable[HostPort], held: Iterable[HostPort]) -> bool:
    """Whether two pods want the same port; an open address takes all addresses."""
    return any(
        one[0] == other[0] and one[2] == other[2] and (one[1] == other[1] or "0.0.0.0" in {one[1], other[1]})
        for one in wanted
        for other in held
    )


def shortages(asked: Amounts, site: Site, count: int) -> list[str]:
    """What the node lacks for a pod that would be the last of `count`, in Kubernetes' words."""
    offered = site.allocatable
    lacking = ["Too many pods"] if count > int(offered.get("pods", 110)) else []
    for name, amount in asked.items():
        if amount and site.taken.get(name, _NONE) + amount > parse(str(offered.get(name, 0))):
            lacking.append(f"Insufficient {name}")
    return lacking


def too_large(asked: Amounts, site: Site) -> bool:
    """Whether the pod would not even fit on the empty node."""
    return any(amount > parse(str(site.allocatable.get(name, 0))) for name, amount in asked.items())


def freeness(pod: Json, asked: Amounts, site: Site) -> float:
    """How much of cpu and memory would be left, from 0 to 100 (`LeastAllocated`)."""
    shares = []
    for name, amount in _at_least(asked, pod).items():
        offered = parse(str(site.allocatable.get(name, 0)))
        taken = site.assumed.get(name, _NONE) + amount
        shares.append(max(0.0, float(1 - taken / offered)) if offered else 0.0)
    return 100 * sum(shares) / len(shares)


def without(site: Site, victims: Sequence[Json]) -> Site:
    """The site as it would be without some of its pods."""
    gone = {pod["metadata"]["uid"] for pod in victims}
    fresh = Site(site.node)
    for pod in site.pods:
        if pod["metadata"]["uid"] not in gone:
            fresh.add(pod, requests(pod))
    return fresh
