"""The OpenAPI v2 document as gnostic's protobuf, the only form that kubectl before 1.27 asks for.

A small writer: a message is the bytes of its fields one after the other. The numbers are those of gnostic's
`OpenAPIv2.proto`, as far as kubectl reads it: definitions, and of the paths the PATCH operations (`kubectl diff`
looks there for the query parameter `dryRun`).
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.openapi_schema import Definitions

MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""Content-Type of the answer; in Accept the first `.v1.0` is written `@v1.0`."""

_DOCUMENT = {"swagger": 1, "info": 2, "paths": 8, "definitions": 9}
_SCHEMA = {
    "$ref": 1,
    "format": 2,
    "title": 3,
    "description": 4,
    "default": 5,
    "required": 19,
    "enum": 20,
    "additionalProperties": 21,
    "type": 22,
    "items": 23,
    "properties": 25,
}
_VENDOR_EXTENSION = 31
_NAME, _VALUE = 1, 2  # of NamedSchema, NamedAny and NamedPathItem
_LISTED = 1  # additional_properties of Definitions and Properties, schema of the …Items, value of TypeItem
_BOOLEAN = 2  # of AdditionalPropertiesItem
_YAML = 2  # of Any
_PATH_ITEM, _PATCH = 2, 8  # of Paths; of PathItem
_PARAMETERS, _OPERATION_EXTENSION = 8, 13  # of Operation
_PARAMETER, _NON_BODY, _QUERY = 1, 2, 3  # of ParametersItem, Parameter, NonBodyParameter
_QUERY_IN, _QUERY_NAME, _QUERY_TYPE = 2, 4, 6  # of QueryParameterSubSchema


def encode(definitions: Definitions, kinds: Iterable[Kind] = ()) -> bytes:
    """The document of these definitions (as `openapi_schema` writes them for `v2`)."""
    info = _text(1, "Kubernetes") + _text(2, "v1.36.0")
    named = b"".join(_run(_LISTED, _named(name, _schema(schema))) for name, schema in definitions.items())
    paths = b"".join(_run(_PATH_ITEM, _patch(kind)) for kind in kinds if "patch" in kind.verbs)
    return (
        _text(_DOCUMENT["swagger"], "2.0")
        + _run(_DOCUMENT["info"], info)
        + _run(_DOCUMENT["paths"], paths)
        + _run(_DOCUMENT["definitions"], named)
    )


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _run(number: int, payload: bytes) -> bytes:
    """A length-delimited field: text, bytes or a message."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _text(number: int, value: str) -> bytes:
    return _run(number, value.encode())


def _named(name: str, value: bytes) -> bytes:
    return _text(_NAME, name) + _run(_VALUE, value)


def _any(value: Any) -> bytes:
    """A value of any shape; gnostic keeps it as YAML, of which JSON is a part."""
    return _run(_YAML, msgspec.json.encode(value))


def _schema(schema: dict[str, Any]) -> bytes:
    return b"".join(_schema_field(key, value) for key, value in schema.items())


def _schema_field(key: str, value: Any) -> bytes:
    number = _SCHEMA.get(key, 0)
    match key, value:
        case "$ref" | "format" | "title" | "description", str():
            return _text(number, value)
        case "type", str():
            return _run(number, _text(_LISTED, value))
        case "default" | "enum", _:
            return b"".join(_run(number, _any(one)) for one in (value if key == "enum" else [value]))
        case "required", list():
            return b"".join(_text(number, name) for name in value)
        case "items" | "properties" | "additionalProperties", _:
            return _run(number, _inner(key, value))
        case str(extension), _ if extension.startswith("x-"):
            return _run(_VENDOR_EXTENSION, _named(extension, _any(value)))
        case _:
            return b""  # bounds and the like: the server checks them itself


def _inner(key: str, value: Any) -> bytes:
    """What holds schemas in turn: ItemsItem, Properties, AdditionalPropertiesItem."""
    match key, value:
        case "properties", dict():
            return b"".join(_run(_LISTED, _named(name, _schema(schema))) for name, schema in value.items())
        case _, dict():
            return _run(_LISTED, _schema(value))
        case _:
            return _varint(_BOOLEAN << 3) + _varint(int(bool(value)))


def _patch(kind: Kind) -> bytes:
    """The path of one object with its PATCH, told apart by kind and able to run dry."""
    base = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    scope = "/namespaces/{namespace}" if kind.namespaced else ""
    query = _text(_QUERY_IN, "query") + _text(_QUERY_NAME, "dryRun") + _text(_QUERY_TYPE, "string")
    parameter = _run(_PARAMETER, _run(_NON_BODY, _run(_QUERY, query)))
    gvk = {"group": kind.group, "kind": kind.kind, "version": kind.version}
    operation = _run(_PARAMETERS, parameter) + _run(
        _OPERATION_EXTENSION, _named("x-kubernetes-group-version-kind", _any(gvk))
    )
    return _named(f"{base}{scope}/{kind.plural}/{{name}}", _run(_PATCH, operation))
