"""`x-kubernetes-validations` at work: every rule of a schema against an object, and against what it was before.

Source: `apiextensions-apiserver/pkg/apiserver/schema/cel/validation.go`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from weft.cluster.apiserver import errors
from weft.cluster.apiserver.cel.engine import OLD_SELF, Engine, EvaluationError, uses
from weft.cluster.apiserver.cel.types import escape
from weft.cluster.apiserver.cel.values import align, convert
from weft.cluster.apiserver.errors import FieldError
from weft.cluster.apiserver.schemas import Schema

RULES = "x-kubernetes-validations"
SECONDS = 2.0
"""Processor time that the rules of one object may take."""
_LONGEST = 5 * 1024
_OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"


def has_rules(schema: Schema) -> bool:
    """Whether the schema or one below it has rules."""
    if schema.get(RULES):
        return True
    extra, items = schema.get("additionalProperties"), schema.get("items")
    below = [*(schema.get("properties") or {}).values(), *(one for one in (extra, items) if isinstance(one, dict))]
    return any(has_rules(one) for one in below)


class _StopError(Exception):
    """The budget is spent."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A value with its schema, and the value that was there before (None where there is none to compare).

    `kept`: the nearest comparable value above, or this one, is as it was; then what is wrong is tolerated.
    """

    value: Any
    schema: Schema
    path: str
    old: Any = None
    comparable: bool = False
    kept: bool = False
    root: bool = False

    def below(self, value: Any, schema: Schema, path: str, old: Any, *, comparable: bool) -> "_Place":
        """What is at a key or an index."""
        comparable = comparable and self.comparable and old is not None
        kept = value == old if comparable else self.kept
        whole = schema.get("x-kubernetes-embedded-resource") is True
        return _Place(value, schema, path, old if comparable else None, comparable, kept, whole)


@dataclass(slots=True)
class Validator:
    """The rules of one request. `clock` counts processor seconds."""

    engine: Engine
    clock: Callable[[], float]
    found: list[FieldError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    _until: float = 0.0

    def validate(self, obj: Any, old: Any, schema: Schema) -> None:
        """Gather in `found` what the rules refuse, in `warnings` what they would refuse had it been changed."""
        self._until = self.clock() + SECONDS
        place = _Place(obj, schema, "", old, old is not None, old is not None and obj == old, root=True)
        try:
            self._walk(place)
        except _StopError:
            return

    def _walk(self, place: _Place) -> None:
        if place.value is None:
            return
        if place.schema.get(RULES):
            self._rules(place)
        for inner in _children(place):
            self._walk(inner)

    def _rules(self, place: _Place) -> None:
        data: dict[str, Any] = {"self": convert(place.value, place.schema, root=place.root)}
        if place.old is not None:
            old = align(place.old, place.value, place.schema)
            data[OLD_SELF] = convert(old, place.schema, root=place.root)
        for rule in place.schema[RULES]:
            if self.clock() > self._until:
                self._invalid(place, _OUT_OF_BUDGET)
                raise _StopError
            self._rule(place, rule, data)

    def _rule(self, place: _Place, rule: dict[str, Any], data: dict[str, Any]) -> None:
        text = str(rule.get("rule", "true"))
        compares, optional = uses(text, OLD_SELF), rule.get("optionalOldSelf") is True
        if compares and place.old is None and not optional:
            return
        old = ([data[OLD_SELF]] if OLD_SELF in data else []) if optional else None
        try:
            held = self.engine.run(text, data, old)
        except EvaluationError as error:
            self._failed(place, rule, error)
            return
        if held is True:
            return
        path = place.path
        if rule.get("fieldPath"):
            below = rule["fieldPath"].strip()
            path = (path + below).lstrip(".")
        wrong = _error(rule, path, place.schema.get("type", ""), self._detail(rule, data))
        if place.kept and not compares:
            self.warnings.append(str(wrong))
        else:
            self.found.append(wrong)

    def _failed(self, place: _Place, rule: dict[str, Any], error: EvaluationError) -> None:
        said = (rule.get("message") or rule.get("rule", "")).strip()
        if error.over_budget:
            why = f"no further validation rules will be run due to call cost exceeds limit for rule: {said}"
            self._invalid(place, f"'{error}': {why}")
            raise _StopError from error
        if str(error).startswith("no such overload"):
            why = "call arguments did not match a supported operator, function or macro signature for rule"
            self._invalid(place, f"'{error}': {why}: {said}")
        else:
            self._invalid(place, f"{error} evaluating rule: {said}")

    def _invalid(self, place: _Place, why: str) -> None:
        self.found.append(errors.invalid_value(place.path or "<nil>", place.schema.get("type", ""), why))

    def _detail(self, rule: dict[str, Any], data: dict[str, Any]) -> str:
        if expression := rule.get("messageExpression"):
            try:
                said = self.engine.run(expression, data)
            except EvaluationError:
                said = ""
            text = said.strip() if isinstance(said, str) else ""
            if text and len(text.encode()) <= _LONGEST and "\n" not in text:
                return text
        message = rule.get("message", "").strip()
        return message or f"failed rule: {str(rule.get('rule', '')).strip()}"


def _error(rule: dict[str, Any], path: str, kind: str, detail: str) -> FieldError:
    path = path or "<nil>"
    match rule.get("reason"):
        case "FieldValueForbidden":
            return errors.forbidden_field(path, detail)
        case "FieldValueRequired":
            return errors.required(path, detail)
        case "FieldValueDuplicate":
            return errors.duplicate(path, kind)
        case _:
            return errors.invalid_value(path, kind, detail)


def _children(place: _Place) -> Iterator[_Place]:
    schema, value = place.schema, place.value
    if isinstance(value, list):
        yield from _items(place, value)
    if not isinstance(value, dict):
        return
    old = place.old if isinstance(place.old, dict) else {}
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict):
        for key, item in value.items():
            yield place.below(item, extra, f"{place.path}[{key}]", old.get(key), comparable=True)
    for key, inner in (schema.get("properties") or {}).items():
        if key in value and (escape(key) is None or _visible(inner)):
            path = f"{place.path}.{key}" if place.path else key
            yield place.below(value[key], inner, path, old.get(key), comparable=True)


def _visible(schema: Schema) -> bool:
    return bool(schema.get("type")) or schema.get("x-kubernetes-int-or-string") is True


def _items(place: _Place, value: list[Any]) -> Iterator[_Place]:
    schema, items = place.schema, place.schema.get("items")
    if not isinstance(items, dict):
        return
    keys = schema.get("x-kubernetes-list-map-keys") if schema.get("x-kubernetes-list-type") == "map" else None
    before = {}
    if keys and isinstance(place.old, list):
        before = {identity(item, keys): item for item in place.old if isinstance(item, dict)}
    for index, item in enumerate(value):
        old = before.get(identity(item, keys)) if keys and isinstance(item, dict) else None
        yield place.below(item, items, f"{place.path}[{index}]", old, comparable=bool(keys))


def identity(item: dict[str, Any], keys: list[str]) -> tuple[Any, ...]:
    """What tells an item of a list that is a map from the others."""
    return tuple(repr(item.get(key)) for key in keys)
