"""Values in Envoy's own terms: what does not fit its messages, by the path that users write; and the message.

protobuf's parser stops at the first misfit and names no path; this walk along the message's fields names them all.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import json_format

from weft.api.envoy_messages import message_class, messages_in, required
from weft.api.faults import Fault, choice, expected, key_path
from weft.api.istio_filters import stock_replacement, wasm_replacement
from weft.base.durations import parse_duration
from weft.base.names import nearest

_ANY: Final = "google.protobuf.Any"
_TYPED_STRUCTS: Final = frozenset({"xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct"})

_OLD: Final = re.compile(r"\.v2(alpha\d*)?\.")

_WELL_KNOWN: Final = {
    "google.protobuf.Duration": 'a duration in seconds, such as "0.25s"',
    "google.protobuf.Timestamp": 'a time, such as "2030-01-31T12:00:00Z"',
    "google.protobuf.BoolValue": "true or false",
    "google.protobuf.StringValue": "a string",
    "google.protobuf.BytesValue": "a string in Base64",
    "google.protobuf.DoubleValue": "a number",
    "google.protobuf.FloatValue": "a number",
    "google.protobuf.Int32Value": "a whole number",
    "google.protobuf.Int64Value": "a whole number",
    "google.protobuf.UInt32Value": "a whole number, 0 or more",
    "google.protobuf.UInt64Value": "a whole number, 0 or more",
    "google.protobuf.Struct": "an object",
    "google.protobuf.Value": "any value",
    "google.protobuf.ListValue": "a list",
    "google.protobuf.FieldMask": "names of fields, joined by commas",
}
"""Messages that JSON writes in a way of their own."""


@dataclass(frozen=True, slots=True)
class Misfit:
    """What does not fit. An `unknown` field is left out, anything else spoils the value."""

    fault: Fault
    unknown: bool = False


def misfits(message: str, value: Mapping[str, Any], path: str) -> tuple[Misfit, ...]:
    """Everything in `value` that does not fit the message of this name."""
    found = tuple(_message(required(message).DESCRIPTOR, value, path))
    if not any(not each.unknown for each in found):
        try:
            parsed(message, value)
        except ValueError as error:
            return (*found, Misfit(Fault(path, f"{error}.", "Compare it with Envoy's documentation.")))
    return found


def parsed(message: str, value: Mapping[str, Any]) -> Any:
    """The message that `value` is, without unknown fields. ValueError where it does not fit."""
    _load_types(value)
    try:
        return json_format.ParseDict(dict(value), required(message)(), ignore_unknown_fields=True)
    except json_format.ParseError as error:
        raise ValueError(str(error).partition("\n")[0].rstrip(".")) from None


def _load_types(value: Any) -> None:
    """Load the types of all messages inside: the parser finds only those that are loaded."""
    match value:
        case Mapping():
            url = value.get("@type")
            if isinstance(url, str):
                message_class(url.rpartition("/")[2])
            for inner in value.values():
                _load_types(inner)
        case list() | tuple():
            for inner in value:
                _load_types(inner)
        case _:
            return


def _message(descriptor: Any, value: Any, path: str) -> Iterator[Misfit]:
    if not isinstance(value, Mapping):
        yield Misfit(expected("an object", value, path))
        return
    known = {each.name: each for each in descriptor.fields} | {each.json_name: each for each in descriptor.fields}
    for name, inner in value.items():
        here = key_path(path, str(name))
        field = known.get(str(name))
        if field is None:
            yield Misfit(_unknown(str(name), known, here), unknown=True)
        elif inner is not None:
            yield from _field(field, inner, here)


def _field(field: Any, value: Any, path: str) -> Iterator[Misfit]:
    if not field.is_repeated:
        yield from _single(field, value, path)
    elif _is_map(field):
        if not isinstance(value, Mapping):
            yield Misfit(expected("a map", value, path))
            return
        for key, inner in value.items():
            yield from _single(field.message_type.fields_by_name["value"], inner, key_path(path, str(key)))
    elif not isinstance(value, list | tuple):
        yield Misfit(expected("a list", value, path, "Write each entry on a line of its own, after a dash."))
    else:
        for index, inner in enumerate(value):
            yield from _single(field, inner, f"{path}[{index}]")


def _single(field: Any, value: Any, path: str) -> Iterator[Misfit]:
    kind = field.message_type
    if kind is None:
        yield from _scalar(field, value, path)
    elif kind.full_name == _ANY:
        yield from _any(value, path)
    elif kind.full_name in _WELL_KNOWN:
        if not _fits(field, value):
            yield Misfit(expected(_WELL_KNOWN[kind.full_name], value, path, _in_seconds(kind.full_name, value)))
    else:
        yield from _message(kind, value, path)


def _in_seconds(kind: str, value: Any) -> str:
    """A hint for those who write a duration as Kubernetes does: `1h`, or without a unit."""
    if kind != "google.protobuf.Duration":
        return ""
    try:
        seconds = parse_duration(str(value)).total_seconds() if isinstance(value, str) else float(value)
    except (ValueError, TypeError):
        return ""
    return f'Write it in seconds: "{seconds:g}s".'


def _scalar(field: Any, value: Any, path: str) -> Iterator[Misfit]:
    if field.enum_type is not None:
        names = tuple(each.name for each in field.enum_type.values)
        if value not in names and value not in {each.number for each in field.enum_type.values}:
            yield Misfit(choice(names, value, path))
    elif not _fits(field, value):
        quoted = isinstance(value, int | float) and not isinstance(value, bool)
        hint = f'Write it in quotes: "{value}".' if quoted and field.cpp_type == field.CPPTYPE_STRING else ""
        yield Misfit(expected(_noun(field), value, path, hint))


def _any(value: Any, path: str) -> Iterator[Misfit]:
    if not isinstance(value, Mapping):
        yield Misfit(expected("an object with @type", value, path))
        return
    if not value:
        return  # an Any of nothing
    url = value.get("@type")
    here = key_path(path, "@type")
    if not isinstance(url, str) or "/" not in url:
        hint = 'Write one such as "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua.'
        yield Misfit(Fault(here, "the type of the message is missing.", hint))
        return
    name = url.rpartition("/")[2]
    found = None if _OLD.search(name) else message_class(name)
    if found is None:
        yield Misfit(_unknown_type(name, here))
        return
    body = {key: inner for key, inner in value.items() if key != "@type"}
    if name in _WELL_KNOWN or name == _ANY:
        return  # the parser judges it, under "value"
    if name in _TYPED_STRUCTS:
        inside = str(body.get("type_url") or body.get("typeUrl") or "").rpartition("/")[2]
        if stock_replacement(inside):
            yield Misfit(_unknown_type(inside, key_path(path, "type_url")))
            return
    if name.endswith(".v3.Wasm") and (replacement := wasm_replacement(body)):
        message = "this filter is compiled into Istio's own Envoy, which stock Envoy has not."
        yield Misfit(Fault(key_path(path, "config"), message, replacement))
        return
    yield from _message(found.DESCRIPTOR, body, path)


def _unknown(name: str, known: Mapping[str, Any], path: str) -> Fault:
    near = nearest(name, known)
    fields = sorted({each.name for each in known.values()})
    hint = f'Did you mean "{near}"?' if near else f"Known here: {', '.join(fields)}."
    return Fault(path, f'unknown field "{name}", which is left out.', hint)


def _unknown_type(name: str, path: str) -> Fault:
    if replacement := stock_replacement(name):
        return Fault(path, f'"{name}" is a filter of Istio\'s own Envoy, which stock Envoy has not.', replacement)
    if _OLD.search(name):
        newer = _OLD.sub(".v3.", name.replace("envoy.config.filter.", "envoy.extensions.filters."))
        hint = (
            f'Write "{newer}".' if message_class(newer) else "Copy the type from the documentation of Envoy 1.40."
        )
        return Fault(path, f'"{name}" is of Envoy\'s API v2, which is gone.', hint)
    folder, _, last = name.rpartition(".")
    near = nearest(last, messages_in(folder))
    hint = f'Did you mean "{folder}.{near}"?' if near else "Copy the type from the documentation of Envoy 1.40."
    return Fault(path, f'"{name}" is not a message of Envoy.', hint)


def _fits(field: Any, value: Any) -> bool:
    """Whether protobuf's own parser takes `value` as one value of the field."""
    owner = message_class(field.containing_type.full_name)
    if owner is None:  # the entry of a map
        return True
    try:
        json_format.ParseDict({field.name: [value] if field.is_repeated else value}, owner())
    except (json_format.ParseError, TypeError, ValueError):
        return False
    return True


def _is_map(field: Any) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _noun(field: Any) -> str:
    match field.cpp_type:
        case field.CPPTYPE_BOOL:
            return "true or false"
        case field.CPPTYPE_STRING if field.type == field.TYPE_BYTES:
            return "a string in Base64"
        case field.CPPTYPE_STRING:
            return "a string"
        case field.CPPTYPE_DOUBLE | field.CPPTYPE_FLOAT:
            return "a number"
        case field.CPPTYPE_UINT32 | field.CPPTYPE_UINT64:
            return "a whole number, 0 or more"
        case _:
            return "a whole number"
