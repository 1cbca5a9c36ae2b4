"""Whether a schema is structural, and sound otherwise (`apiextensions-apiserver/pkg/apiserver/schema`)."""

from collections.abc import Iterator
from typing import Any, Literal

from weft.base.regex import RegexError, compiled
from weft.cluster.apiserver import structural
from weft.cluster.apiserver.errors import FieldError, forbidden_field, invalid_value, required, unsupported
from weft.cluster.apiserver.schemas import Schema

Level = Literal["root", "item", "field"]
_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_NOT_SUPPORTED = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")
_EMPTY = {
    "root": "must not be empty at the root",
    "item": "must not be empty for specified array items",
    "field": "must not be empty for specified object fields",
}
_META = frozenset({"apiVersion", "kind", "metadata"})
_LOGIC = ("allOf", "anyOf", "oneOf")
# what a schema below a junctor may not say: field → sentence
_NOT_NESTED = {
    "type": "must be empty to be structural",
    "additionalProperties": "must be undefined to be structural",
    "default": "must be undefined to be structural",
    "title": "must be empty to be structural",
    "description": "must be empty to be structural",
    "nullable": "must be false to be structural",
    "x-kubernetes-preserve-unknown-fields": "must be false to be structural",
    "x-kubernetes-embedded-resource": "must be false to be structural",
    "x-kubernetes-int-or-string": "must be false to be structural",
    "x-kubernetes-list-map-keys": "must be empty to be structural",
    "x-kubernetes-list-type": "must be undefined to be structural",
    "x-kubernetes-map-type": "must be undefined to be structural",
    "x-kubernetes-validations": "must be empty to be structural",
}
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]


def wrong(schema: Schema, path: str) -> list[FieldError]:
    """Everything that Kubernetes refuses in a schema; CEL rules are read by `rule_texts`."""
    found = sorted((*_invariants(schema, "root", path), *_complete(schema, path)), key=str)
    if schema.get("nullable") is True:
        found.append(forbidden_field(f"{path}.nullable", "nullable cannot be true at the root"))
    return [*found, *_sound(schema, path)]


def _child(schema: Schema, key: str) -> Schema | None:
    value = schema.get(key)
    return value if isinstance(value, dict) else None


def _properties(schema: Schema) -> dict[str, Schema]:
    found = schema.get("properties") or {}
    return {name: inner for name, inner in found.items() if isinstance(inner, dict)}


def _listed(schema: Schema, key: str) -> list[Schema]:
    return [inner for inner in schema.get(key) or () if isinstance(inner, dict)]


def _invariants(schema: Schema, level: Level, path: str) -> Iterator[FieldError]:
    items = _child(schema, "items")
    if schema.get("type") == "array" and items is None and "items" not in schema:
        yield required(f"{path}.items", "must be specified")
    if items is not None:
        yield from _invariants(items, "item", f"{path}.items")
    for name, inner in _properties(schema).items():
        yield from _invariants(inner, "field", f"{path}.properties[{name}]")
    extra = schema.get("additionalProperties")
    if extra is not None and level == "root":
        yield forbidden_field(f"{path}.additionalProperties", "must not be used at the root")
    if isinstance(extra, dict):
        yield from _invariants(extra, "field", f"{path}.additionalProperties")
    yield from _values(schema, path)
    yield from _form(schema, level, path)
    yield from _pattern(schema, path)
    if level == "root" or schema.get("x-kubernetes-embedded-resource") is True:
        yield from _whole(schema, level, path)


