"""Which of the nodes that fit suits a pod best (kube-scheduler's scores and their weights)."""

from collections.abc import Mapping, Sequence

from weft.adapters.kube.client import Json
from weft.cluster.controllers import placing
from weft.cluster.controllers.neighbours import Neighbours
from weft.cluster.controllers.objects import owner_of
from weft.cluster.controllers.room import Amounts, Site, freeness

_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def best(pod: Json, asked: Amounts, sites: Sequence[Site], neighbours: Neighbours) -> Site:
    """The site with the highest score; of equals the one with the fewest pods, then by name."""
    names = {site.name for site in sites}
    parts = (
        (3, _upturned({site.name: _unliked_taints(pod, site) for site in sites})),
        (2, _scaled({site.name: _liked(pod, site) for site in sites})),
        (2, _scaled({name: score for name, score in neighbours.scores().items() if name in names})),
        (2, _upturned({name: count for name, count in neighbours.crowding().items() if name in names})),
        (2, _upturned({site.name: _siblings(pod, site) for site in sites})),
        (1, {site.name: freeness(pod, asked, site) for site in sites}),
    )

    def rank(site: Site) -> tuple[float, int, str]:
        score = sum(weight * scores[site.name] for weight, scores in parts)
        return -round(score, 3), len(site.pods), site.name

    return min(sites, key=rank)


def _scaled(scores: Mapping[str, float]) -> dict[str, float]:
    low, high = min(scores.values()), max(scores.values())
    if low == high:
        return dict.fromkeys(scores, 0.0)
    return {name: 100 * (score - low) / (high - low) for name, score in scores.items()}


def _upturned(scores: Mapping[str, float]) -> dict[str, float]:
    return _scaled({name: -score for name, score in scores.items()})


def _unliked_taints(pod: Json, site: Site) -> float:
    tolerations = [
        entry
        for entry in pod["spec"].get("tolerations") or ()
        if entry.get("effect") in {None, "", "PreferNoSchedule"}
    ]
    return float(
        sum(
            taint["effect"] == "PreferNoSchedule" and not placing.tolerates(tolerations, taint)
            for taint in site.node.get("spec", {}).get("taints") or ()
        )
    )


def _liked(pod: Json, site: Site) -> float:
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    return float(
        sum(
            entry["weight"]
            for entry in affinity.get(_PREFERRED) or ()
            if placing.term_takes(entry["preference"], site.node)
        )
    )


def _siblings(pod: Json, site: Site) -> float:
    """How many pods of the same owner are there: replicas belong apart (the default spread constraints)."""
    owner = (owner_of(pod) or {}).get("uid")
    return float(sum((owner_of(other) or {}).get("uid") == owner for other in site.pods)) if owner else 0.0
