"""What a column is, and the cells that several kinds share."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from weft.cluster.apiserver.tables.ages import age

Object = Mapping[str, Any]
Cell = Callable[[Object, datetime], Any]
ColumnType = Literal["string", "integer", "number", "boolean", "date"]

NONE = "<none>"
UNSET = "<unset>"
FEW = 3
"""Addresses shown before `+ 2 more...`."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column as kubectl heads it (it prints names in capitals); `wide` ones appear with `-o wide` only."""

    name: str
    cell: Cell
    type: ColumnType = "string"
    wide: bool = False
    format: str = ""
    description: str = ""

    def definition(self) -> dict[str, Any]:
        """The column's entry in `columnDefinitions`."""
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description,
            "priority": 1 if self.wide else 0,
        }


def look(obj: Object, path: str, default: Any = None) -> Any:
    """The value at a dotted path; `default` where it is missing, null, or the way there is no object."""
    value: Any = obj
    for step in path.split("."):
        if not isinstance(value, Mapping):
            return default
        value = value.get(step)
    return default if value is None else value


def maps(obj: Object, path: str) -> list[Object]:
    """The objects of a list at a path; what is no object is left out."""
    found = look(obj, path, [])
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def texts(obj: Object, path: str) -> list[str]:
    """The items of a list at a path, as text."""
    found = look(obj, path, [])
    return [str(one) for one in found] if isinstance(found, list) else []


def at(path: str, default: Any = "") -> Cell:
    """A cell that shows the value at a path as it is."""
    return lambda obj, _now: look(obj, path, default)


def text(path: str, default: str = NONE) -> Cell:
    """A cell of text, `<none>` where it is missing or empty."""
    return lambda obj, _now: str(look(obj, path, "")) or default


def count(*paths: str) -> Cell:
    """A cell that counts the items at all paths together."""
    return lambda obj, _now: sum(len(look(obj, path, ())) for path in paths)


def since(path: str) -> Cell:
    """A cell with the time gone by since the moment at a path."""
    return lambda obj, now: age(look(obj, path), now)


def joined(items: Iterable[str]) -> str:
    """Items by commas, `<none>` for none."""
    return ",".join(items) or NONE


def labels(found: Any) -> str:
    """A map as `a=1,b=2`, in the order of its keys."""
    return joined(f"{key}={value}" for key, value in sorted(found.items())) if isinstance(found, Mapping) else NONE


def selector(found: Any) -> str:
    """A LabelSelector as kubectl writes it: `app=nginx,tier in (a,b)`."""
    if not isinstance(found, Mapping):
        return NONE
    terms = [(str(key), f"{key}={value}") for key, value in look(found, "matchLabels", {}).items()]
    for term in maps(found, "matchExpressions"):
        key, values = str(look(term, "key", "")), ",".join(sorted(texts(term, "values")))
        match look(term, "operator"):
            case "In":
                terms.append((key, f"{key} in ({values})"))
            case "NotIn":
                terms.append((key, f"{key} notin ({values})"))
            case "DoesNotExist":
                terms.append((key, f"!{key}"))
            case _:
                terms.append((key, key))
    return joined(words for _, words in sorted(terms))


def label_cell(path: str) -> Cell:
    """A cell with the map at a path."""
    return lambda obj, _now: labels(look(obj, path))


def selector_cell(path: str) -> Cell:
    """A cell with the LabelSelector at a path."""
    return lambda obj, _now: selector(look(obj, path))


def few(items: list[str], none: str = NONE) -> str:
    """The first three items, and how many more there are."""
    if not items:
        return none
    shown = ",".join(items[:FEW])
    return f"{shown} + {len(items) - FEW} more..." if len(items) > FEW else shown


NAME = Column("Name", at("metadata.name"), format="name", description="Name, unique within a namespace.")
AGE = Column("Age", since("metadata.creationTimestamp"), description="Time since the object was created.")
CREATED_AT = Column("Created At", at("metadata.creationTimestamp"), type="date")


def containers(pod_spec: str) -> tuple[Column, Column]:
    """The wide columns CONTAINERS and IMAGES of what has a pod template."""
    return (
        Column("Containers", lambda obj, _: ",".join(_named(obj, pod_spec, "name")), wide=True),
        Column("Images", lambda obj, _: ",".join(_named(obj, pod_spec, "image")), wide=True),
    )


def _named(obj: Object, pod_spec: str, field: str) -> list[str]:
    return [str(look(container, field, "")) for container in maps(obj, f"{pod_spec}.containers")]
