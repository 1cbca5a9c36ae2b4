"""Strategic merge patch: a merge patch that knows which lists are maps, by the schema's patch marks.

Source: `apimachinery/pkg/util/strategicpatch`. Directives: `$patch: delete|replace|merge`, `$retainKeys`,
`$deleteFromPrimitiveList/FIELD`, `$setElementOrder/FIELD`.
"""

from dataclasses import dataclass
from typing import Any

import msgspec

from weft.cluster.apiserver import decoding, errors
from weft.cluster.apiserver.schemas import Schema, Schemas

_DELETE_PRIMITIVE = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"
_RETAIN = "$retainKeys"
_PATCH = "$patch"


@dataclass(frozen=True, slots=True)
class _Merger:
    schemas: Schemas

    def child(self, schema: Schema, key: str) -> Schema:
        resolved = self.schemas.resolve(schema)
        extra = resolved.get("additionalProperties")
        found = resolved.get("properties", {}).get(key, extra if isinstance(extra, dict) else {})
        return self.schemas.resolve(found)

    def object(self, target: Any, patch: dict[str, Any], schema: Schema) -> dict[str, Any]:
        _check_directives(patch)
        directive = patch.get(_PATCH)
        if directive == "replace":
            return dict(_without_directives(patch))
        if directive == "delete":
            return {}
        result = dict(target) if isinstance(target, dict) else {}
        if _RETAIN in patch:
            result = {key: value for key, value in result.items() if key in patch[_RETAIN]}
        for key, value in patch.items():
            self.field(result, key, value, schema)
        for key, order in patch.items():
            if key.startswith(_ORDER):
                self.order(result, key.removeprefix(_ORDER), order, schema)
        return result

    def field(self, result: dict[str, Any], key: str, value: Any, schema: Schema) -> None:
        if key.startswith(_DELETE_PRIMITIVE):
            name = key.removeprefix(_DELETE_PRIMITIVE)
            if isinstance(result.get(name), list):
                gone = {_identity(item) for item in value}
                result[name] = [item for item in result[name] if _identity(item) not in gone]
        elif key.startswith("$"):
            return
        elif value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = self.object(result.get(key), value, self.child(schema, key))
        elif isinstance(value, list):
            result[key] = self.array(result.get(key), value, self.child(schema, key))
        else:
            result[key] = value

    def array(self, target: Any, patch: list[Any], schema: Schema) -> list[Any]:
        strategy = str(schema.get("x-kubernetes-patch-strategy", "")).split(",")
        current = target if isinstance(target, list) else []
        if "merge" not in strategy or {_PATCH: "replace"} in patch:
            return [_without_directives(item) for item in patch if item != {_PATCH: "replace"}]
        key = schema.get("x-kubernetes-patch-merge-key")
        if key is None:
            return _united(current, patch)
        return self.by_key(list(current), patch, key, schema.get("items", {}))

    def by_key(self, result: list[Any], patch: list[Any], key: str, schema: Schema) -> list[Any]:
        items = {_place(item, key, at): item for at, item in enumerate(result)}
        for item in patch:
            if not isinstance(item, dict) or key not in item:
                raise errors.bad_request(f"map: {item} does not contain declared merge key: {key}")
            where = _identity(item[key])
            if item.get(_PATCH) == "delete":
                items.pop(where, None)
            else:
                items[where] = self.object(items.get(where, {}), item, schema)
        return list(items.values())

    def order(self, result: dict[str, Any], name: str, order: list[Any], schema: Schema) -> None:
        items = result.get(name)
        if not isinstance(items, list):
            return
        key = self.child(schema, name).get("x-kubernetes-patch-merge-key")
        wanted = [_named(item, key) for item in order]
        identities = [_named(item, key) for item in items]
        result[name] = [items[i] for i in _arrange(identities, wanted)]


def _identity(value: Any) -> bytes:
    """What makes two values of JSON the same one."""
    return msgspec.json.encode(value)


def _place(item: Any, key: str, at: int) -> bytes | int:
    """What an item is found by; one without the key by its index, which no patch names."""
    return _identity(item[key]) if isinstance(item, dict) and key in item else at


def _named(item: Any, key: str | None) -> bytes:
    return _identity(item.get(key) if key and isinstance(item, dict) else item)


def _united(current: list[Any], patch: list[Any]) -> list[Any]:
    known = {_identity(item) for item in current}
    return [*current, *(item for item in patch if _identity(item) not in known)]


def _arrange(identities: list[bytes], wanted: list[bytes]) -> list[int]:
    """Indices in the wanted order; what the patch does not mention stays behind its former neighbour."""
    ranks: dict[bytes, int] = {}
    for rank, name in enumerate(wanted):
        ranks.setdefault(name, rank)
    first: list[int] = []
    followers: dict[int, list[int]] = {}
    before = None
    for at, name in enumerate(identities):
        if name in ranks:
            before = at
        elif before is None:
            first.append(at)
        else:
            followers.setdefault(before, []).append(at)
    listed = sorted(
        (at for at, name in enumerate(identities) if name in ranks), key=lambda at: ranks[identities[at]]
    )
    return first + [each for at in listed for each in (at, *followers.get(at, ()))]


def _check_directives(patch: dict[str, Any]) -> None:
    """400 where a directive is none, or is about something else than a list."""
    if patch.get(_PATCH) not in (None, "merge", "replace", "delete"):
        raise errors.bad_request(f"unknown patch type found: {patch[_PATCH]}")
    for key, value in patch.items():
        if (key == _RETAIN or key.startswith((_ORDER, _DELETE_PRIMITIVE))) and not isinstance(value, list):
            raise errors.bad_request(f"invalid patch: {key} must be a list, not {decoding.json_type(value)}")


def _without_directives(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_directives(v) for k, v in value.items() if not k.startswith("$") and v is not None}
    return [_without_directives(item) for item in value] if isinstance(value, list) else value


def apply(target: dict[str, Any], patch: Any, schema: Schema, schemas: Schemas) -> dict[str, Any]:
    """The target with a strategic merge patch laid over it. Neither argument is changed."""
    if not isinstance(patch, dict):
        what = decoding.json_type(patch)
        raise errors.bad_request(f"json: cannot unmarshal {what} into Go value of type map[string]interface {{}}")
    return _Merger(schemas).object(target, patch, schema)
