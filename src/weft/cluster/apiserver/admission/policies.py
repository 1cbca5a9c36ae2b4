"""ValidatingAdmissionPolicies in force (`admission/plugin/policy/validating`)."""

from collections.abc import Iterator
from typing import Any

from weft.cluster.apiserver import errors
from weft.cluster.apiserver.admission.attributes import Attributes
from weft.cluster.apiserver.admission.conditions import Conditions, ConditionsError
from weft.cluster.apiserver.admission.matching import constrained
from weft.cluster.apiserver.cel.engine import EvaluationError, uses
from weft.cluster.apiserver.cluster import Cluster, Obj
from weft.cluster.apiserver.conversion import Conversion
from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.scheme import resource_of
from weft.cluster.apiserver.selectors import from_object
from weft.cluster.apiserver.versions import from_stored

_GROUP = "admissionregistration.k8s.io"
_OWN = frozenset({"validatingadmissionpolicies", "validatingadmissionpolicybindings"})
_CODES = {"Unauthorized": 401, "Forbidden": 403, "RequestEntityTooLarge": 413}
Decision = tuple[str, str]
"""Why a request is refused: sentence and reason."""


class ParameterError(Exception):
    """Parameters that a binding speaks of and that are not there."""


async def check(attributes: Attributes, cluster: Cluster, conversion: Conversion) -> None:
    """Ask every policy that is bound; the first refusal is raised, warnings go to the call."""
    if attributes.call.kind.group == _GROUP and attributes.call.kind.plural in _OWN:
        return
    for row in cluster.store.rows(f"{_GROUP}/validatingadmissionpolicybindings"):
        binding = row.decode()
        policy = _policy(cluster, binding["spec"].get("policyName", ""))
        seen = _concerned(policy, binding, attributes, cluster) if policy else None
        if policy is None or seen is None:
            continue
        await conversion.show(attributes, seen)
        names = f"ValidatingAdmissionPolicy '{policy['metadata']['name']}' with binding '{row.key.name}'"
        for why, reason in _decisions(policy, binding, attributes, cluster, seen):
            _act(binding, attributes, names, why, reason)


def _policy(cluster: Cluster, name: str) -> Obj | None:
    kind = cluster.scheme.find(_GROUP, "v1", "validatingadmissionpolicies")
    row = cluster.row(kind, "", name) if kind else None
    return row.decode() if row else None


def _concerned(policy: Obj, binding: Obj, attributes: Attributes, cluster: Cluster) -> Kind | None:
    seen = constrained(policy["spec"].get("matchConstraints") or {}, attributes, cluster)
    narrowed = binding["spec"].get("matchResources")
    if seen is None or not narrowed:
        return seen
    if not narrowed.get("resourceRules"):
        everything = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"]}
        narrowed = {**narrowed, "resourceRules": [everything]}
    return seen if constrained(narrowed, attributes, cluster) else None


def _act(binding: Obj, attributes: Attributes, names: str, why: str, reason: str) -> None:
    actions = binding["spec"].get("validationActions") or ()
    if "Warn" in actions:
        attributes.call.warnings.append(f"Validation failed for {names}: {why}")
    if "Deny" in actions:
        call = attributes.call
        message = f"{names} denied request: {why}"
        refused = errors.forbidden(call.kind, attributes.name, message, [{"message": message}])
        raise errors.StatusError(_CODES.get(reason, 422), reason, refused.message, refused.details)


def _decisions(
    policy: Obj, binding: Obj, attributes: Attributes, cluster: Cluster, seen: Kind
) -> Iterator[Decision]:
    fails = policy["spec"].get("failurePolicy", "Fail") == "Fail"
    try:
        parameters = _parameters(policy, binding, attributes, cluster)
    except ParameterError as error:
        if fails:
            yield f"failed to configure binding: {error}", "Invalid"
        return
    for params in parameters:
        conditions = Conditions(cluster, attributes, seen, {"params": params})
        conditions.data["namespaceObject"] = _namespace(attributes, cluster)
        try:
            if not conditions.hold(policy["spec"].get("matchConditions") or []):
                continue
        except ConditionsError as error:
            if fails:
                yield str(error), "Invalid"
            continue
        for why, reason, failed in _validations(policy["spec"], conditions):
            if fails or not failed:
                yield why, reason


def _validations(spec: Obj, conditions: Conditions) -> Iterator[tuple[str, str, bool]]:
    """What is refused: sentence, reason, and whether it is an error of the policy itself."""
    unknown = _variables(spec, conditions)
    for validation in spec.get("validations") or ():
        text = validation["expression"]
        try:
            for name, error in unknown.items():
                if uses(text, rf"variables\.{name}"):
                    raise error
            held = conditions.value(text)
        except EvaluationError as error:
            yield f"expression '{text}' resulted in error: {error}", "Invalid", True
            continue
        if held is not True:
            yield _said(validation, conditions), validation.get("reason") or "Invalid", False


def _variables(spec: Obj, conditions: Conditions) -> dict[str, EvaluationError]:
    """Give the variables their values; those that have none are returned, for whoever uses them."""
    known: dict[str, Any] = {}
    failed: dict[str, EvaluationError] = {}
    conditions.data["variables"] = known
    for variable in spec.get("variables") or ():
        try:
            known[variable["name"]] = conditions.value(variable["expression"])
        except EvaluationError as error:
            failed[variable["name"]] = error
    return failed


def _said(validation: Obj, conditions: Conditions) -> str:
    if expression := validation.get("messageExpression"):
        try:
            text = conditions.value(expression)
        except EvaluationError:
            text = ""
        if isinstance(text, str) and text.strip() and "\n" not in text.strip():
            return text.strip()
    message = (validation.get("message") or "").strip()
    return message or f"failed expression: {validation['expression'].strip()}"


def _namespace(attributes: Attributes, cluster: Cluster) -> Obj | None:
    call = attributes.call
    if (call.kind.group, call.kind.plural) == ("", "namespaces"):
        return None
    return cluster.core("namespaces", "", call.namespace) if call.namespace else None


def _parameters(policy: Obj, binding: Obj, attributes: Attributes, cluster: Cluster) -> list[Obj | None]:
    """The parameters to judge by, one after the other; a single None where the policy has none."""
    wanted, reference = policy["spec"].get("paramKind"), binding["spec"].get("paramRef")
    if not wanted or not reference:
        return [None]
    kind = cluster.scheme.by_kind(wanted["apiVersion"].rpartition("/")[0], wanted["kind"])
    if kind is None:
        version, name = wanted["apiVersion"], wanted["kind"]
        raise ParameterError(f"failed to find resource referenced by paramKind: '{version}, Kind={name}'")
    namespace = (reference.get("namespace") or attributes.call.namespace) if kind.namespaced else ""
    if kind.namespaced and not namespace:
        raise ParameterError(
            "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
        )
    rows = cluster.store.rows(resource_of(kind), namespace)
    found: list[Obj | None] = []
    for row in rows:
        obj = from_stored(kind, row.decode())
        named = not reference.get("name") or reference["name"] == row.key.name
        chosen = from_object(reference.get("selector")).matches(obj["metadata"].get("labels"))
        if named and chosen:
            found.append(obj)
    if not found and reference.get("parameterNotFoundAction") == "Deny":
        raise ParameterError("no params found for policy binding with `Deny` parameterNotFoundAction")
    return found
