"""`x-kubernetes-validations` when a definition is written: a rule that does not compile is refused."""

import re
from collections.abc import Iterator
from typing import Any

from weft.cluster.apiserver.cel.engine import OLD_SELF, CompileError, Engine, uses
from weft.cluster.apiserver.cel.rules import RULES
from weft.cluster.apiserver.cel.types import Types
from weft.cluster.apiserver.errors import FieldError, invalid_value, required, unsupported
from weft.cluster.apiserver.schemas import Schema
from weft.cluster.apiserver.validation.structural_schemas import children

Obj = dict[str, Any]
_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_LONGEST_MESSAGE = 2048


def wrong(schema: Schema, path: str, engine: Engine) -> list[FieldError]:
    """What is wrong with the rules of a schema, at every level."""
    return list(_walk(schema, path, engine, "", root=True))


def _walk(schema: Schema, path: str, engine: Engine, lost: str, *, root: bool = False) -> Iterator[FieldError]:
    if listed := schema.get(RULES):
        found = [
            error for index, rule in enumerate(listed) for error in _form(rule, schema, f"{path}.{RULES}[{index}]")
        ]
        yield from found or _texts(schema, path, engine, lost, root=root)
    for where, inner, breaks in children(schema):
        yield from _walk(inner, path + where, engine, lost or (path if breaks else ""))


def _form(rule: Obj, schema: Schema, path: str) -> Iterator[FieldError]:
    text, message = str(rule.get("rule", "")), str(rule.get("message", ""))
    if not text.strip():
        yield required(f"{path}.rule", "rule is not specified")
    if message and not message.strip():
        yield invalid_value(f"{path}.message", message, "message must be non-empty if specified")
    elif len(message) > _LONGEST_MESSAGE:
        why = f"message must have a maximum length of {_LONGEST_MESSAGE} characters"
        yield invalid_value(f"{path}.message", f"{message[:10]}...", why)
    elif re.search(r"[\n\r]", message.strip()):
        yield invalid_value(f"{path}.message", message, "message must not contain line breaks")
    elif re.search(r"[\n\r]", text.strip()) and not message.strip():
        yield required(f"{path}.message", "message must be specified if rule contains line breaks")
    yield from _beside(rule, schema, path)


def _beside(rule: Obj, schema: Schema, path: str) -> Iterator[FieldError]:
    expression = rule.get("messageExpression", "")
    if expression and not expression.strip():
        yield required(f"{path}.messageExpression", "messageExpression must be non-empty if specified")
    if rule.get("reason") is not None and rule["reason"] not in _REASONS:
        yield unsupported(f"{path}.reason", rule["reason"], _REASONS)
    if below := rule.get("fieldPath", ""):
        why = _not_a_path(below.strip(), schema)
        if not below.strip():
            yield invalid_value(f"{path}.fieldPath", below, "fieldPath must be non-empty if specified")
        elif why:
            yield invalid_value(f"{path}.fieldPath", below, f"fieldPath must be a valid path: {why}")


def _not_a_path(text: str, schema: Schema) -> str:
    """Why `.spec.foo['bar']` leads nowhere; empty where it leads to a field."""
    parts = re.findall(r"\.([^.\[\]]+)|\['((?:[^'\\]|\\.)*)'\]", text)
    if "".join(f".{name}" if name else f"['{key}']" for name, key in parts) != text:
        return f"expected [ or . but got: {re.split(r'[.[]', text)[0] or text}"
    node: Any = schema
    for name, key in parts:
        node = node or {}
        if "properties" in node:
            node = node["properties"].get(name or re.sub(r"\\(.)", r"\1", key))
        else:
            node = node.get("additionalProperties")
        if not isinstance(node, dict):
            return "does not refer to a valid field"
    return ""


def _shown(rule: Obj) -> Obj:
    """A rule as Kubernetes prints it."""
    return {
        "Rule": rule.get("rule", ""),
        "Message": rule.get("message", ""),
        "MessageExpression": rule.get("messageExpression", ""),
        "Reason": rule.get("reason"),
        "FieldPath": rule.get("fieldPath", ""),
        "OptionalOldSelf": rule.get("optionalOldSelf"),
    }


def _texts(schema: Schema, path: str, engine: Engine, lost: str, *, root: bool) -> Iterator[FieldError]:
    types = Types()
    kind = types.of(schema, root=root)
    if kind is None:
        preserves = str(bool(schema.get("x-kubernetes-preserve-unknown-fields"))).lower()
        why = (
            f"rule declared on schema that does not support validation rules type: '{schema.get('type', '')}'"
            f" x-kubernetes-preserve-unknown-fields: '{preserves}'"
        )
        yield FieldError(f"{path}.{RULES}", "InternalError", f"Internal error: {why}")
        return
    variables = {"self": kind, OLD_SELF: kind}
    plain = engine.checker(variables, types)
    for index, rule in enumerate(schema[RULES]):
        where = f"{path}.{RULES}[{index}]"
        optional = rule.get("optionalOldSelf") is True
        checker = engine.checker(variables, types, old_is_optional=True) if optional else plain
        try:
            if checker.check(rule["rule"]) not in {"BOOL", "DYN"}:
                yield invalid_value(f"{where}.rule", _shown(rule), "cel expression must evaluate to a bool")
        except CompileError as error:
            yield invalid_value(f"{where}.rule", _shown(rule), f"compilation failed: {error}")
        if expression := rule.get("messageExpression"):
            try:
                if plain.check(expression) not in {"STRING", "DYN"}:
                    why = "messageExpression must evaluate to a string"
                    yield invalid_value(f"{where}.messageExpression", _shown(rule), why)
            except CompileError as error:
                why = f"messageExpression compilation failed: {error}"
                yield invalid_value(f"{where}.messageExpression", _shown(rule), why)
        if lost and uses(rule["rule"], OLD_SELF):
            why = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {lost}"
            yield invalid_value(f"{where}.rule", rule["rule"], why)