def _form(schema: Schema, level: Level, path: str) -> Iterator[FieldError]:
    kind = schema.get("type", "")
    embedded = schema.get("x-kubernetes-embedded-resource") is True
    preserves = schema.get("x-kubernetes-preserve-unknown-fields") is True
    either = schema.get("x-kubernetes-int-or-string") is True
    if either and preserves:
        why = "must be false if x-kubernetes-int-or-string is true"
        yield invalid_value(f"{path}.x-kubernetes-preserve-unknown-fields", preserves, why)
    if either and embedded:
        why = "must be false if x-kubernetes-int-or-string is true"
        yield invalid_value(f"{path}.x-kubernetes-embedded-resource", embedded, why)
    if embedded and kind != "object":
        why = "must be object if x-kubernetes-embedded-resource is true"
        yield invalid_value(f"{path}.type", kind, why) if kind else required(f"{path}.type", why)
    elif not kind and not either and not preserves:
        yield required(f"{path}.type", _EMPTY[level])
    if level == "root" and kind and kind != "object":
        yield invalid_value(f"{path}.type", kind, "must be object at the root")
    if embedded and schema.get("additionalProperties") is not None:
        why = "must not be used if x-kubernetes-embedded-resource is set"
        yield forbidden_field(f"{path}.additionalProperties", why)
    if embedded and not preserves and not _properties(schema):
        why = (
            "must not be empty if x-kubernetes-embedded-resource is true without"
            " x-kubernetes-preserve-unknown-fields"
        )
        yield required(f"{path}.properties", why)


def _whole(schema: Schema, level: Level, path: str) -> Iterator[FieldError]:
    """What a schema of a whole resource may say of its metadata."""
    properties = _properties(schema)
    for name in ("kind", "apiVersion"):
        if name in properties and properties[name].get("type") != "string":
            yield invalid_value(
                f"{path}.properties[{name}].type", properties[name].get("type", ""), "must be string"
            )
    metadata = properties.get("metadata")
    if metadata is None:
        return
    where = f"{path}.properties[metadata]"
    if metadata.get("type") != "object":
        yield invalid_value(f"{where}.type", metadata.get("type", ""), "must be object")
    if level == "root":
        others = set(metadata) - {"type", "properties", "description"}
        if others or set(_properties(metadata)) - {"name", "generateName"}:
            why = (
                "must not specify anything other than name and generateName, but metadata is implicitly specified"
            )
            yield forbidden_field(where, why)


def _values(schema: Schema, path: str) -> Iterator[FieldError]:
    either = schema.get("x-kubernetes-int-or-string") is True
    for key in _LOGIC:
        if key == "anyOf" and either and schema.get("anyOf") == _INT_OR_STRING:
            continue
        for index, inner in enumerate(_listed(schema, key)):
            if either and key == "allOf" and index == 0 and inner == {"anyOf": _INT_OR_STRING}:
                continue
            yield from _nested(inner, f"{path}.{key}[{index}]")
    inner_not = _child(schema, "not")
    if inner_not is not None:
        yield from _nested(inner_not, f"{path}.not")


def _pattern(schema: Schema, path: str) -> Iterator[FieldError]:
    pattern = schema.get("pattern")
    if isinstance(pattern, str):
        try:
            compiled(pattern)
        except RegexError as error:
            why = f"must be a valid regular expression, but isn't: error parsing regexp: {error}"
            yield invalid_value(f"{path}.pattern", pattern, why)


def _nested(schema: Schema, path: str) -> Iterator[FieldError]:
    for key, why in _NOT_NESTED.items():
        if schema.get(key) not in (None, "", False, []):
            yield forbidden_field(f"{path}.{key}", why)
    if "metadata" in _properties(schema):
        yield forbidden_field(f"{path}.properties[metadata]", "must not be specified in a nested context")
    yield from _values(schema, path)
    items = _child(schema, "items")
    if items is not None:
        yield from _nested(items, f"{path}.items")
    for name, inner in _properties(schema).items():
        yield from _nested(inner, f"{path}.properties[{name}]")


