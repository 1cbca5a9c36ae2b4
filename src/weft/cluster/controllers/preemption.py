"""Room for a pod that matters more: which pods of lower priority would have to go, and from which node."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from weft.adapters.kube.client import Json
from weft.cluster.controllers.objects import is_going
from weft.cluster.controllers.room import Site, without


@dataclass(frozen=True, slots=True)
class Choice:
    """A node, and the pods to delete there."""

    node: str
    victims: Sequence[Json]


def _priority(pod: Json) -> int:
    return int(pod["spec"].get("priority") or 0)


def is_under_way(pod: Json, sites: Sequence[Site]) -> bool:
    """Whether pods are already going to make room for this one."""
    nominated = pod.get("status", {}).get("nominatedNodeName")
    return any(
        site.name == nominated
        and any(is_going(other) and _priority(other) < _priority(pod) for other in site.pods)
        for site in sites
    )


def choose(pod: Json, sites: Sequence[Site], fits: Callable[[Site], bool]) -> Choice | None:
    """The node where the least is lost: the lowest priorities, then the fewest pods. None if nothing helps."""
    if pod["spec"].get("preemptionPolicy") == "Never":
        return None
    found = [choice for site in sites if (choice := _on(pod, site, fits))]
    return min(found, key=lambda choice: (max(map(_priority, choice.victims)), len(choice.victims)), default=None)


def _on(pod: Json, site: Site, fits: Callable[[Site], bool]) -> Choice | None:
    lower = [other for other in site.pods if _priority(other) < _priority(pod)]
    if not lower or not fits(without(site, lower)):
        return None
    victims = list(lower)
    # give back as many as there is room for, the most important first
    for other in sorted(lower, key=_priority, reverse=True):
        spared = [each for each in victims if each is not other]
        if fits(without(site, spared)):
            victims = spared
    return Choice(site.name, victims) if victims else None
