"""Which nodes a pod may be on by its own word: taints and tolerations, node selector and node affinity."""

from collections.abc import Iterable, Mapping, Sequence

from weft.adapters.kube.client import Json
from weft.cluster.controllers.objects import expression

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
CORDONED: Json = {"key": UNSCHEDULABLE, "effect": "NoSchedule"}
_KEEPS_AWAY = frozenset({"NoSchedule", "NoExecute"})


def tolerates(tolerations: Iterable[Json] | None, taint: Json) -> bool:
    """Whether one of the tolerations is for this taint."""
    return any(toleration_for(entry, taint) for entry in tolerations or ())


def toleration_for(entry: Json, taint: Json) -> bool:
    """Whether a toleration is for this taint (`Toleration.ToleratesTaint`)."""
    if entry.get("effect") and entry["effect"] != taint["effect"]:
        return False
    if entry.get("key") and entry["key"] != taint["key"]:
        return False
    value = taint.get("value") or ""
    match entry.get("operator") or "Equal":
        case "Exists":
            return True
        case "Equal":
            return bool(entry.get("key")) and (entry.get("value") or "") == value
        case _:
            return False


def untolerated(
    tolerations: Sequence[Json] | None, node: Json, effects: Iterable[str] = _KEEPS_AWAY
) -> Json | None:
    """The first taint of these effects that keeps a pod with such tolerations away from the node."""
    return next(
        (
            taint
            for taint in node.get("spec", {}).get("taints") or ()
            if taint["effect"] in effects and not tolerates(tolerations, taint)
        ),
        None,
    )


def matches(spec: Json, node: Json) -> bool:
    """Whether a pod's nodeSelector and required node affinity take the node."""
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or any_term(required["nodeSelectorTerms"], node)


def any_term(terms: Iterable[Json], node: Json) -> bool:
    """Whether one of a node selector's terms takes the node."""
    return any(term_takes(term, node) for term in terms)


def term_takes(term: Json, node: Json) -> bool:
    """Whether a node selector term takes the node. An empty one takes none (`isEmptyNodeSelectorTerm`)."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    labels: Mapping[str, str] = node["metadata"].get("labels") or {}
    named = {"metadata.name": node["metadata"]["name"]}
    return (
        bool(expressions or fields)
        and all(expression(entry, labels) for entry in expressions)
        and all(expression(entry, named) for entry in fields)
    )
