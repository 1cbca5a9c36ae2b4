"""Where pods may run: tolerations, affinities, spreading."""

from collections.abc import Sequence
from typing import Any

from weft.cluster.apiserver import names
from weft.cluster.apiserver.errors import duplicate, forbidden_field, invalid_value, required, unsupported
from weft.cluster.apiserver.validation.rules import Found, label_selector, one_of, qualified, reason

Obj = dict[str, Any]
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def tolerations(given: Sequence[Obj], path: str) -> Found:
    """`tolerations` of a pod."""
    for index, toleration in enumerate(given):
        yield from _toleration(toleration, f"{path}[{index}]")


def _toleration(given: Obj, path: str) -> Found:
    key, operator, effect = given.get("key", ""), given.get("operator", ""), given.get("effect", "")
    value = given.get("value", "")
    if key:
        yield from qualified(key, f"{path}.key")
    elif operator != "Exists":
        why = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        yield invalid_value(f"{path}.operator", operator, why)
    if given.get("tolerationSeconds") is not None and effect != "NoExecute":
        why = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        yield invalid_value(f"{path}.effect", effect, why)
    match operator:
        case "Equal" | "":
            yield from reason(names.label_value(value), f"{path}.operator", value)
        case "Exists":
            if value:
                yield invalid_value(f"{path}.operator", value, "value must be empty when `operator` is 'Exists'")
        case _:
            yield unsupported(f"{path}.operator", operator, ("Equal", "Exists"))
    yield from one_of(effect, f"{path}.effect", _EFFECTS)


def taints(given: Sequence[Obj], path: str) -> Found:
    """`taints` of a node."""
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(given):
        where = f"{path}[{index}]"
        yield from qualified(taint.get("key", ""), f"{where}.key")
        yield from reason(names.label_value(taint.get("value", "")), f"{where}.value", taint.get("value", ""))
        yield from one_of(taint.get("effect"), f"{where}.effect", _EFFECTS, absent="")
        identity = (taint.get("key", ""), taint.get("effect", ""))
        if identity in seen:
            shown = {"Key": identity[0], "Value": taint.get("value", ""), "Effect": identity[1], "TimeAdded": None}
            found = duplicate(where, shown)
            yield type(found)(
                found.field, found.reason, f"{found.text}: taints must be unique by key and effect pair"
            )
        seen.add(identity)


def affinity(given: Obj | None, path: str) -> Found:
    """`affinity` of a pod."""
    if not given:
        return
    yield from _node_affinity(given.get("nodeAffinity") or {}, f"{path}.nodeAffinity")
    for field in ("podAffinity", "podAntiAffinity"):
        terms = given.get(field) or {}
        for index, term in enumerate(terms.get(_REQUIRED) or ()):
            yield from _pod_term(term, f"{path}.{field}.{_REQUIRED}[{index}]")
        for index, weighted in enumerate(terms.get(_PREFERRED) or ()):
            where = f"{path}.{field}.{_PREFERRED}[{index}]"
            yield from _weight(weighted, where)
            yield from _pod_term(weighted.get("podAffinityTerm") or {}, f"{where}.podAffinityTerm")


def _weight(given: Obj, path: str) -> Found:
    if not 0 < given.get("weight", 0) <= 100:
        yield invalid_value(f"{path}.weight", given.get("weight", 0), "must be in the range 1-100")


def _node_affinity(given: Obj, path: str) -> Found:
    if (needed := given.get(_REQUIRED)) is not None:
        yield from node_selector(needed, f"{path}.{_REQUIRED}")
    for index, term in enumerate(given.get(_PREFERRED) or ()):
        where = f"{path}.{_PREFERRED}[{index}]"
        yield from _weight(term, where)
        yield from _node_term(term.get("preference") or {}, f"{where}.preference", values=False)


def node_selector(given: Obj, path: str) -> Found:
    """Terms of which a node must fit one."""
    terms = given.get("nodeSelectorTerms")
    if not terms:
        yield required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")
    for index, term in enumerate(terms or ()):
        yield from _node_term(term, f"{path}.nodeSelectorTerms[{index}]", values=True)


def _node_term(term: Obj, path: str, *, values: bool) -> Found:
    for index, given in enumerate(term.get("matchExpressions") or ()):
        yield from _node_requirement(given, f"{path}.matchExpressions[{index}]", values=values)
    for index, given in enumerate(term.get("matchFields") or ()):
        yield from _node_field(given, f"{path}.matchFields[{index}]")


