"""RBAC rules as such: what one permits, whether some cover others, how they add up.

Source: `component-helpers/auth/rbac/validation`, `plugin/pkg/auth/authorizer/rbac`.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from weft.cluster.apiserver.actions import Action
from weft.cluster.apiserver.selectors import from_object

Rule = dict[str, Any]
_FIELDS = (
    ("APIGroups", "apiGroups"),
    ("Resources", "resources"),
    ("NonResourceURLs", "nonResourceURLs"),
    ("ResourceNames", "resourceNames"),
    ("Verbs", "verbs"),
)


def permits(rule: Rule, action: Action) -> bool:
    """Whether one rule allows an action."""
    if not _has(rule.get("verbs"), action.verb):
        return False
    if action.path:
        return any(_path(pattern, action.path) for pattern in rule.get("nonResourceURLs") or ())
    names = rule.get("resourceNames") or ()
    return (
        _has(rule.get("apiGroups"), action.group)
        and _resource(rule.get("resources") or (), action.resource)
        and (not names or action.name in names)
    )


def _has(values: Sequence[str] | None, wanted: str) -> bool:
    return "*" in (values or ()) or wanted in (values or ())


def _resource(patterns: Sequence[str], resource: str) -> bool:
    _, _, below = resource.partition("/")
    return "*" in patterns or resource in patterns or (bool(below) and f"*/{below}" in patterns)


def _path(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else pattern == path


def uncovered(held: Iterable[Rule], wanted: Iterable[Rule]) -> list[Rule]:
    """What `wanted` grants beyond `held`, each part by itself: one group, one resource, one verb, one name."""
    have = list(held)
    return [part for rule in wanted for part in _parts(rule) if not any(_covers(one, part) for one in have)]


def _parts(rule: Rule) -> Iterator[Rule]:
    for verb in rule.get("verbs") or ():
        for path in rule.get("nonResourceURLs") or ():
            yield {"nonResourceURLs": [path], "verbs": [verb]}
        for group in rule.get("apiGroups") or ():
            for resource in rule.get("resources") or ():
                part = {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
                names = rule.get("resourceNames") or ()
                yield from ({**part, "resourceNames": [name]} for name in names) if names else (part,)


def _covers(rule: Rule, part: Rule) -> bool:
    if not _has(rule.get("verbs"), part["verbs"][0]):
        return False
    if "nonResourceURLs" in part:
        return any(_path(pattern, part["nonResourceURLs"][0]) for pattern in rule.get("nonResourceURLs") or ())
    names, wanted = rule.get("resourceNames") or (), part.get("resourceNames")
    return (
        _has(rule.get("apiGroups"), part["apiGroups"][0])
        and _resource(rule.get("resources") or (), part["resources"][0])
        and (not names or (wanted is not None and wanted[0] in names))
    )


def compact(parts: Iterable[Rule]) -> list[Rule]:
    """Parts that differ in their verbs alone, as one."""
    found: dict[tuple[Any, ...], Rule] = {}
    for part in parts:
        key = tuple(tuple(part.get(name) or ()) for _, name in _FIELDS[:-1])
        held = found.setdefault(key, {**part, "verbs": []})
        held["verbs"] += [verb for verb in part["verbs"] if verb not in held["verbs"]]
    return list(found.values())


def described(rule: Rule) -> str:
    """A rule as refusals show it: `{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}`."""
    return "{" + ", ".join(f"{title}:{quoted(rule[name])}" for title, name in _FIELDS if rule.get(name)) + "}"


def quoted(values: Iterable[str]) -> str:
    """Words as Go's `%q` prints a list of them."""
    return "[" + " ".join(f'"{value}"' for value in values) + "]"


def aggregated(role: Rule, roles: Iterable[Rule]) -> list[Rule]:
    """The rules of a role that is the sum of others, in the order of their names, each rule once."""
    selectors = [from_object(one) for one in (role["aggregationRule"].get("clusterRoleSelectors") or ())]
    own = role["metadata"]["name"]
    found: list[Rule] = []
    for other in sorted(roles, key=lambda one: str(one["metadata"]["name"])):
        labels = other["metadata"].get("labels")
        if other["metadata"]["name"] != own and any(one.matches(labels) for one in selectors):
            found += [rule for rule in other.get("rules") or () if rule not in found]
    return found
