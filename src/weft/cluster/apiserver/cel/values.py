"""Values as expressions see them (`apiserver/pkg/cel/common/values.go`): of objects only what the schema names."""

import base64
import binascii
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from weft.cluster.apiserver.cel import messages
from weft.cluster.apiserver.cel.types import escape, seen
from weft.cluster.apiserver.schemas import Schema

_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def read_duration(text: str) -> timedelta | None:
    """The time that `1h30m` stands for, as Go reads it; None where it is none."""
    sign, bare = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    parts = _DURATION.findall(bare)
    if bare == "0":
        return timedelta()
    if not parts or "".join(number + unit for number, unit in parts) != bare:
        return None
    return sign * timedelta(seconds=sum(float(number) * _SECONDS[unit] for number, unit in parts))


def read_moment(text: str) -> datetime | None:
    """The moment of a date or a date with its time; None where it is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def convert(value: Any, schema: Schema, *, root: bool = False) -> Any:
    """The value as an expression sees it."""
    if schema.get("x-kubernetes-int-or-string"):
        return value
    match value:
        case dict():
            return _convert_object(value, seen(schema, root=root))
        case list():
            items = schema.get("items") or {}
            return [convert(item, items) for item in value]
        case str():
            return _convert_text(value, schema.get("format", ""))
        case int() | float() if not isinstance(value, bool):
            return float(value) if schema.get("type") == "number" else int(value)
        case _:
            return value


def _convert_object(value: dict[str, Any], schema: Schema) -> dict[str, Any]:
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict):
        return {key: convert(item, extra) for key, item in value.items()}
    found = {}
    for name, inner in (schema.get("properties") or {}).items():
        known = escape(name)
        if known and name in value:
            found[known] = convert(value[name], inner)
    return found


def _convert_text(value: str, form: str) -> Any:
    match form:
        case "byte":
            try:
                return base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                return value
        case "duration":
            length = read_duration(value)
            return value if length is None else messages.duration(length)
        case "date" | "date-time":
            moment = read_moment(value)
            return value if moment is None else messages.moment(moment)
        case _:
            return value


def align(old: Any, value: Any, schema: Schema) -> Any:
    """The old value, its lists that are sets or maps in the order of the new one: their order does not count.

    So what is equal as a set or map is equal item by item, as the engine compares.
    """
    match old, value:
        case list(), list():
            return _align_items(old, value, schema)
        case dict(), dict():
            properties, extra = schema.get("properties") or {}, schema.get("additionalProperties")
            inner = {key: properties.get(key, extra if isinstance(extra, dict) else {}) for key in old}
            return {key: align(item, value.get(key), inner[key]) for key, item in old.items()}
        case _:
            return old


def _align_items(old: list[Any], value: list[Any], schema: Schema) -> list[Any]:
    items, kind = schema.get("items") or {}, schema.get("x-kubernetes-list-type")
    keys = schema.get("x-kubernetes-list-map-keys") or ()
    if kind not in {"set", "map"}:
        return [align(item, value[at] if at < len(value) else None, items) for at, item in enumerate(old)]

    def mark(item: Any) -> str:
        keyed = kind == "map" and isinstance(item, dict)
        return repr([item.get(key) for key in keys]) if keyed else repr(item)

    left = {mark(item): item for item in old}
    kept = [align(left.pop(name), item, items) for item in value if (name := mark(item)) in left]
    return [*kept, *left.values()]
