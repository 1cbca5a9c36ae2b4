"""Who owns which field: `metadata.managedFields` through writes of every sort, and server-side apply.

Source: `structured-merge-diff/v6/merge/update.go`, `apiserver/pkg/endpoints/handlers/fieldmanager`.
"""

import copy
import json
from dataclasses import dataclass
from typing import Any

from weft.cluster.apiserver import errors
from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.patches import fields
from weft.cluster.apiserver.patches.fields import Path
from weft.cluster.apiserver.schemas import Schema, Schemas
from weft.cluster.apiserver.scheme import Scheme

Obj = dict[str, Any]
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes, in which version and through which subresource; `stamp` is the present."""

    manager: str
    api_version: str
    subresource: str
    stamp: str


@dataclass(frozen=True, slots=True)
class Grammar:
    """The schema that says which lists are maps, with the definitions it refers to."""

    schema: Schema
    schemas: Schemas

    @classmethod
    def of(cls, kind: Kind, scheme: Scheme) -> "Grammar":
        """The grammar of a kind. A custom kind's metadata has the built-in form, whatever its schema says."""
        custom = scheme.custom(kind)
        schema = custom.schema if custom else scheme.schemas.of(kind) or {}
        metadata = scheme.schemas.metadata()["properties"]
        return cls({**schema, "properties": {**schema.get("properties", {}), **metadata}}, scheme.schemas)

    def leaves(self, obj: Obj) -> dict[Path, Any]:
        """Every field that the object sets."""
        return fields.leaves(obj, self.schema, self.schemas)


def _is(entry: Obj, writer: Writer, operation: str) -> bool:
    same = (writer.manager, operation, writer.subresource)
    return (entry.get("manager"), entry.get("operation"), entry.get("subresource", "")) == same


def _entry(writer: Writer, operation: str, owned: set[Path]) -> Obj:
    return {
        "manager": writer.manager,
        "operation": operation,
        "apiVersion": writer.api_version,
        "time": writer.stamp,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields.to_v1(owned),
        **({"subresource": writer.subresource} if writer.subresource else {}),
    }


def _without(entries: list[Obj], gone: set[Path], keep: Obj | None) -> list[Obj]:
    """The entries less some paths; entries that own nothing any more fall away."""
    result = []
    for entry in entries:
        if entry is keep:
            continue
        owned = fields.from_v1(entry.get("fieldsV1") or {})
        left = owned - gone
        if left:
            result.append(entry if left == owned else {**entry, "fieldsV1": fields.to_v1(left)})
    return result


def track(obj: Obj, before: Obj | None, writer: Writer, grammar: Grammar) -> None:
    """Note in `obj`, in place, that the writer owns what it changed by an ordinary write."""
    entries: list[Obj] = ((before or {}).get("metadata") or {}).get("managedFields") or []
    if before is not None and obj["metadata"].get("managedFields") == []:
        entries = []  # a client that sends an empty list starts afresh
    new = grammar.leaves(obj)
    old = grammar.leaves(before) if before else {}
    changed = {path for path, value in new.items() if path not in old or old[path] != value}
    gone = {path for path in old if path not in new}
    mine = next((entry for entry in entries if _is(entry, writer, "Update")), None)
    if changed:
        owned = (fields.from_v1(mine["fieldsV1"]) if mine else set()) - gone | changed
        others = _without(entries, gone | changed, mine)
        obj["metadata"]["managedFields"] = [*others, _entry(writer, "Update", owned)]
    else:
        left = _without(entries, gone, None)
        obj["metadata"]["managedFields"] = left
    if not obj["metadata"]["managedFields"]:
        del obj["metadata"]["managedFields"]


def apply(live: Obj | None, applied: Obj, writer: Writer, grammar: Grammar, *, force: bool) -> Obj:
    """The object after a server-side apply: what `applied` sets is the writer's, what it no longer sets goes.

    Raises a 409 that names every field another manager holds with another value, unless `force`.
    """
    wanted = grammar.leaves(applied)
    if live is None:
        new = copy.deepcopy(applied)
        new["metadata"]["managedFields"] = [_entry(writer, "Apply", set(wanted))]
        return new
    entries: list[Obj] = live["metadata"].get("managedFields") or []
    current = grammar.leaves(live)
    mine = next((entry for entry in entries if _is(entry, writer, "Apply")), None)
    taken = {
        path for path, value in wanted.items() if path[-1] != "." and path in current and current[path] != value
    }
    conflicts = _conflicts(entries, mine, taken)
    if conflicts and writer.manager == "kubectl":
        agreed = _client_side(live, current, grammar)
        conflicts = [(entry, path) for entry, path in conflicts if path not in agreed]
    if conflicts and not force:
        raise _refusal(conflicts)
    before = fields.from_v1(mine["fieldsV1"]) if mine else set()
    others = _without(entries, taken, mine)
    held = {path for entry in others for path in fields.from_v1(entry.get("fieldsV1") or {})}
    result: Obj = _merge(live, applied, grammar.schema, grammar.schemas)
    # whole items first: without its key, an item could not be found any more
    for path in sorted(before - set(wanted) - held, key=lambda path: (path[-1] != ".", -len(path))):
        if not _holds_below(held | set(wanted), path):
            _remove(result, path, grammar.schema, grammar.schemas)
    entry = _entry(writer, "Apply", set(wanted))
    if mine and mine["fieldsV1"] == entry["fieldsV1"]:
        entry["time"] = mine.get("time", writer.stamp)
    result["metadata"]["managedFields"] = [entry, *others]
    return result