def _complete(schema: Schema, path: str) -> Iterator[FieldError]:
    """Whatever a junctor speaks of must be there without it."""
    for key in (*_LOGIC, "not"):
        found = _listed(schema, key) if key != "not" else [one for one in (_child(schema, "not"),) if one]
        for index, inner in enumerate(found):
            where = f"{path}.{key}" if key == "not" else f"{path}.{key}[{index}]"
            yield from _spoken_of(schema, inner, path, where)
    for name, inner in _properties(schema).items():
        yield from _complete(inner, f"{path}.properties[{name}]")
    for key in ("items", "additionalProperties"):
        below = _child(schema, key)
        if below is not None:
            yield from _complete(below, f"{path}.{key}")


def _spoken_of(schema: Schema, nested: Schema, path: str, where: str) -> Iterator[FieldError]:
    known = _properties(schema)
    for name, inner in _properties(nested).items():
        below, place = f"{path}.properties[{name}]", f"{where}.properties[{name}]"
        if name not in known:
            yield required(below, f"because it is defined in {place}")
        else:
            yield from _spoken_of(known[name], inner, below, place)
    items, own = _child(nested, "items"), _child(schema, "items")
    if items is not None:
        if own is None:
            yield required(f"{path}.items", f"because it is defined in {where}.items")
        else:
            yield from _spoken_of(own, items, f"{path}.items", f"{where}.items")
    for key in _LOGIC:
        for index, inner in enumerate(_listed(nested, key)):
            yield from _spoken_of(schema, inner, path, f"{where}.{key}[{index}]")


def _sound(schema: Schema, path: str) -> Iterator[FieldError]:
    """What is refused in every schema, structural or not."""
    yield from _sound_here(schema, path)
    for key, where, inner in _below(schema):
        if key in _META and path.endswith("openAPIV3Schema") and "default" in inner:
            yield forbidden_field(f"{path}{where}.default", f"must not be set in top-level {key}")
        yield from _sound(inner, path + where)


def _sound_here(schema: Schema, path: str) -> Iterator[FieldError]:
    for key in _NOT_SUPPORTED:
        if schema.get(key):
            yield forbidden_field(f"{path}.{key}", f"{key} is not supported")
    kind = schema.get("type", "")
    if kind == "null":
        yield forbidden_field(f"{path}.type", "type cannot be set to null, use nullable as an alternative")
    elif kind and kind not in _TYPES:
        yield unsupported(f"{path}.type", kind, _TYPES)
    if schema.get("uniqueItems") is True:
        why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield forbidden_field(f"{path}.uniqueItems", why)
    yield from _no_schemas(schema, path)
    if isinstance(schema.get("items"), list):
        yield forbidden_field(f"{path}.items", "items must be a schema object and not an array")
    if _properties(schema) and schema.get("additionalProperties") not in (None, True):
        yield forbidden_field(
            f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive"
        )
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        yield invalid_value(f"{path}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined")  # noqa: FBT003 - shown
    yield from _list_type(schema, path)
    yield from _map_type(schema, path)
    yield from _default(schema, path)


def _no_schemas(schema: Schema, path: str) -> Iterator[FieldError]:
    """What stands where a schema belongs and is none; the published schema of definitions lets it pass."""
    for key, sorts in (("items", dict | list), ("additionalProperties", dict | bool)):
        if schema.get(key) is not None and not isinstance(schema[key], sorts):
            yield invalid_value(f"{path}.{key}", schema[key], "must be a schema")


def _below(schema: Schema) -> Iterator[tuple[str, str, Schema]]:
    for name, inner in _properties(schema).items():
        yield name, f".properties[{name}]", inner
    for key in ("items", "additionalProperties", "not"):
        inner_schema = _child(schema, key)
        if inner_schema is not None:
            yield "", f".{key}", inner_schema
    for key in _LOGIC:
        for index, inner in enumerate(_listed(schema, key)):
            yield "", f".{key}[{index}]", inner


def _default(schema: Schema, path: str) -> Iterator[FieldError]:
    if "default" not in schema:
        return
    value = schema["default"]
    yield from structural.check(value, schema, f"{path}.default")
    _, unknown = structural.prune(value, schema, root=False)
    if unknown:
        yield invalid_value(f"{path}.default", value, "must be pruned")


