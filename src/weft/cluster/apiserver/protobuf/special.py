"""Messages whose JSON is not an object of their fields: times, quantities, raw JSON and the like."""

from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from weft.cluster.apiserver.protobuf.wire import ProtobufError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Omitted:
    """Stands for a value that JSON leaves out, as a time that was never set."""


OMITTED = Omitted()


def _moment(message: dict[str, Any]) -> datetime | None:
    seconds, nanos = message.get("seconds", 0), message.get("nanos", 0)
    if not seconds and not nanos:
        return None
    try:
        return EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)
    except OverflowError:
        raise ProtobufError(f"the time {seconds}s is out of range") from None


def _time(message: dict[str, Any]) -> Any:
    moment = _moment(message)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else OMITTED


def _micro_time(message: dict[str, Any]) -> Any:
    moment = _moment(message)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if moment else OMITTED


def duration(nanoseconds: int) -> str:
    """A duration as Go prints it: `1h0m30s`, `1.5s`, `20ms`."""
    if not nanoseconds:
        return "0s"
    sign, rest = ("-" if nanoseconds < 0 else ""), abs(nanoseconds)
    if rest < 10**9:
        unit, name = next((u, n) for u, n in ((10**6, "ms"), (10**3, "µs"), (1, "ns")) if rest >= u)
        return f"{sign}{_decimal(rest, unit)}{name}"
    seconds, nanos = divmod(rest, 10**9)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(seconds * 10**9 + nanos, 10**9)}s"
    if hours:
        return f"{sign}{hours}h{minutes}m{text}"
    return f"{sign}{minutes}m{text}" if minutes else sign + text


def _decimal(value: int, unit: int) -> str:
    whole, part = divmod(value, unit)
    digits = f"{part:0{len(str(unit)) - 1}}".rstrip("0") if part else ""
    return f"{whole}.{digits}" if digits else str(whole)


def _raw_json(message: dict[str, Any]) -> Any:
    raw = message.get("raw", message.get("Raw", b""))
    if not raw:
        return OMITTED
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProtobufError(f"an embedded object is no JSON: {error}") from None


def _int_or_string(message: dict[str, Any]) -> Any:
    return message.get("strVal", "") if message.get("type") else message.get("intVal", 0)


def _schema_or_bool(message: dict[str, Any]) -> Any:
    return message["schema"] if "schema" in message else message.get("allows", False)


def _schema_or_array(message: dict[str, Any]) -> Any:
    return message["schema"] if "schema" in message else message.get("jSONSchemas", [])


def _schema_or_strings(message: dict[str, Any]) -> Any:
    return message["schema"] if "schema" in message else message.get("property", [])


def _items(message: dict[str, Any]) -> Any:
    return message.get("items", [])


FORMS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "apiextensions/v1.JSON": _raw_json,
    "apiextensions/v1.JSONSchemaPropsOrArray": _schema_or_array,
    "apiextensions/v1.JSONSchemaPropsOrBool": _schema_or_bool,
    "apiextensions/v1.JSONSchemaPropsOrStringArray": _schema_or_strings,
    "authentication/v1.ExtraValue": _items,
    "authorization/v1.ExtraValue": _items,
    "certificates/v1.ExtraValue": _items,
    "intstr.IntOrString": _int_or_string,
    "meta/v1.Duration": lambda message: duration(message.get("duration", 0)),
    "meta/v1.FieldsV1": _raw_json,
    "meta/v1.MicroTime": _micro_time,
    "meta/v1.Time": _time,
    "meta/v1.Verbs": _items,
    "resource.Quantity": lambda message: message.get("string", "0"),
    "runtime.RawExtension": _raw_json,
}
"""Message name to its JSON, given the message as an object of its fields with bytes still as bytes."""

RAW_BYTES = frozenset({"apiextensions/v1.JSON", "meta/v1.FieldsV1", "runtime.RawExtension"})
"""Messages whose bytes are JSON text, not to be written as base64."""


def text(raw: bytes) -> str:
    """Bytes as JSON carries them."""
    return b64encode(raw).decode()
