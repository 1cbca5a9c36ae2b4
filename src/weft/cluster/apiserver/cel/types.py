"""What expressions may be written against: the types of variables, made from structural schemas.

An object's schema becomes a message of a protobuf file, since messages are what the engine checks field by field;
values are plain maps when it runs. Source: `apiserver/pkg/cel/common/schemas.go`, `SchemaDeclType`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from weft.cluster.apiserver.cel.signatures import OPAQUE

if TYPE_CHECKING:
    from weft.cluster.apiserver.schemas import Schema

_RESERVED = frozenset(
    {
        "as",
        "break",
        "const",
        "continue",
        "else",
        "false",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
        "namespace",
        "null",
        "package",
        "return",
        "true",
        "var",
        "void",
        "while",
    }
)
_ESCAPES = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_NAME = re.compile(r"[a-zA-Z_./-][a-zA-Z0-9_./-]*", re.ASCII)
_PACKAGE = "weft"
_FIRST_RESERVED, _LAST_RESERVED = 19_000, 19_999  # field numbers that protobuf keeps for itself


def escape(name: str) -> str | None:
    """A property's name as expressions write it; None where they cannot."""
    if name in _RESERVED:
        return f"__{name}__"
    if not _NAME.fullmatch(name):
        return None
    return re.sub(r"__|[./-]", lambda found: _ESCAPES[found[0]], name)


@dataclass(frozen=True, slots=True)
class Declared:
    """A type: `sort` is `dyn`, `string`, …, `list`, `map` or `message`, which have `item` or `name`."""

    sort: str
    item: Declared | None = None
    name: str = ""
    nullable: bool = False


DYN, STRING, BOOL, INT = Declared("dyn"), Declared("string"), Declared("bool"), Declared("int")
_FORMATS = {"byte": "bytes", "duration": "duration", "date": "timestamp", "date-time": "timestamp"}
_PLAIN = {"boolean": "bool", "number": "double", "integer": "int"}


def with_metadata(schema: Schema) -> Schema:
    """The schema of a whole resource, of whose metadata expressions see the name alone."""
    text: Schema = {"type": "string"}
    metadata: Schema = {"type": "object", "properties": {"name": text, "generateName": text}}
    own = {"apiVersion": text, "kind": text, "metadata": metadata}
    return {**schema, "type": "object", "properties": {**(schema.get("properties") or {}), **own}}


def seen(schema: Schema, *, root: bool) -> Schema:
    """The schema as expressions see it."""
    whole = root or schema.get("x-kubernetes-embedded-resource") is True
    return with_metadata(schema) if whole else schema


@dataclass(slots=True)
class Types:
    """The messages of one schema."""

    _messages: list[tuple[str, dict[str, Declared]]] = field(default_factory=list)

    def of(self, schema: Schema, *, root: bool = False) -> Declared | None:
        """The type of a schema; None where expressions cannot see its values."""
        nullable = schema.get("nullable") is True
        if schema.get("x-kubernetes-int-or-string"):
            return DYN
        schema = seen(schema, root=root)
        match schema.get("type"):
            case "array":
                items = schema.get("items")
                inner = self.of(items) if isinstance(items, dict) else None
                return Declared("list", inner) if inner else None
            case "object":
                return self._object(schema)
            case "string":
                return Declared(_FORMATS.get(schema.get("format", ""), "string"), nullable=nullable)
            case str(name) if name in _PLAIN:
                return Declared(_PLAIN[name], nullable=nullable)
            case _:
                return None

    def _object(self, schema: Schema) -> Declared | None:
        extra = schema.get("additionalProperties")
        if isinstance(extra, dict):
            inner = self.of(extra)
            return Declared("map", inner) if inner else None
        fields: dict[str, Declared] = {}
        for name, prop in (schema.get("properties") or {}).items():
            known, found = escape(name), self.of(prop)
            if known and found:
                fields[known] = found
        return self.message(fields)

    def message(self, fields: dict[str, Declared]) -> Declared:
        """A message with these fields."""
        name = f"object{len(self._messages)}"
        self._messages.append((name, fields))
        return Declared("message", name=f"{_PACKAGE}.{name}")

    def pool(self) -> Any:
        """A descriptor pool that holds the messages."""
        from google.protobuf import (
            descriptor_pb2,
            descriptor_pool,
            duration_pb2,
            struct_pb2,
            timestamp_pb2,
            wrappers_pb2,
        )

        pool = descriptor_pool.DescriptorPool()
        known = (timestamp_pb2, duration_pb2, struct_pb2, wrappers_pb2)
        file = descriptor_pb2.FileDescriptorProto(name="weft.proto", package=_PACKAGE, syntax="proto2")
        for module in known:
            pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
            file.dependency.append(module.DESCRIPTOR.name)
        for name, fields in self._messages:
            _add_message(file, name, fields)
        pool.AddSerializedFile(file.SerializeToString())
        for number, kind in enumerate(sorted(OPAQUE)):
            package, _, name = kind.rpartition(".")
            foreign = descriptor_pb2.FileDescriptorProto(name=f"foreign{number}.proto", package=package)
            foreign.message_type.add(name=name)
            pool.AddSerializedFile(foreign.SerializeToString())
        return pool


def _add_message(file: Any, name: str, fields: dict[str, Declared]) -> None:
    message = file.message_type.add(name=name)
    message.options.deprecated_legacy_json_field_conflicts = True  # fooBar and foo_bar may well be neighbours
    number = 0
    for key, kind in fields.items():
        number = _LAST_RESERVED + 1 if number + 1 == _FIRST_RESERVED else number + 1
        one = message.field.add(name=key, number=number, label=1, json_name=f"j{number}")
        entry_name = "".join(part[:1].upper() + part[1:] for part in key.split("_")) + "Entry"
        taken = entry_name in fields or any(known.name == entry_name for known in message.nested_type)
        if kind.sort == "map" and not taken:
            entry = message.nested_type.add(name=entry_name)
            entry.options.map_entry = True
            _set_type(entry.field.add(name="key", number=1, label=1), STRING)
            _set_type(entry.field.add(name="value", number=2, label=1), _flat(kind.item or DYN))
            one.label = _REPEATED
            one.type, one.type_name = _MESSAGE, f".{_PACKAGE}.{name}.{entry_name}"
        elif kind.sort == "list":
            one.label = _REPEATED
            _set_type(one, _flat(kind.item or DYN))
        else:
            _set_type(one, _flat(kind))


def _flat(kind: Declared) -> Declared:
    """What a list or map may hold; protobuf has no lists of lists, so that those become dynamic."""
    match kind.sort:
        case "list":
            return Declared("message", name="google.protobuf.ListValue")
        case "map":
            return Declared("message", name="google.protobuf.Struct")
        case _:
            return kind


_REPEATED, _MESSAGE = 3, 11  # a field's label and type, as in descriptor.proto
_SCALARS = {"bool": 8, "int": 3, "double": 1, "string": 9, "bytes": 12}
_MESSAGES = {"dyn": "Value", "timestamp": "Timestamp", "duration": "Duration"}
_NULLABLE = {
    "bool": "BoolValue",
    "int": "Int64Value",
    "double": "DoubleValue",
    "string": "StringValue",
    "bytes": "BytesValue",
}


def _set_type(one: Any, kind: Declared) -> None:
    if kind.sort in _SCALARS and not kind.nullable:
        one.type = _SCALARS[kind.sort]
        return
    known = _NULLABLE if kind.sort in _SCALARS else _MESSAGES
    one.type = _MESSAGE
    one.type_name = f".{kind.name or 'google.protobuf.' + known[kind.sort]}"
