"""PodDisruptionBudgets: the status that tells how many pods may be disrupted now."""

from collections.abc import Iterable

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import (
    DEPLOYMENTS,
    PODDISRUPTIONBUDGETS,
    PODS,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    STATEFULSETS,
    Kind,
)
from weft.cluster.controllers.budgets import Count, CountError, count, covers
from weft.cluster.controllers.changes import Change, Patch, Plan
from weft.cluster.controllers.events import Tell
from weft.cluster.controllers.loop import Controller, World
from weft.cluster.controllers.objects import Key, condition, differs, is_going, key_of, timestamp

_UNMANAGED = (
    "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result, "
    "the status of the PDB cannot be calculated correctly, which may result in undefined behavior. "
    'To account for these pods please set ".spec.minAvailable" field of the PDB to an integer value.'
)


class Disruptions(Controller):
    """Keeps each budget's numbers true to its pods and to what their controllers want."""

    name = "controllermanager"  # under this name the disruption controller's events are known
    watches: tuple[Kind, ...] = (
        PODDISRUPTIONBUDGETS,
        PODS,
        DEPLOYMENTS,
        REPLICASETS,
        REPLICATIONCONTROLLERS,
        STATEFULSETS,
    )

    def concerns(self, kind: Kind) -> bool:
        """The kinds that scale: the built-in ones and, for all we know, every custom one."""
        return kind in self.watches or "." in kind.group

    def keys(self, kind: Kind, obj: Json, world: World) -> Iterable[Key]:
        """A budget, those of a pod, or those of the pods that an owner of this namespace has."""
        if kind == PODDISRUPTIONBUDGETS:
            return [key_of(obj)]
        budgets = world.of(PODDISRUPTIONBUDGETS).within(obj["metadata"].get("namespace", ""))
        if kind == PODS:
            # by its labels of now and before: whoever loses a pod counts again
            return [key_of(budget) for budget in budgets if covers(budget, obj) or _counts_pods(budget)]
        return [key_of(budget) for budget in budgets]

    def plan(self, key: Key, world: World) -> Plan:
        """Write the budget's status."""
        budget = world.of(PODDISRUPTIONBUDGETS).get(key)
        if budget is None or is_going(budget):
            return Plan()
        pods = [pod for pod in world.of(PODS).within(key[0]) if covers(budget, pod)]
        told: list[Change] = []
        if not pods:
            told.append(self._tell(budget, "NoPods", "No matching pods found", warning=False))
        try:
            found = count(budget, pods, world)
        except CountError as error:
            message = f"Failed to calculate the number of expected pods: {error}"
            told.append(self._tell(budget, "CalculateExpectedPodCountFailed", message))
            failed = {"disruptionsAllowed": 0} | _status(budget, "SyncFailed", str(error), world, allowed=False)
            return self._written(budget, failed, told)
        if found.unmanaged:
            selector = _selector_text(budget["spec"].get("selector") or {})
            told.append(self._tell(budget, "UnmanagedPods", _UNMANAGED.format(selector=selector)))
        return self._written(budget, _counted(budget, found, world), told)

    def _written(self, budget: Json, status: Json, told: list[Change]) -> Plan:
        if not differs(budget.get("status", {}), status):
            return Plan()
        return Plan([*told, Patch(PODDISRUPTIONBUDGETS, budget, {"status": status}, "status")])

    def _tell(self, budget: Json, reason: str, message: str, *, warning: bool = True) -> Tell:
        return Tell(budget, PODDISRUPTIONBUDGETS, reason, message, self.name, warning=warning)


def _counts_pods(budget: Json) -> bool:
    return bool((budget.get("status") or {}).get("expectedPods"))


def _counted(budget: Json, found: Count, world: World) -> Json:
    allowed = found.allowed > 0
    reason = "SufficientPods" if allowed else "InsufficientPods"
    return {
        "currentHealthy": found.healthy,
        "desiredHealthy": found.desired,
        "disruptionsAllowed": found.allowed,
        "expectedPods": found.expected,
    } | _status(budget, reason, "", world, allowed=allowed)


def _status(budget: Json, reason: str, message: str, world: World, *, allowed: bool) -> Json:
    generation = budget["metadata"].get("generation", 1)
    held = condition(budget, "DisruptionAllowed")
    status = "True" if allowed else "False"
    moved = held["lastTransitionTime"] if held.get("status") == status else timestamp(world.now)
    entry = {
        "type": "DisruptionAllowed",
        "status": status,
        "observedGeneration": generation,
        "lastTransitionTime": moved,
        "reason": reason,
        "message": message,
    }
    others = [each for each in budget.get("status", {}).get("conditions") or () if each["type"] != entry["type"]]
    return {"observedGeneration": generation, "conditions": [*others, entry]}


def _selector_text(selector: Json) -> str:
    """A selector as Go prints one."""
    labels = " ".join(f"{key}:{value}" for key, value in sorted((selector.get("matchLabels") or {}).items()))
    terms = " ".join(
        f"{{{term['key']} {term['operator']} [{' '.join(term.get('values') or ())}]}}"
        for term in selector.get("matchExpressions") or ()
    )
    return f"&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]{terms},}}"
