"""Which endpoints come first for a client, and how much each locality gets."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from weft.model.locality import (
    LEVELS,
    LocalityLb,
    Nearness,
    ZoneAwareLb,
    is_within,
    label_of,
    parts,
    place_labels,
)
from weft.model.services import Endpoint, Labels
from weft.model.traffic import TrafficPolicy

_TIERS: Final = 5
"""As many places as `_distance` tells apart."""


@dataclass(frozen=True, slots=True)
class Placement:
    """What localities mean for one cluster. With `distribute` nothing else counts.

    `by_locality` tells subzone, zone and region apart. `by_region` tells regions apart, and leaves zones to Envoy.
    """

    distribute: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = ()
    failover: tuple[tuple[str, str], ...] = ()
    priorities: tuple[str, ...] = ()
    by_locality: bool = True
    by_region: bool = False

    @property
    def labels(self) -> frozenset[str]:
        """The labels of a client that decide on it."""
        named = {label_of(each) for each in self.priorities if "=" not in each}
        local = self.distribute or self.by_locality or self.by_region or self.failover
        return frozenset(named | set(LEVELS)) if local else frozenset(named)


@dataclass(frozen=True, slots=True)
class Group:
    """Endpoints of one locality and priority, 0 for those that come first."""

    locality: str
    priority: int
    weight: int
    endpoints: tuple[Endpoint, ...]


def placement(
    policy: TrafficPolicy, nearness: Nearness, mesh: LocalityLb, mesh_zones: ZoneAwareLb | None = None
) -> Placement | None:
    """What localities mean under a policy; None for nothing.

    What a rule says goes before what the Service prefers, and that before the mesh's default. Failover takes
    outlier detection, or else Envoy would never know that it is time (Istio, LocalityLoadBalancerSetting); a
    Service's preference holds without.
    """
    zones = policy.zones or (mesh_zones if policy.locality is None else None)
    if zones is not None and zones.enabled:
        return Placement((), zones.failover, zones.priorities, by_locality=False, by_region=True)
    if policy.locality is None and nearness is not Nearness.ANY:
        return Placement(priorities=nearness.priorities, by_locality=False)
    setting = mesh if policy.locality is None else policy.locality
    if not setting.enabled:
        return None
    if setting.distribute:
        return Placement(setting.distribute)
    if policy.outliers is None:
        return None
    by_locality = bool(setting.failover) or not setting.priorities
    return Placement((), setting.failover, setting.priorities, by_locality)


def groups(endpoints: Iterable[Endpoint], placed: Placement | None, client: Labels) -> tuple[Group, ...]:
    """Endpoints by priority and locality for a client with these labels, in that order."""
    here = dict(client)
    found: dict[tuple[int, str], list[Endpoint]] = {}
    for each in endpoints:
        rank = 0 if placed is None or placed.distribute else _rank(each, placed, here)
        found.setdefault((rank, each.locality), []).append(each)
    # Envoy takes priorities without gaps only
    priorities = {rank: number for number, rank in enumerate(sorted({rank for rank, _ in found}))}
    grouped = tuple(
        Group(place, priorities[rank], sum(each.weight for each in members), tuple(members))
        for (rank, place), members in sorted(found.items(), key=lambda each: each[0])
    )
    return grouped if placed is None or not placed.distribute else _distributed(grouped, placed, here)


def _distributed(grouped: tuple[Group, ...], placed: Placement, client: Mapping[str, str]) -> tuple[Group, ...]:
    """Only the localities named for this client's, each with its share; a share is divided by what is there."""
    own = "/".join(client.get(level, "") for level in LEVELS)
    shares = next((shares for source, shares in placed.distribute if is_within(own, source)), None)
    if shares is None:
        return grouped
    weighed: dict[str, Group] = {}
    # the narrowest first, so that a wildcard gets what is left
    for target, share in sorted(shares, key=_narrowness):
        fit = [each for each in grouped if each.locality not in weighed and is_within(each.locality, target)]
        total = sum(each.weight for each in fit)
        for each in fit:
            weight = -(-each.weight * share // total)
            weighed[each.locality] = Group(each.locality, 0, weight, each.endpoints)
    return tuple(weighed[place] for place in sorted(weighed))


def _narrowness(share: tuple[str, int]) -> tuple[int, str]:
    return -sum(part not in {"", "*"} for part in parts(share[0])), share[0]


def _rank(endpoint: Endpoint, placed: Placement, client: Mapping[str, str]) -> int:
    tier = _tier(endpoint, placed.priorities, client) if placed.priorities else 0
    if placed.by_locality or placed.by_region:
        return tier * _TIERS + _distance(endpoint.locality, placed, client)
    return tier


def _tier(endpoint: Endpoint, priorities: tuple[str, ...], client: Mapping[str, str]) -> int:
    """How many of the labels, from the last, are not shared: each counts only while all before it are."""
    asked = dict(each.split("=", 1) for each in priorities if "=" in each)
    labels = dict(endpoint.labels) | place_labels(endpoint.locality, endpoint.node, endpoint.network)
    for index, each in enumerate(priorities):
        label = label_of(each)
        if asked.get(label, client.get(label, "")) != labels.get(label, ""):
            return len(priorities) - index
    return 0


def _distance(place: str, placed: Placement, client: Mapping[str, str]) -> int:
    """0 for the same subzone, 1 zone, 2 region, 3 for others, 4 for others that failover does not name."""
    own = [client.get(level, "") for level in LEVELS]
    there = parts(place)
    if own[0] != there[0]:
        wanted = next((to for source, to in placed.failover if source == own[0]), there[0])
        return 3 if wanted == there[0] else 4
    if placed.by_region:
        return 0
    if own[1] != there[1]:
        return 2
    return 0 if own[2] == there[2] else 1