def _client_side(live: Obj, current: dict[Path, Any], grammar: Grammar) -> set[Path]:
    """What kubectl applied from the client and nobody changed since: its server-side apply may take it over.

    Source: `managedfields/internal/lastappliedmanager.go`.
    """
    text = (live["metadata"].get("annotations") or {}).get(_LAST_APPLIED, "")
    try:
        applied = json.loads(text)
    except ValueError:
        return set()
    if not isinstance(applied, dict):
        return set()
    return {path for path, value in grammar.leaves(applied).items() if current.get(path) == value}


def _holds_below(held: set[Path], path: Path) -> bool:
    """Whether something in an item or container is held, so that it must stay."""
    stem = path[:-1] if path[-1] == "." else path
    return any(other[: len(stem)] == stem and other != path for other in held)


def _conflicts(entries: list[Obj], mine: Obj | None, taken: set[Path]) -> list[tuple[Obj, Path]]:
    return [
        (entry, path)
        for entry in entries
        if entry is not mine
        for path in sorted(fields.from_v1(entry.get("fieldsV1") or {}) & taken)
    ]


def _refusal(conflicts: list[tuple[Obj, Path]]) -> errors.StatusError:
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": f'conflict with "{entry["manager"]}"'
            + (f' with subresource "{entry["subresource"]}"' if entry.get("subresource") else "")
            + (f" using {entry['apiVersion']}" if entry.get("operation") == "Update" else ""),
            "field": fields.shown(path),
        }
        for entry, path in conflicts
    ]
    plural = "s" if len(causes) > 1 else ""
    listed = "; ".join(f"{cause['message']}: {cause['field']}" for cause in causes)
    return errors.StatusError(
        409, "Conflict", f"Apply failed with {len(causes)} conflict{plural}: {listed}", {"causes": causes}
    )


def _merge(live: Any, applied: Any, schema: Schema, schemas: Schemas) -> Any:
    if isinstance(live, dict) and isinstance(applied, dict) and schema.get("x-kubernetes-map-type") != "atomic":
        result = dict(live)
        for name, value in applied.items():
            inner = fields.child(schema, name, schemas)
            result[name] = _merge(live[name], value, inner, schemas) if name in live else copy.deepcopy(value)
        return result
    keyed = schema.get("x-kubernetes-list-type") in {"map", "set"}
    if isinstance(live, list) and isinstance(applied, list) and keyed:
        return _merge_items(live, applied, schema, schemas)
    return copy.deepcopy(applied)


def _merge_items(live: list[Any], applied: list[Any], schema: Schema, schemas: Schemas) -> list[Any]:
    inner = schemas.resolve(schema.get("items", {}))
    existing = {fields.item_key(item, schema): item for item in live}
    wanted = [fields.item_key(item, schema) for item in applied]
    merged = {
        key: _merge(existing[key], item, inner, schemas) if key in existing else copy.deepcopy(item)
        for key, item in zip(wanted, applied, strict=True)
    }
    # the applied order, and before it what others have there
    return [item for key, item in existing.items() if key not in merged] + list(merged.values())


def _remove(obj: Any, path: Path, schema: Schema, schemas: Schemas) -> None:
    """Take out what a path names, and containers that are empty for it."""
    head, *rest = path
    if isinstance(obj, dict) and head.startswith("f:"):
        name = head[2:]
        if name not in obj:
            return
        if rest:
            _remove(obj[name], tuple(rest), fields.child(schema, name, schemas), schemas)
        if not rest or obj[name] in ({}, []):
            del obj[name]
    elif isinstance(obj, list):
        inner = schemas.resolve(schema.get("items", {}))
        for index, item in enumerate(obj):
            if fields.item_key(item, schema) == head:
                if rest == ["."]:
                    del obj[index]
                else:
                    _remove(item, tuple(rest), inner, schemas)
                return