def _node_requirement(given: Obj, path: str, *, values: bool) -> Found:
    listed = given.get("values") or []
    match given.get("operator", ""):
        case "In" | "NotIn":
            if not listed:
                yield required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        case "Exists" | "DoesNotExist":
            if listed:
                why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                yield forbidden_field(f"{path}.values", why)
        case "Gt" | "Lt":
            if len(listed) != 1:
                yield required(f"{path}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'")
        case other:
            yield invalid_value(f"{path}.operator", other, "not a valid selector operator")
    yield from qualified(given.get("key", ""), f"{path}.key")
    for index, value in enumerate(listed if values else ()):
        yield from reason(names.label_value(value), f"{path}.values[{index}]", value)


def _node_field(given: Obj, path: str) -> Found:
    operator, key = given.get("operator", ""), given.get("key", "")
    if operator not in {"In", "NotIn"}:
        yield invalid_value(f"{path}.operator", operator, "not a valid selector operator")
    elif len(given.get("values") or ()) != 1:
        why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        yield required(f"{path}.values", why)
    if key != "metadata.name":
        yield invalid_value(f"{path}.key", key, "not a valid field selector key")


def _pod_term(term: Obj, path: str) -> Found:
    yield from label_selector(term.get("labelSelector"), f"{path}.labelSelector")
    yield from label_selector(term.get("namespaceSelector"), f"{path}.namespaceSelector")
    for name in term.get("namespaces") or ():
        yield from reason(names.label(name), f"{path}.namespace", name)
    for field in ("matchLabelKeys", "mismatchLabelKeys"):
        if term.get(field) and term.get("labelSelector") is None:
            yield forbidden_field(f"{path}.{field}", "must not be specified when labelSelector is not set")
    key = term.get("topologyKey", "")
    if not key:
        yield required(f"{path}.topologyKey", "can not be empty")
    yield from qualified(key, f"{path}.topologyKey")


def spreading(given: Sequence[Obj], path: str) -> Found:
    """`topologySpreadConstraints` of a pod."""
    for index, one in enumerate(given):
        where = f"{path}[{index}]"
        if one.get("maxSkew", 0) <= 0:
            yield invalid_value(f"{where}.maxSkew", one.get("maxSkew", 0), "must be greater than zero")
        if not one.get("topologyKey"):
            yield required(f"{where}.topologyKey", "can not be empty")
        action = one.get("whenUnsatisfiable", "")
        if action not in {"DoNotSchedule", "ScheduleAnyway"}:
            yield unsupported(f"{where}.whenUnsatisfiable", action, ("DoNotSchedule", "ScheduleAnyway"))
        yield from _repeated(one, given[index + 1 :], where)
        yield from _domains(one, action, where)
        for field in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            yield from one_of(one.get(field), f"{where}.{field}", ("Honor", "Ignore"))
        yield from _spread_keys(one, where)
        yield from label_selector(one.get("labelSelector"), f"{where}.labelSelector")


def _repeated(one: Obj, rest: Sequence[Obj], path: str) -> Found:
    pair = (one.get("topologyKey", ""), one.get("whenUnsatisfiable", ""))
    if any(pair == (other.get("topologyKey", ""), other.get("whenUnsatisfiable", "")) for other in rest):
        yield duplicate(f"{path}.{{topologyKey, whenUnsatisfiable}}", f"{{{pair[0]}, {pair[1]}}}")


def _domains(one: Obj, action: str, path: str) -> Found:
    if (least := one.get("minDomains")) is None:
        return
    if least <= 0:
        yield invalid_value(f"{path}.minDomains", least, "must be greater than zero")
    if action != "DoNotSchedule":
        why = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
        yield invalid_value(f"{path}.minDomains", least, why)


def _spread_keys(one: Obj, path: str) -> Found:
    keys, selector = one.get("matchLabelKeys") or (), one.get("labelSelector")
    if keys and selector is None:
        yield forbidden_field(f"{path}.matchLabelKeys", "must not be specified when labelSelector is not set")
    taken = {*((selector or {}).get("matchLabels") or ())}
    taken |= {term.get("key") for term in (selector or {}).get("matchExpressions") or ()}
    for index, key in enumerate(keys):
        yield from qualified(key, f"{path}.matchLabelKeys[{index}]")
        if key in taken:
            yield invalid_value(
                f"{path}.matchLabelKeys[{index}]", key, "exists in both matchLabelKeys and labelSelector"
            )
