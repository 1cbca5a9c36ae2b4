"""The columns of custom resources, out of `additionalPrinterColumns` of their CustomResourceDefinition."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, cast, get_args

from weft.cluster.apiserver.tables import jsonpath
from weft.cluster.apiserver.tables.ages import INVALID, age, moment
from weft.cluster.apiserver.tables.columns import NAME, Cell, Column, ColumnType, Object


def columns(printer_columns: Iterable[Mapping[str, Any]]) -> tuple[Column, ...]:
    """NAME, then what the definition names; a column whose path is not understood stays empty."""
    return (NAME, *(_column(one) for one in printer_columns))


def _column(printer: Mapping[str, Any]) -> Column:
    kind = str(printer.get("type", "string"))
    return Column(
        name=str(printer.get("name", "")),
        cell=_cell(str(printer.get("jsonPath", "")), kind),
        # a type that is none of the five is shown as it is
        type=cast("ColumnType", kind) if kind in get_args(ColumnType) else "string",
        wide=int(printer.get("priority", 0)) > 0,
        format=str(printer.get("format", "")),
        description=str(printer.get("description", "")),
    )


def _cell(path: str, kind: str) -> Cell:
    try:
        steps = jsonpath.parse(path)
    except jsonpath.JsonPathError:
        return lambda _obj, _now: None

    def cell(obj: Object, now: datetime) -> Any:
        value = next(jsonpath.find(steps, obj), None)
        return None if value is None else _shown(value, kind, now)

    return cell


def _shown(value: Any, kind: str, now: datetime) -> Any:
    """A value as its column's type wants it; nothing where it is of another type."""
    match kind, value:
        case "string", str():
            return value
        case "string", _:
            return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        case "boolean", bool():
            return value
        case "integer", int() | float() if not isinstance(value, bool):
            return int(value)
        case "number", int() | float() if not isinstance(value, bool):
            return value
        case "date", str():
            return age(value, now) if moment(value) else INVALID
        case _:
            return None
