"""Room for a pod that matters more: which pods of lower priority would have to go, and from which node."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from weft.adapters.kube.client import Json
from weft.cluster.controllers.budgets import covers
from weft.cluster.controllers.objects import is_going, moment
from weft.cluster.controllers.room import Site, without


@dataclass(frozen=True, slots=True)
class Choice:
    """A node, and the pods to delete there; `violations` of them against their disruption budgets."""

    node: str
    victims: Sequence[Json]
    violations: int


def priority(pod: Json) -> int:
    """How much a pod matters."""
    return int(pod["spec"].get("priority") or 0)


def is_under_way(pod: Json, sites: Sequence[Site]) -> bool:
    """Whether pods are already going to make room for this one."""
    nominated = pod.get("status", {}).get("nominatedNodeName")
    return any(
        site.name == nominated and any(is_going(other) and priority(other) < priority(pod) for other in site.pods)
        for site in sites
    )


def choose(
    pod: Json, sites: Sequence[Site], fits: Callable[[Site], bool], budgets: Sequence[Json] = ()
) -> Choice | None:
    """The node where the least is lost. None if nothing helps.

    What counts is, in this order: disruption budgets, the highest priority, all priorities together, how many
    pods, and for how long the most important of them have run.
    """
    if pod["spec"].get("preemptionPolicy") == "Never":
        return None
    found = [choice for site in sites if (choice := _on(pod, site, fits, budgets))]
    return min(found, key=_loss, default=None)


def _loss(choice: Choice) -> tuple[int, int, int, int, float]:
    highest = max(map(priority, choice.victims))
    begun = min(_since(victim) for victim in choice.victims if priority(victim) == highest)
    # priorities may be negative: each counts from the lowest there is, so that fewer pods are never the worse
    total = sum(priority(victim) + 2**31 for victim in choice.victims)
    return choice.violations, highest, total, len(choice.victims), -begun


def _on(pod: Json, site: Site, fits: Callable[[Site], bool], budgets: Sequence[Json]) -> Choice | None:
    lower = [other for other in site.pods if priority(other) < priority(pod)]
    if not lower or not fits(without(site, lower)):
        return None
    victims = list(lower)
    protected = _protected(lower, budgets)
    # give back as many as there is room for: those whose budgets are spent first, the most important first
    for other in sorted(lower, key=lambda each: (each["metadata"]["uid"] not in protected, *_worth(each))):
        spared = [each for each in victims if each is not other]
        if fits(without(site, spared)):
            victims = spared
    broken = sum(victim["metadata"]["uid"] in protected for victim in victims)
    return Choice(site.name, victims, broken) if victims else None


def _protected(pods: Sequence[Json], budgets: Sequence[Json]) -> set[str]:
    """The uids of those that cannot all go within their budgets."""
    left = {budget["metadata"]["uid"]: _allowed(budget) for budget in budgets}
    found: set[str] = set()
    for pod in sorted(pods, key=_worth):
        for budget in budgets:
            if is_going(pod) or not covers(budget, pod):
                continue
            left[budget["metadata"]["uid"]] -= 1
            if left[budget["metadata"]["uid"]] < 0:
                found.add(pod["metadata"]["uid"])
    return found


def _allowed(budget: Json) -> int:
    return int((budget.get("status") or {}).get("disruptionsAllowed") or 0)


def _worth(pod: Json) -> tuple[int, float]:
    """What sorts pods, the most important first: priority, then how long they have run."""
    return -priority(pod), _since(pod)


def _since(pod: Json) -> float:
    begun = pod.get("status", {}).get("startTime") or pod["metadata"].get("creationTimestamp")
    return moment(begun).timestamp() if begun else 0.0
