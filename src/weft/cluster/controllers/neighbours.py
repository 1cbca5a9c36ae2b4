"""Which nodes suit a pod because of the pods there: affinity, anti-affinity, and even spreading."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from weft.adapters.kube.client import Json
from weft.cluster.controllers import placing
from weft.cluster.controllers.objects import is_going, selects
from weft.cluster.controllers.room import Site

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_AFFINITY = "node(s) didn't match pod affinity rules"
_ANTI = "node(s) didn't match pod anti-affinity rules"
_THEIRS = "node(s) didn't satisfy existing pods anti-affinity rules"
_SPREAD = "node(s) didn't match pod topology spread constraints"
_NO_LABEL = f"{_SPREAD} (missing required label)"

Namespaces = Mapping[str, Mapping[str, str]]
"""The labels of every namespace."""
Domain = tuple[str, str]
"""A topology key and its value."""


@dataclass(slots=True)
class Neighbours:
    """What one pod's rules about other pods say of every node; computed once for all nodes."""

    pod: Json
    sites: Sequence[Site]
    namespaces: Namespaces
    _near: list[tuple[str, set[str]]] = field(default_factory=list)
    _first: bool = False
    _far: set[Domain] = field(default_factory=set)
    _shunned: set[Domain] = field(default_factory=set)
    _spread: list["_Spread"] = field(default_factory=list)

    def __post_init__(self) -> None:
        near, far = _terms(self.pod, "podAffinity"), _terms(self.pod, "podAntiAffinity")
        matching = [
            site
            for site in self.sites
            for other in (site.pods if near else ())
            if all(_takes(term, self.pod, other, self.namespaces) for term in near)
        ]
        for term in near:
            key = term["topologyKey"]
            self._near.append((key, {site.labels[key] for site in matching if key in site.labels}))
        # the first of a group that wants to be together may start anywhere
        self._first = not matching and all(_takes(term, self.pod, self.pod, self.namespaces) for term in near)
        for site in self.sites:
            for other in site.pods:
                for term in far:
                    if _takes(term, self.pod, other, self.namespaces):
                        self._far |= _domain(term, site)
                for term in _terms(other, "podAntiAffinity"):
                    if _takes(term, other, self.pod, self.namespaces):
                        self._shunned |= _domain(term, site)
        constraints = self.pod["spec"].get("topologySpreadConstraints") or ()
        hard = [each for each in constraints if each["whenUnsatisfiable"] == "DoNotSchedule"]
        self._spread = [_Spread(self.pod, each, hard, self.sites) for each in hard]

    def objection(self, site: Site) -> str:
        """Why the pod cannot be among the pods of this node; empty if it can."""
        for spread in self._spread:
            if why := spread.objection(site):
                return why
        for key, values in self._near:
            if key not in site.labels or (site.labels[key] not in values and not self._first):
                return _AFFINITY
        if any(site.labels.get(key) == value for key, value in self._far):
            return _ANTI
        if any(site.labels.get(key) == value for key, value in self._shunned):
            return _THEIRS
        return ""

    def scores(self) -> dict[str, float]:
        """How much the pod and the pods there like each other's company, by its terms and by theirs."""
        weights: dict[Domain, float] = {}
        for site in self.sites:
            for other in site.pods:
                wishes = [*_wishes(self.pod, other, self.namespaces), *_wishes(other, self.pod, self.namespaces)]
                # who must be near this one would be glad to have it near
                terms = _terms(other, "podAffinity")
                must = [term for term in terms if _takes(term, other, self.pod, self.namespaces)]
                for term, weight in [*wishes, *((term, 1) for term in must)]:
                    for domain in _domain(term, site):
                        weights[domain] = weights.get(domain, 0) + weight
        return {
            site.name: sum(weight for (key, value), weight in weights.items() if site.labels.get(key) == value)
            for site in self.sites
        }

    def crowding(self) -> dict[str, float]:
        """How many pods like this one share each node's domains, by its soft constraints."""
        constraints = self.pod["spec"].get("topologySpreadConstraints") or ()
        soft = [each for each in constraints if each["whenUnsatisfiable"] == "ScheduleAnyway"]
        spreads = [_Spread(self.pod, each, soft, self.sites) for each in soft]
        return {site.name: float(sum(spread.count(site) for spread in spreads)) for site in self.sites}