def _list_type(schema: Schema, path: str) -> Iterator[FieldError]:
    kind, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or []
    where, items = f"{path}.x-kubernetes-list-type", _child(schema, "items") or {}
    if keys and kind != "map":
        why = "must be map if x-kubernetes-list-map-keys is non-empty"
        yield required(where, why) if kind is None else invalid_value(where, kind, why)
    if kind is None:
        return
    if schema.get("type") != "array":
        why = "must be array if x-kubernetes-list-type is specified"
        held = schema.get("type", "")
        yield invalid_value(f"{path}.type", held, why) if held else required(f"{path}.type", why)
    elif kind not in {"atomic", "map", "set"}:
        yield unsupported(where, kind, ("atomic", "map", "set"))
    elif kind == "set":
        atomic = {"object": "x-kubernetes-map-type", "array": "x-kubernetes-list-type"}.get(items.get("type", ""))
        if atomic and items.get(atomic, "atomic" if items["type"] == "array" else None) != "atomic":
            why = "must be atomic as item of a list with x-kubernetes-list-type=set"
            yield invalid_value(f"{path}.items.{atomic}", items.get(atomic), why)
        if items.get("nullable") is True:
            yield forbidden_field(
                f"{path}.items.nullable", "cannot be nullable when x-kubernetes-list-type is set"
            )
    elif kind == "map":
        yield from _keys(items, keys, path)


def _keys(items: Schema, keys: list[str], path: str) -> Iterator[FieldError]:
    where = f"{path}.x-kubernetes-list-map-keys"
    if not keys:
        yield required(where, "must not be empty if x-kubernetes-list-type is map")
    if items.get("type") != "object":
        why = "must be object if parent array's x-kubernetes-list-type is map"
        yield invalid_value(f"{path}.items.type", items.get("type", ""), why)
    if items.get("nullable") is True:
        yield forbidden_field(f"{path}.items.nullable", "cannot be nullable when x-kubernetes-list-type is map")
    properties = _properties(items)
    for index, key in enumerate(keys):
        inner, place = properties.get(key), f"{path}.items.properties[{key}]"
        if inner is None:
            yield invalid_value(f"{where}[{index}]", key, "entries must all be names of item properties")
            continue
        if inner.get("type") in {"array", "object"}:
            why = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            yield invalid_value(f"{place}.type", inner["type"], why)
        if key not in (items.get("required") or ()) and "default" not in inner:
            why = (
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required"
                " property"
            )
            yield required(f"{place}.default", why)
        if inner.get("nullable") is True:
            why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable"
            yield forbidden_field(f"{place}.nullable", why)
    if len(set(keys)) != len(keys):
        yield invalid_value(where, keys, "must not contain duplicate entries")


def _map_type(schema: Schema, path: str) -> Iterator[FieldError]:
    kind, held = schema.get("x-kubernetes-map-type"), schema.get("type", "")
    if kind is None:
        return
    if held != "object":
        why = "must be object if x-kubernetes-map-type is specified"
        yield invalid_value(f"{path}.type", held, why) if held else required(f"{path}.type", why)
    elif kind not in {"atomic", "granular"}:
        yield unsupported(f"{path}.x-kubernetes-map-type", kind, ("atomic", "granular"))


def uncorrelatable(schema: Schema) -> bool:
    """Whether items of a list cannot be compared with what they were."""
    return schema.get("x-kubernetes-list-type") != "map"


def children(schema: Schema) -> Iterator[tuple[str, Schema, Any]]:
    """The schemas that rules may stand in: path from here, schema, and whether old items are lost on the way."""
    for name, inner in _properties(schema).items():
        yield f".properties[{name}]", inner, False
    items, extra = _child(schema, "items"), _child(schema, "additionalProperties")
    if items is not None:
        yield ".items", items, uncorrelatable(schema)
    if extra is not None:
        yield ".additionalProperties", extra, False
