"""The expressions of webhooks and admission policies (`pkg/apis/admissionregistration/validation`)."""

from collections.abc import Iterator, Mapping
from typing import Any

from weft.cluster.apiserver import names
from weft.cluster.apiserver.cel.engine import Checker, CompileError, Engine
from weft.cluster.apiserver.cel.signatures import AUTHORIZER, RESOURCE_CHECK
from weft.cluster.apiserver.cel.types import BOOL, DYN, STRING, Declared, Types
from weft.cluster.apiserver.errors import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    required,
    unsupported,
)

Obj = dict[str, Any]
_MOST_CONDITIONS = 64
_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")
_ACTIONS = ("Audit", "Deny", "Warn")


def _checker(
    engine: Engine, more: Mapping[str, Declared], composed: Mapping[str, Declared] | None = None
) -> Checker:
    types = Types()
    kind = types.message({"group": STRING, "version": STRING, "kind": STRING})
    resource = types.message({"group": STRING, "version": STRING, "resource": STRING})
    extra = Declared("map", Declared("list", STRING))
    user = types.message({"username": STRING, "uid": STRING, "groups": Declared("list", STRING), "extra": extra})
    words = ("uid", "subResource", "requestSubResource", "name", "namespace", "operation")
    request = types.message(
        {
            **dict.fromkeys(words, STRING),
            "kind": kind,
            "requestKind": kind,
            "resource": resource,
            "requestResource": resource,
            "userInfo": user,
            "dryRun": BOOL,
            "options": DYN,
        }
    )
    variables = {
        "object": DYN,
        "oldObject": DYN,
        "request": request,
        "authorizer": Declared("message", name=AUTHORIZER),
        "authorizer.requestResource": Declared("message", name=RESOURCE_CHECK),
        **more,
        **({} if composed is None else {"variables": types.message(dict(composed))}),
    }
    return engine.checker(variables, types)


def _wrong(checker: Checker, text: str, path: str, wanted: str) -> Iterator[FieldError]:
    if not text.strip():
        yield required(path)
        return
    try:
        found = checker.check(text)
    except CompileError as error:
        yield invalid_value(path, text, f"compilation failed: {error}")
        return
    if wanted and found not in {wanted.upper(), "DYN"}:
        yield invalid_value(path, text, f"must evaluate to {wanted}")


def _conditions(given: list[Obj], path: str, checker: Checker) -> Iterator[FieldError]:
    seen: set[str] = set()
    if len(given) > _MOST_CONDITIONS:
        text = f"Too many: {len(given)}: must have at most {_MOST_CONDITIONS} items"
        yield FieldError(path, "FieldValueTooMany", text)
    for index, condition in enumerate(given):
        where, name = f"{path}[{index}]", condition.get("name", "")
        yield from _wrong(checker, condition.get("expression", ""), f"{where}.expression", "bool")
        if not name:
            yield required(f"{where}.name")
        elif why := names.label_key(name):
            yield invalid_value(f"{where}.name", name, why)
        elif name in seen:
            yield duplicate(f"{where}.name", name)
        seen.add(name)


def conditions_of_webhooks(obj: Obj, before: Obj | None, engine: Engine) -> list[FieldError]:
    """What is wrong with the match conditions of webhooks."""
    known = {hook.get("name"): hook for hook in (before or {}).get("webhooks") or ()}
    found: list[FieldError] = []
    for index, hook in enumerate(obj.get("webhooks") or ()):
        given = hook.get("matchConditions")
        if given and known.get(hook.get("name"), {}).get("matchConditions") != given:
            found += _conditions(given, f"webhooks[{index}].matchConditions", _checker(engine, {}))
    return found


def policy(obj: Obj) -> list[FieldError]:
    """What is wrong with the form of a ValidatingAdmissionPolicy."""
    spec, found = obj.get("spec") or {}, []
    if not spec.get("validations") and not spec.get("auditAnnotations"):
        found.append(
            required("spec.validations", "validations or auditAnnotations must contain at least one item")
        )
    if not spec.get("matchConstraints"):
        found.append(required("spec.matchConstraints"))
    elif not spec["matchConstraints"].get("resourceRules"):
        found.append(required("spec.matchConstraints.resourceRules"))
    for index, validation in enumerate(spec.get("validations") or ()):
        path, reason = f"spec.validations[{index}]", validation.get("reason")
        if not validation.get("expression", "").strip():
            found.append(required(f"{path}.expression", "expression is not specified"))
        if reason is not None and reason not in _REASONS:
            found.append(unsupported(f"{path}.reason", reason, _REASONS))
    return found


def expressions_of_policy(obj: Obj, before: Obj | None, engine: Engine) -> list[FieldError]:
    """What is wrong with the expressions of a ValidatingAdmissionPolicy."""
    spec = obj["spec"]
    if before is not None and before.get("spec") == spec:
        return []
    more = {"namespaceObject": DYN, "params": DYN}
    if not spec.get("paramKind"):
        del more["params"]
    checker = _checker(engine, more)
    found = [*_conditions(spec.get("matchConditions") or [], "spec.matchConditions", checker)]
    known: dict[str, Declared] = {}
    for index, variable in enumerate(spec.get("variables") or ()):
        path, name = f"spec.variables[{index}]", variable.get("name", "")
        if not name.isidentifier():
            found.append(invalid_value(f"{path}.name", name, "name is not a valid CEL identifier"))
        composed = _checker(engine, more, known)
        found += _wrong(composed, variable.get("expression", ""), f"{path}.expression", "")
        known[name] = DYN
    composed = _checker(engine, more, known)
    for index, validation in enumerate(spec.get("validations") or ()):
        path = f"spec.validations[{index}]"
        found += _wrong(composed, validation["expression"], f"{path}.expression", "bool")
        if said := validation.get("messageExpression"):
            found += _wrong(composed, said, f"{path}.messageExpression", "string")
    for index, annotation in enumerate(spec.get("auditAnnotations") or ()):
        path = f"spec.auditAnnotations[{index}].valueExpression"
        found += _wrong(composed, annotation.get("valueExpression", ""), path, "")
    return found


def binding(obj: Obj) -> list[FieldError]:
    """What is wrong with a ValidatingAdmissionPolicyBinding."""
    spec, found = obj.get("spec") or {}, []
    actions = spec.get("validationActions") or []
    if not spec.get("policyName"):
        found.append(required("spec.policyName"))
    if not actions:
        found.append(required("spec.validationActions", "at least one validation action is required"))
    for index, action in enumerate(actions):
        if action not in _ACTIONS:
            found.append(unsupported(f"spec.validationActions[{index}]", action, _ACTIONS))
    if {"Deny", "Warn"} <= set(actions):
        why = (
            "must not contain both Deny and Warn (repeating the same validation failure information in the API"
            " response and headers serves no purpose)"
        )
        found.append(invalid_value("spec.validationActions", actions, why))
    reference = spec.get("paramRef")
    if reference is not None:
        if bool(reference.get("name")) == (reference.get("selector") is not None):
            why = "one of name or selector must be specified"
            both = forbidden_field("spec.paramRef.name", "name and selector are mutually exclusive")
            found.append(both if reference.get("name") else required("spec.paramRef", why))
        if reference.get("parameterNotFoundAction") not in {"Allow", "Deny"}:
            found.append(required("spec.paramRef.parameterNotFoundAction"))
    return found
