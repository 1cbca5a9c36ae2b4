"""Lists and named formats in CEL (`apiserver/pkg/cel/library/lists.go`, `format.go`)."""

import base64
import binascii
import uuid
from collections.abc import Callable
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

from weft.cluster.apiserver import names
from weft.cluster.apiserver.cel import messages
from weft.cluster.apiserver.cel.places import SIGNATURES as PLACES
from weft.cluster.apiserver.cel.signatures import FORMAT, Box, Signature, box, content, function, method


def _back(value: Any) -> Any:
    """A value that the engine takes back: moments and durations as messages."""
    if isinstance(value, timedelta):
        return messages.duration(value)
    return messages.moment(value) if isinstance(value, datetime) else value


def _sum(items: list[Any]) -> Any:
    if not items:
        return 0
    return _back(sum(items[1:], start=items[0]))


def _chosen(choose: Callable[[list[Any]], Any], name: str) -> Callable[[list[Any]], Any]:
    def work(items: list[Any]) -> Any:
        if not items:
            raise ValueError(f"{name} called on empty list")
        return _back(choose(items))

    return work


def _index(items: list[Any], wanted: Any) -> int:
    return next((place for place, item in enumerate(items) if item == wanted), -1)


def _last_index(items: list[Any], wanted: Any) -> int:
    return next((place for place in range(len(items) - 1, -1, -1) if items[place] == wanted), -1)


def _reads(read: Callable[[str], Any], says: str) -> Callable[[str], str]:
    def why(text: str) -> str:
        try:
            read(text)
        except (ValueError, binascii.Error):
            return says
        return ""

    return why


def _prefix(judge: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: judge(text[:-1] + "a" if text.endswith("-") else text)


_IS_URL = next(one.work for one in PLACES if one.name == "isURL")
_FORMATS: dict[str, Callable[[str], str]] = {
    "dns1123Label": names.label,
    "dns1123Subdomain": names.subdomain,
    "dns1035Label": names.label_1035,
    "qualifiedName": names.label_key,
    "dns1123LabelPrefix": _prefix(names.label),
    "dns1123SubdomainPrefix": _prefix(names.subdomain),
    "dns1035LabelPrefix": _prefix(names.label_1035),
    "labelValue": names.label_value,
    "uri": lambda text: "" if _IS_URL(text) else "invalid URI",
    "uuid": _reads(uuid.UUID, "does not match the UUID format"),
    "byte": _reads(lambda text: base64.b64decode(text, validate=True), "invalid base64"),
    "date": _reads(date.fromisoformat, "invalid date"),
    "datetime": _reads(datetime.fromisoformat, "invalid datetime"),
}


def _validate(value: Box, text: str) -> list[str]:
    """Why the text has not the format; the engine's optional is a list here, empty for none."""
    why = _FORMATS[content(value)](text)
    return [why] if why else []


def _named(name: str) -> list[Any]:
    return [box(FORMAT, name)] if name in _FORMATS else []


def _constant(name: str) -> Callable[[], Box]:
    return lambda: box(FORMAT, name)


def _value(found: list[Any]) -> Any:
    """What an optional of ours holds: the format itself, or the list of reasons."""
    if not found:
        raise ValueError("optional.none() dereference")
    return found[0] if isinstance(found[0], dict) else found


def _or_value(found: list[Any], other: Any) -> Any:
    return _value(found) if found else other


_OPTIONAL = "optional_type<list<string>>"
SIGNATURES: tuple[Signature, ...] = (
    method("isSorted", "list", "bool", lambda items: all(one <= other for one, other in pairwise(items))),
    method("sum", "list", "dyn", _sum),
    method("min", "list", "dyn", _chosen(min, "min")),
    method("max", "list", "dyn", _chosen(max, "max")),
    method("indexOf", "list dyn", "int", _index),
    method("lastIndexOf", "list dyn", "int", _last_index),
    function("format.named", "string", "dyn", _named),
    *(function(f"format.{name}", "", FORMAT, _constant(name)) for name in _FORMATS),
    method("validate", f"{FORMAT} string", _OPTIONAL, _validate),
)
AT_RUN: tuple[Signature, ...] = (
    # the optionals of `validate` and `format.named` come as lists, since functions cannot make real ones
    method("hasValue", "list", "bool", bool),
    method("value", "list", "dyn", _value),
    method("orValue", "list dyn", "dyn", _or_value),
)
