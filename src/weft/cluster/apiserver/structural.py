"""Structural schemas of CustomResourceDefinitions: pruning, defaults and validation.

Sources: `apiextensions-apiserver/pkg/apiserver/schema` and `kube-openapi/pkg/validation` for the sentences.
"""

import copy
import json
from collections.abc import Iterator
from typing import Any

from weft.base.regex import RegexError, compiled
from weft.cluster.apiserver import errors, formats
from weft.cluster.apiserver.errors import FieldError
from weft.cluster.apiserver.schemas import Schema

_META = frozenset({"apiVersion", "kind", "metadata"})
_PRESERVE = "x-kubernetes-preserve-unknown-fields"


def prune(value: Any, schema: Schema, path: str = "", *, root: bool = True) -> tuple[Any, list[str]]:
    """The value without fields that the schema does not have, and the paths of those fields."""
    if isinstance(value, list):
        return _prune_items(value, schema, path)
    if not isinstance(value, dict):
        return value, []
    properties, extra = schema.get("properties", {}), schema.get("additionalProperties")
    keeps = schema.get(_PRESERVE) is True or not (properties or extra or _is_object(schema) or root)
    embedded = root or schema.get("x-kubernetes-embedded-resource") is True
    result, unknown = {}, []
    for key, item in value.items():
        where = f"{path}.{key}" if path else key
        inner = properties.get(key, extra if isinstance(extra, dict) else None)
        if embedded and key in _META:
            result[key] = item
        elif inner is not None:
            result[key], below = prune(item, inner, where, root=False)
            unknown += below
        elif keeps or extra is True:
            result[key] = item
        else:
            unknown.append(where)
    return result, unknown


def _prune_items(value: list[Any], schema: Schema, path: str) -> tuple[list[Any], list[str]]:
    items = schema.get("items")
    if not isinstance(items, dict):
        return value, []
    pruned = [prune(item, items, f"{path}[{i}]", root=False) for i, item in enumerate(value)]
    return [item for item, _ in pruned], [where for _, below in pruned for where in below]


def _is_object(schema: Schema) -> bool:
    return schema.get("type") == "object"


def embedded(value: Any, schema: Schema) -> Iterator[dict[str, Any]]:
    """The whole resources that stand in a value, in place."""
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        for item in value:
            yield from embedded(item, schema["items"])
    if not isinstance(value, dict):
        return
    if schema.get("x-kubernetes-embedded-resource") is True:
        yield value
    extra = schema.get("additionalProperties")
    for key, item in value.items():
        inner = schema.get("properties", {}).get(key, extra if isinstance(extra, dict) else None)
        if isinstance(inner, dict) and isinstance(item, dict | list):
            yield from embedded(item, inner)


def fill(value: Any, schema: Schema) -> None:
    """Set the schema's defaults in place. A null where the schema is not nullable takes the default, too."""
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        for item in value:
            fill(item, schema["items"])
    if not isinstance(value, dict):
        return
    for key, inner in schema.get("properties", {}).items():
        if value.get(key) is None and "default" in inner and not (key in value and inner.get("nullable")):
            value[key] = copy.deepcopy(inner["default"])
        if value.get(key) is not None:
            fill(value[key], inner)
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict):
        for key, item in value.items():
            if key not in schema.get("properties", {}):
                fill(item, extra)


def check(value: Any, schema: Schema, path: str = "", old: Any = None) -> list[FieldError]:
    """What is wrong with the value, field by field. What is as it was in `old` is tolerated (ratcheting)."""
    return list(_check(value, schema, path, old))


def _check(value: Any, schema: Schema, path: str, old: Any = None) -> Iterator[FieldError]:
    if value is None and schema.get("nullable"):
        return
    if path and old is not None and value == old and type(value) is type(old):
        return
    if not _has_type(value, schema):
        wanted = "integer or string" if schema.get("x-kubernetes-int-or-string") else schema["type"]
        shown = json.dumps(_type_name(value))
        yield FieldError(
            path or "<nil>",
            "FieldValueTypeInvalid",
            f"Invalid value: {shown}: {path} in body must be of type {wanted}: {shown}",
        )
        return
    if "enum" in schema and value not in schema["enum"]:
        yield errors.unsupported(path, value, schema["enum"])
    match value:
        case bool():
            pass
        case str():
            yield from _check_string(value, schema, path)
        case int() | float():
            yield from _check_number(value, schema, path)
        case list():
            yield from _check_list(value, schema, path, old if isinstance(old, list) else [])
        case dict():
            yield from _check_object(value, schema, path, old if isinstance(old, dict) else {})
    yield from _check_logic(value, schema, path)


