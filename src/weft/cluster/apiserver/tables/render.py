"""Objects to a `Table`."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.tables import custom
from weft.cluster.apiserver.tables.columns import Column, Object
from weft.cluster.apiserver.tables.registry import COLUMNS, DEFAULT

Include = Literal["None", "Metadata", "Object"]
Version = Literal["v1", "v1beta1"]


def table(
    kind: Kind,
    objects: Iterable[Object],
    now: datetime,
    columns: Sequence[Mapping[str, Any]] | None = None,
    include: Include = "Metadata",
    version: Version = "v1",
) -> dict[str, Any]:
    """The Table of some objects of a kind; `metadata` is left to the caller (it is the list's).

    `columns` are the `additionalPrinterColumns` of a custom resource. `include` is the query parameter
    `includeObject`: what of the object goes beside its cells (kubectl takes names and labels from there).
    """
    heads = custom.columns(columns) if columns else COLUMNS.get((kind.group, kind.kind), DEFAULT)
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": {},
        "columnDefinitions": [column.definition() for column in heads],
        "rows": [_row(heads, obj, now, include, version) for obj in objects],
    }


def _row(
    heads: Iterable[Column], obj: Object, now: datetime, include: Include, version: Version
) -> dict[str, Any]:
    row: dict[str, Any] = {"cells": [column.cell(obj, now) for column in heads]}
    match include:
        case "Metadata":
            row["object"] = {
                "kind": "PartialObjectMetadata",
                "apiVersion": f"meta.k8s.io/{version}",
                "metadata": obj.get("metadata", {}),
            }
        case "Object":
            row["object"] = obj
        case "None":
            row["object"] = None
    return row
