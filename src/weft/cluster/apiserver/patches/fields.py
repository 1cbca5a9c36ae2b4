"""Which fields an object sets, as sets of paths; and their `FieldsV1` form.

A path element is written as in managedFields: `f:NAME`, `k:{"name":"x"}` for an item of a list that is a map,
`v:"x"` for an item of a list that is a set. The element `.` stands for the item or object itself.
Source: `structured-merge-diff/v6/fieldpath`.
"""

import json
from collections.abc import Iterator
from typing import Any

from weft.cluster.apiserver.schemas import Schema, Schemas

Path = tuple[str, ...]
# Nobody owns what names the object or is the server's.
_NOT_OWNED = frozenset({"apiVersion", "kind"})
_NOT_OWNED_META = frozenset(
    {
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "managedFields",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    }
)


def child(schema: Schema, name: str, schemas: Schemas) -> Schema:
    """The schema of a field, references followed; empty where it is not known."""
    extra = schema.get("additionalProperties")
    found = schema.get("properties", {}).get(name, extra if isinstance(extra, dict) else {})
    return schemas.resolve(found)


def item_key(item: Any, schema: Schema) -> str | None:
    """How an item of a list is named in a path; None if the list is atomic."""
    match schema.get("x-kubernetes-list-type"):
        case "map" if isinstance(item, dict):
            names = schema.get("x-kubernetes-list-map-keys", ())
            # a key that is left out has its default; protocol is the only such key in built-in kinds
            keys = {name: item.get(name, "TCP" if name == "protocol" else None) for name in names}
            present = {name: value for name, value in sorted(keys.items()) if value is not None}
            return "k:" + json.dumps(present, separators=(",", ":"))
        case "set":
            return "v:" + json.dumps(item, separators=(",", ":"))
        case _:
            return None


def atomic(value: Any, schema: Schema) -> bool:
    """Whether a value is owned as a whole."""
    if isinstance(value, dict):
        return not value or schema.get("x-kubernetes-map-type") == "atomic"
    if isinstance(value, list):
        return not value or schema.get("x-kubernetes-list-type") not in {"map", "set"}
    return True


def leaves(obj: dict[str, Any], schema: Schema, schemas: Schemas) -> dict[Path, Any]:
    """Every field that the object sets, by path, with its value; items of lists also as themselves (`.`)."""
    result: dict[Path, Any] = {}
    for name, value in obj.items():
        if name in _NOT_OWNED:
            continue
        inner = child(schema, name, schemas)
        if name == "metadata":
            value = {key: item for key, item in value.items() if key not in _NOT_OWNED_META}  # noqa: PLW2901 - narrowed
            if not value:
                continue
        result.update(_leaves((f"f:{name}",), value, inner, schemas))
    return result


def _leaves(path: Path, value: Any, schema: Schema, schemas: Schemas) -> Iterator[tuple[Path, Any]]:
    if atomic(value, schema):
        yield path, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves((*path, f"f:{name}"), item, child(schema, name, schemas), schemas)
    else:
        inner = schemas.resolve(schema.get("items", {}))
        for item in value:
            key = item_key(item, schema) or ""
            yield (*path, key, "."), None
            if key.startswith("k:"):
                for name, part in item.items():
                    yield from _leaves((*path, key, f"f:{name}"), part, child(inner, name, schemas), schemas)


def to_v1(paths: set[Path]) -> dict[str, Any]:
    """The `fieldsV1` tree of a set of paths."""
    tree: dict[str, Any] = {}
    for path in sorted(paths):
        node = tree
        for element in path:
            node = node.setdefault(element, {})
    return tree


def from_v1(tree: dict[str, Any], prefix: Path = ()) -> set[Path]:
    """The set of paths of a `fieldsV1` tree."""
    found: set[Path] = set()
    for element, below in tree.items():
        path = (*prefix, element)
        if not below or element == ".":
            found.add(path)
        else:
            found |= from_v1(below, path)
    return found


def shown(path: Path) -> str:
    """A path as conflict messages write it: `.spec.template.spec.containers[name="nginx"].image`."""
    text = ""
    for element in path:
        if element.startswith("f:"):
            text += f".{element[2:]}"
        elif element.startswith("k:"):
            keys = json.loads(element[2:])
            text += "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in keys.items()) + "]"
        elif element.startswith("v:"):
            text += f"[={element[2:]}]"
    return text
