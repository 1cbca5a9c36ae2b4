r"""From `application/vnd.kubernetes.protobuf` to a JSON object.

The body is `k8s\0` and a `runtime.Unknown`: the object's apiVersion and kind, and its message as bytes. Field
numbers are in `fields.json`, written by `tools/kube-fields`. What Go's encoder leaves out stays out here.
"""

import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

from weft.cluster.apiserver.protobuf import special, wire
from weft.cluster.apiserver.protobuf.wire import ProtobufError, Raw

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
MAGIC = b"k8s\0"
DEEPEST = 100
"""Messages within messages; protobuf's own readers stop here too (JSONSchemaProps may contain itself)."""

_BARE_GROUPS = frozenset({"apps", "autoscaling", "batch", "policy"})
_META = "meta/v1"


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message; `type` is a scalar's name or a message's (`core/v1.PodSpec`).

    `keep` tells that a zero is written out: the field is a pointer in Go, or is not `omitempty`.
    """

    name: str
    type: str
    repeated: bool
    mapped: bool
    inlined: bool
    keep: bool


Table = dict[str, dict[int, Field]]


@cache
def _table() -> Table:
    """All messages. Read at the first protobuf body: the file has 100 KB."""
    rows = msgspec.json.decode((files(__package__) / "fields.json").read_bytes())
    return {
        message: {
            number: Field(name, kind, "r" in flags, "m" in flags, "i" in flags, "k" in flags)
            for number, name, kind, flags in fields
        }
        for message, fields in rows.items()
    }


def decode(body: bytes) -> dict[str, Any]:
    """The object of a body; raises `ProtobufError` for whatever is wrong with it."""
    if not body.startswith(MAGIC):
        raise ProtobufError(
            f"the body does not begin with {MAGIC!r}; send JSON, or Kubernetes' own protobuf envelope"
        )
    table = _table()
    unknown = _message(body[len(MAGIC) :], "runtime.Unknown", table, 0)
    api_version, kind = unknown.get("apiVersion", ""), unknown.get("kind", "")
    raw = unknown.get("raw", b"")
    if unknown.get("contentEncoding"):
        raise ProtobufError(f"content encoding {unknown['contentEncoding']!r} is not understood; send it plain")
    if unknown.get("contentType", "") == "application/json":
        return _json_object(raw)
    message = _name(api_version, kind, table)
    fields = _message(raw, message, table, 0)
    return {"apiVersion": api_version, "kind": kind, **fields}


def _json_object(raw: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProtobufError(f"the envelope says JSON, but: {error}") from None
    if not isinstance(value, dict):
        raise ProtobufError("the envelope's JSON is no object")
    return value


def _name(api_version: str, kind: str, table: Table) -> str:
    """The message of a kind. Options such as DeleteOptions belong to every group."""
    group, _, version = api_version.rpartition("/")
    short = (
        group.partition(".")[0]
        if group.endswith(".k8s.io") or group in _BARE_GROUPS
        else ("" if group else "core")
    )
    for package in (f"{short}/{version}", _META):
        if (message := f"{package}.{kind}") in table:
            return message
    raise ProtobufError(f"no protobuf message is known for {api_version or '(no apiVersion)'} {kind}; send JSON")


def _message(data: bytes, name: str, table: Table, depth: int) -> dict[str, Any]:
    if depth > DEEPEST:
        raise ProtobufError(f"messages are nested deeper than {DEEPEST}")
    known, out = table[name], dict[str, Any]()
    for number, wire_type, raw in wire.fields(data):
        field = known.get(number)
        if field is None:
            continue  # a field newer than the table, as any protobuf reader passes over
        _take(out, field, wire_type, raw, name, table, depth)
    return out


def _take(
    out: dict[str, Any], field: Field, wire_type: int, raw: Raw, parent: str, table: Table, depth: int
) -> None:
    """Put one occurrence of a field into the object under construction."""
    if field.mapped:
        key, value = _entry(field, _delimited(field, raw), table, depth)
        out.setdefault(field.name, {})[key] = value
        return
    if field.repeated and wire_type == wire.DELIMITED and field.type in _PACKABLE:
        out.setdefault(field.name, []).extend(_packed(field, _delimited(field, raw)))
        return
    value = _value(field, wire_type, raw, parent, table, depth)
    if isinstance(value, special.Omitted):
        return
    if field.repeated:
        out.setdefault(field.name, []).append(value)
    elif field.inlined and isinstance(value, dict):
        out.update(value)
    elif field.keep or isinstance(value, dict | list) or value:
        out[field.name] = value


def _entry(field: Field, data: bytes, table: Table, depth: int) -> tuple[str, Any]:
    """Key and value of a map, which protobuf writes as a message of two fields."""
    key, value = "", _zero(field.type)
    for number, wire_type, raw in wire.fields(data):
        if number == 1:
            key = _text(field, raw)
        elif number == 2:
            value = _value(field, wire_type, raw, "", table, depth)
    return key, None if isinstance(value, special.Omitted) else value


def _zero(kind: str) -> Any:
    return {"string": "", "bytes": "", "bool": False, "double": 0.0}.get(kind, 0 if kind in _PACKABLE else {})


def _value(field: Field, wire_type: int, raw: Raw, parent: str, table: Table, depth: int) -> Any:
    match field.type:
        case "string":
            return _text(field, raw)
        case "bytes":
            data = _delimited(field, raw)
            return data if parent in special.RAW_BYTES or parent == "runtime.Unknown" else special.text(data)
        case "bool" | "int32" | "int64" | "double":
            wanted = wire.FIXED64 if field.type == "double" else wire.VARINT
            if isinstance(raw, bytes) or wire_type != wanted:
                raise ProtobufError(f"{field.name} is not written as {field.type}")
            return _number(field, raw)
        case message:
            fields = _message(_delimited(field, raw), message, table, depth + 1)
            form = special.FORMS.get(message)
            return form(fields) if form else fields


_PACKABLE = frozenset({"bool", "int32", "int64"})


def _packed(field: Field, data: bytes) -> list[Any]:
    """Repeated numbers written one after the other in a single field."""
    found, at = [], 0
    while at < len(data):
        raw, at = wire.varint(data, at)
        found.append(_number(field, raw))
    return found


def _number(field: Field, raw: int) -> bool | int | float:
    match field.type:
        case "bool":
            return raw != 0
        case "double":
            number = wire.double(raw)
            if not math.isfinite(number):
                raise ProtobufError(f"{field.name} is {number}, which JSON cannot say")
            return int(number) if number.is_integer() else number
        case "int32":
            return wire.signed(raw, 32)
        case _:
            return wire.signed(raw, 64)


def _delimited(field: Field, raw: Raw) -> bytes:
    if isinstance(raw, int):
        raise ProtobufError(f"{field.name} is a number where {field.type} is expected")
    return raw


def _text(field: Field, raw: Raw) -> str:
    try:
        return _delimited(field, raw).decode()
    except UnicodeDecodeError:
        raise ProtobufError(f"{field.name} is no UTF-8") from None