class _Spread:
    """One topology spread constraint, counted over all nodes."""

    def __init__(self, pod: Json, constraint: Json, group: Sequence[Json], sites: Sequence[Site]) -> None:
        self._pod, self._constraint = pod, constraint
        self._key = constraint["topologyKey"]
        self._selects = _selector(constraint, pod)
        keys = {each["topologyKey"] for each in group}
        self._counts: dict[str, int] = {}
        for site in sites:
            if not keys <= site.labels.keys() or not self._eligible(site):
                continue
            value = site.labels[self._key]
            self._counts[value] = self._counts.get(value, 0) + sum(map(self._like, site.pods))
        enough = len(self._counts) >= constraint.get("minDomains", 1)
        self._least = min(self._counts.values(), default=0) if enough else 0

    def objection(self, site: Site) -> str:
        if self._key not in site.labels:
            return _NO_LABEL
        skew = self._counts.get(site.labels[self._key], 0) + self._selects(self._pod) - self._least
        return _SPREAD if skew > self._constraint["maxSkew"] else ""

    def count(self, site: Site) -> int:
        return self._counts.get(site.labels.get(self._key, ""), 0)

    def _eligible(self, site: Site) -> bool:
        spec = self._pod["spec"]
        if self._constraint.get("nodeAffinityPolicy", "Honor") == "Honor" and not placing.matches(spec, site.node):
            return False
        if self._constraint.get("nodeTaintsPolicy", "Ignore") == "Ignore":
            return True
        return placing.untolerated(spec.get("tolerations"), site.node) is None

    def _like(self, other: Json) -> bool:
        same = other["metadata"]["namespace"] == self._pod["metadata"]["namespace"]
        return same and not is_going(other) and self._selects(other)


def _selector(rule: Json, pod: Json) -> Callable[[Json], bool]:
    """The pods that a rule selects: its label selector, with the values of `pod` for its matchLabelKeys."""
    labels = pod["metadata"].get("labels") or {}
    pinned = {key: labels[key] for key in rule.get("matchLabelKeys") or () if key in labels}
    apart = {key: labels[key] for key in rule.get("mismatchLabelKeys") or () if key in labels}

    def chosen(other: Json) -> bool:
        have = other["metadata"].get("labels") or {}
        return (
            selects(rule.get("labelSelector"), have)
            and all(have.get(key) == value for key, value in pinned.items())
            and all(have.get(key) != value for key, value in apart.items())
        )

    return chosen


def _terms(pod: Json, group: str) -> list[Json]:
    affinity = (pod["spec"].get("affinity") or {}).get(group) or {}
    terms: list[Json] = affinity.get(_REQUIRED) or []
    return terms


def _wishes(pod: Json, other: Json, namespaces: Namespaces) -> list[tuple[Json, int]]:
    """The preferred terms of `pod` that speak of `other`, with their weights: below zero to be apart."""
    affinity = pod["spec"].get("affinity") or {}
    return [
        (entry["podAffinityTerm"], sign * int(entry["weight"]))
        for group, sign in (("podAffinity", 1), ("podAntiAffinity", -1))
        for entry in (affinity.get(group) or {}).get(_PREFERRED) or ()
        if _takes(entry["podAffinityTerm"], pod, other, namespaces)
    ]


def _takes(term: Json, owner: Json, other: Json, namespaces: Namespaces) -> bool:
    """Whether a term of `owner` speaks of `other`."""
    where = other["metadata"]["namespace"]
    named: Iterable[str] = term.get("namespaces") or ()
    selector = term.get("namespaceSelector")
    if selector is None and not named:
        named = (owner["metadata"]["namespace"],)
    inside = where in named or (selector is not None and selects(selector, namespaces.get(where, {})))
    return inside and _selector(term, owner)(other)


def _domain(term: Json, site: Site) -> set[Domain]:
    key = term["topologyKey"]
    return {(key, site.labels[key])} if key in site.labels else set()
