"""Reading Kubernetes objects: owners, labels, conditions, times."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import Kind

Key = tuple[str, str]
"""Namespace and name; the namespace of a cluster-wide object is empty."""


def key_of(obj: Json) -> Key:
    """Where an object lies within its kind."""
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def owner_of(obj: Json) -> Json | None:
    """The reference to the controller that owns an object."""
    owners: list[Json] = obj["metadata"].get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), None)


def owner_key(obj: Json, kind: Kind) -> list[Key]:
    """The key of the object's controller, where that is of this kind."""
    owner = owner_of(obj)
    return [(obj["metadata"]["namespace"], owner["name"])] if owner and owner["kind"] == kind.kind else []


def owned_by(owner: Json, objects: Iterable[Json]) -> list[Json]:
    """The objects whose controller is `owner`, by uid."""
    uid = owner["metadata"]["uid"]
    return [obj for obj in objects if (owner_of(obj) or {}).get("uid") == uid]


def owner_reference(kind: Kind, owner: Json) -> Json:
    """The reference by which a controller marks what it made."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def is_going(obj: Json) -> bool:
    """Whether somebody has asked for the object's deletion."""
    return bool(obj["metadata"].get("deletionTimestamp"))


def selects(selector: Json | None, labels: Mapping[str, str] | None) -> bool:
    """Whether a label selector (matchLabels, matchExpressions) takes these labels. None takes nothing."""
    if selector is None:
        return False
    have = labels or {}
    if any(have.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(expression(term, have) for term in selector.get("matchExpressions") or ())


def expression(term: Json, labels: Mapping[str, str]) -> bool:
    """Whether one requirement of a selector holds. Gt and Lt compare whole numbers."""
    key, values = term["key"], term.get("values") or ()
    match term["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Gt" | "Lt" as way:
            given, bound = labels.get(key, ""), values[0] if values else ""
            if not (_is_whole(given) and _is_whole(bound)):
                return False
            return int(given) > int(bound) if way == "Gt" else int(given) < int(bound)
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case _:
            return False


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def condition(obj: Json, name: str) -> Json:
    """The condition of that type in an object's status, or an empty one."""
    conditions: list[Json] = obj.get("status", {}).get("conditions") or []
    return next((entry for entry in conditions if entry["type"] == name), {})


def with_condition(conditions: Iterable[Json], new: Json, now: datetime) -> list[Json]:
    """The conditions with `new` in place; its lastTransitionTime moves only when its status does."""
    kept = [entry for entry in conditions if entry["type"] != new["type"]]
    old: Json = next((entry for entry in conditions if entry["type"] == new["type"]), {})
    same_status = old.get("status") == new["status"]
    moved = old["lastTransitionTime"] if same_status else timestamp(now)
    same = same_status and old.get("reason") == new["reason"] and old.get("message") == new["message"]
    updated = old.get("lastUpdateTime", timestamp(now)) if same else timestamp(now)
    return [*kept, new | {"lastTransitionTime": moved, "lastUpdateTime": updated}]


def is_ready(pod: Json) -> bool:
    """Whether a pod's Ready condition holds."""
    return condition(pod, "Ready").get("status") == "True"


def is_finished(pod: Json) -> bool:
    """Whether a pod has run to its end, well or not."""
    return pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}


def timestamp(moment: datetime) -> str:
    """A moment as Kubernetes writes it, in whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str) -> datetime:
    """The moment that a Kubernetes timestamp tells."""
    return datetime.fromisoformat(text)


def differs(old: Any, new: Mapping[str, Any]) -> bool:
    """Whether a merge of `new` into `old` would change it. None stands for an absent field."""
    if not isinstance(old, Mapping):
        return True
    return any(
        differs(old.get(key) or {}, value) if isinstance(value, Mapping) else old.get(key) != value
        for key, value in new.items()
    )
