"""Schemas of kinds in the words of OpenAPI: the built-in ones and those of custom resources.

Built-in schemas come out of `kubernetes_validate`, where they are written as JSON Schema: `[T, "null"]` for
optional fields, `$defs`, and enums for apiVersion and kind. All three are turned back here.
"""

from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import msgspec

from weft.cluster.apiserver.discovery import SUBRESOURCES
from weft.cluster.apiserver.kinds import Kind

Schemas = Mapping[tuple[str, str, str], dict[str, Any]]
"""(group, version, kind) of a custom resource → its `openAPIV3Schema`."""

Definitions = dict[str, dict[str, Any]]
Dialect = Literal["v2", "v3"]

_SOURCE = "kubernetes-json-schema/v1.36.0-local/_definitions.json"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_EITHER = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "number",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "integer",
}
_PREFIX = {"v2": "#/definitions/", "v3": "#/components/schemas/"}
_GVK = "x-kubernetes-group-version-kind"
# what OpenAPI v2 has no words for; apiextensions-apiserver leaves them out of its v2 document too
_NOT_IN_V2 = frozenset({"allOf", "anyOf", "not", "nullable", "oneOf", "x-kubernetes-validations"})
_UNTYPED_IN_V2 = ("nullable", "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields")


def definitions(kinds: Iterable[Kind], schemas: Schemas, dialect: Dialect) -> Definitions:
    """The definitions of these kinds, their lists and all they refer to, by name."""
    source = _source()
    by_kind = {gvk: name for name, schema in source.items() for gvk in _own_kinds(schema)}
    found: Definitions = {}
    wanted = [f"{_META}.{name}" for name in ("DeleteOptions", "ListMeta", "ObjectMeta", "Status")]
    for kind in kinds:
        gvk = kind.group, kind.version, kind.kind
        if gvk in schemas:
            found |= _custom(kind, schemas[gvk], dialect)
        wanted += [by_kind[one] for one in _with_related(kind) if one in by_kind]
    while wanted:
        name = wanted.pop()
        if name not in found and name in source:
            wanted += _references(source[name])
            found[name] = _built_in(name, source[name], dialect)
    return dict(sorted(found.items()))


def _source() -> dict[str, dict[str, Any]]:
    # the package itself is not imported: with it come jsonschema and YAML, which nobody needs for reading a file
    spec = find_spec("kubernetes_validate")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the package kubernetes-validate is missing; install weft's dependencies")
    document: dict[str, Any] = msgspec.json.decode((Path(spec.origin).parent / _SOURCE).read_bytes())
    definitions: dict[str, dict[str, Any]] = document["$defs"]
    return definitions


def definition_name(group: str, version: str, kind: str) -> str:
    """A custom resource's definition: `io.istio.networking.v1.VirtualService`."""
    return ".".join([*reversed(group.split(".")), version, kind])


def _with_related(kind: Kind) -> Iterator[tuple[str, str, str]]:
    """The kind, its list, and the kinds that its subresources speak."""
    yield kind.group, kind.version, kind.kind
    yield kind.group, kind.version, f"{kind.kind}List"
    for name in kind.subresources:
        if (known := SUBRESOURCES.get(name)) and known.kind:
            yield known.group, known.version, known.kind


def _own_kinds(schema: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The kinds of a definition that belongs to one API version (DeleteOptions belongs to all)."""
    found = schema.get(_GVK, [])
    if len(found) == 1:
        yield found[0]["group"], found[0]["version"], found[0]["kind"]


def _references(value: Any) -> Iterator[str]:
    match value:
        case {"$ref": str(target), **rest}:
            yield target.rpartition("/")[2]
            yield from _references(rest)
        case dict():
            for inner in value.values():
                yield from _references(inner)
        case list():
            for inner in value:
                yield from _references(inner)


def _built_in(name: str, schema: dict[str, Any], dialect: Dialect) -> dict[str, Any]:
    if other := _EITHER.get(name):
        text = {key: schema[key] for key in ("description",) if key in schema} | {"type": "string"}
        if other == "integer":
            text["format"] = "int-or-string"
        if dialect == "v3":
            del text["type"]
            text["oneOf"] = [{"type": "string"}, {"type": other}]
        return text
    out = _converted(schema, dialect)
    if _GVK in schema:
        for field in ("apiVersion", "kind"):
            out.get("properties", {}).get(field, {}).pop("enum", None)
    return out


def _converted(schema: dict[str, Any], dialect: Dialect) -> dict[str, Any]:
    """A JSON Schema as OpenAPI writes it."""
    out: dict[str, Any] = {}
    for key, value in schema.items():
        match key, value:
            case "type", list():
                out["type"] = next(one for one in value if one != "null")
            case "$ref", str():
                target = {"$ref": _PREFIX[dialect] + value.rpartition("/")[2]}
                # OpenAPI 3.0 forbids neighbours of $ref, so the API server wraps it (kube-openapi, v3)
                out |= {"allOf": [target]} if dialect == "v3" else target
            case "properties", dict():
                out["properties"] = {name: _converted(inner, dialect) for name, inner in value.items()}
            case (("items" | "additionalProperties"), dict()):
                out[key] = _converted(value, dialect)
            case (("oneOf" | "anyOf" | "patternProperties"), _) if dialect == "v2":
                continue
            case _:
                out[key] = value
    return out


def _custom(kind: Kind, schema: dict[str, Any], dialect: Dialect) -> Definitions:
    """A custom resource's definition and that of its list, with the fields that every object has."""
    name, prefix = definition_name(kind.group, kind.version, kind.kind), _PREFIX[dialect]
    own = _for_v2(schema) if dialect == "v2" else dict(schema)
    text = {"type": "string"}
    meta: dict[str, Any] = {"$ref": f"{prefix}{_META}.ObjectMeta"}
    list_meta: dict[str, Any] = {"$ref": f"{prefix}{_META}.ListMeta"}
    item: dict[str, Any] = {"$ref": f"{prefix}{name}"}
    if dialect == "v3":
        meta, list_meta, item = ({"allOf": [one]} for one in (meta, list_meta, item))
    properties = {"apiVersion": text, "kind": text, **own.get("properties", {}), "metadata": meta}
    own |= {"type": "object", "properties": properties, _GVK: [_gvk(kind, kind.kind)]}
    listed = {
        "description": f"{kind.kind}List is a list of {kind.kind}",
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": text,
            "kind": text,
            "metadata": list_meta,
            "items": {"type": "array", "items": item},
        },
        _GVK: [_gvk(kind, f"{kind.kind}List")],
    }
    return {name: own, f"{name}List": listed}


def _gvk(kind: Kind, name: str) -> dict[str, str]:
    return {"group": kind.group, "version": kind.version, "kind": name}


def _for_v2(schema: dict[str, Any]) -> dict[str, Any]:
    """What of a structural schema OpenAPI v2 can say; the rest becomes 'anything'."""
    out = {key: value for key, value in schema.items() if key not in _NOT_IN_V2}
    if any(schema.get(key) for key in _UNTYPED_IN_V2):
        return {key: out[key] for key in out if key == "description" or key.startswith("x-")}
    if isinstance(properties := out.get("properties"), dict):
        out["properties"] = {name: _for_v2(inner) for name, inner in properties.items()}
    if isinstance(additional := out.get("additionalProperties"), dict):
        out["additionalProperties"] = _for_v2(additional)
    if out.get("type") == "array":
        # kubectl 1.20 gives up the whole document for an array without items
        out["items"] = _for_v2(items) if isinstance(items := out.get("items"), dict) else {}
    return out