def _type_name(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _has_type(value: Any, schema: Schema) -> bool:
    if schema.get("x-kubernetes-int-or-string"):
        return isinstance(value, int | str) and not isinstance(value, bool)
    wanted, actual = schema.get("type"), _type_name(value)
    if wanted in {None, "", actual}:
        return True
    return (wanted == "number" and actual == "integer") or (
        wanted == "integer" and isinstance(value, float) and value.is_integer()
    )


def _should(path: str, value: Any, detail: str) -> FieldError:
    return errors.invalid_value(path, value, f"{path} in body should {detail}")


def _check_string(value: str, schema: Schema, path: str) -> Iterator[FieldError]:
    if "maxLength" in schema and len(value) > schema["maxLength"]:
        yield FieldError(path, "FieldValueTooLong", f"Too long: may not be more than {schema['maxLength']} bytes")
    if len(value) < schema.get("minLength", 0):
        yield _should(path, value, f"be at least {schema['minLength']} chars long")
    if "pattern" in schema and not _matches(schema["pattern"], value):
        yield _should(path, value, f"match '{schema['pattern']}'")
    if not formats.fits(value, schema.get("format", "")):
        why = f"{path} in body must be of type {schema['format']}: {json.dumps(value, ensure_ascii=False)}"
        yield FieldError(path, "FieldValueTypeInvalid", errors.invalid_value(path, value, why).text)


def _matches(pattern: str, value: str) -> bool:
    try:
        return compiled(pattern).search(value) is not None
    except RegexError:
        return True  # a definition of an older server: today's refuses such a pattern


def _check_number(value: float, schema: Schema, path: str) -> Iterator[FieldError]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and (value <= low if schema.get("exclusiveMinimum") else value < low):
        yield _should(
            path, value, f"be greater than {'' if schema.get('exclusiveMinimum') else 'or equal to '}{low}"
        )
    if high is not None and (value >= high if schema.get("exclusiveMaximum") else value > high):
        yield _should(
            path, value, f"be less than {'' if schema.get('exclusiveMaximum') else 'or equal to '}{high}"
        )
    if "multipleOf" in schema and value % schema["multipleOf"]:
        yield _should(path, value, f"be a multiple of {schema['multipleOf']}")


def _check_list(value: list[Any], schema: Schema, path: str, old: list[Any]) -> Iterator[FieldError]:
    if "maxItems" in schema and len(value) > schema["maxItems"]:
        yield FieldError(
            path, "FieldValueTooMany", f"Too many: {len(value)}: must have at most {schema['maxItems']} items"
        )
    if len(value) < schema.get("minItems", 0):
        yield _should(path, value, f"have at least {schema['minItems']} items")
    keys = schema.get("x-kubernetes-list-map-keys")
    before = {_identity(item, keys): item for item in old if isinstance(item, dict)} if keys else {}
    seen: list[Any] = []
    for index, item in enumerate(value):
        where = f"{path}[{index}]"
        same = before.get(_identity(item, keys)) if keys and isinstance(item, dict) else None
        yield from _check(item, schema.get("items") or {}, where, same)
        identity = {key: item.get(key) for key in keys} if keys and isinstance(item, dict) else item
        if (keys or schema.get("x-kubernetes-list-type") == "set") and identity in seen:
            yield errors.duplicate(where, identity)
        seen.append(identity)


def _identity(item: dict[str, Any], keys: list[str]) -> tuple[str, ...]:
    return tuple(repr(item.get(key)) for key in keys)


def _check_object(value: dict[str, Any], schema: Schema, path: str, old: dict[str, Any]) -> Iterator[FieldError]:
    for name in schema.get("required", ()):
        if name not in value:
            yield errors.required(_join(path, name))
    if schema.get("x-kubernetes-embedded-resource") is True:
        absent = [name for name in ("apiVersion", "kind") if not value.get(name)]
        yield from (errors.required(_join(path, name), "must not be empty") for name in absent)
    yield from _check_size(value, schema, path)
    properties, extra = schema.get("properties", {}), schema.get("additionalProperties")
    for key, item in value.items():
        if not path and key in _META:
            continue
        inner = properties.get(key, extra if isinstance(extra, dict) else None)
        if inner is not None:
            yield from _check(item, inner, _join(path, key), old.get(key))


def _check_size(value: dict[str, Any], schema: Schema, path: str) -> Iterator[FieldError]:
    if len(value) > schema.get("maxProperties", len(value)):
        yield _should(path, value, f"have at most {schema['maxProperties']} properties")
    if len(value) < schema.get("minProperties", 0):
        yield _should(path, value, f"have at least {schema['minProperties']} properties")


def _check_logic(value: Any, schema: Schema, path: str) -> Iterator[FieldError]:
    for part in schema.get("allOf", ()):
        yield from _check(value, part, path)
    if "anyOf" in schema and all(check(value, part, path) for part in schema["anyOf"]):
        text = f'Invalid value: "": {_quoted(path)} must validate at least one schema (anyOf)'
        yield FieldError(path or "<nil>", "FieldValueInvalid", text)
    if "oneOf" in schema:
        passed = sum(not check(value, part, path) for part in schema["oneOf"])
        if passed != 1:
            found = "Found none valid" if passed == 0 else f"Found {passed} valid alternatives"
            text = f'Invalid value: "": {_quoted(path)} must validate one and only one schema (oneOf). {found}'
            yield FieldError(path or "<nil>", "FieldValueInvalid", text)
    if "not" in schema and not check(value, schema["not"], path):
        text = f'Invalid value: "": {_quoted(path)} must not validate the schema (not)'
        yield FieldError(path or "<nil>", "FieldValueInvalid", text)


def _quoted(path: str) -> str:
    return f'"{path}"'


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
