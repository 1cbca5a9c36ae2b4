"""Garbage collection: objects whose owners are gone follow them."""

from collections.abc import Iterable, Iterator, Sequence

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import Kind
from weft.cluster.controllers.changes import Change, Delete, Patch, Plan
from weft.cluster.controllers.loop import Controller, World
from weft.cluster.controllers.objects import Key, is_going

_FOREGROUND, _ORPHAN = "foregroundDeletion", "orphan"


class Garbage(Controller):
    """Deletes dependents, and holds or frees owners, as the propagation policy of a deletion asks.

    A key is a uid: of an owner that changed or went, or of a dependent whose owner may never have been.
    """

    name = "garbage-collector"

    def __init__(self, kinds: Sequence[Kind]) -> None:
        self.watches = tuple(kinds)
        self._names = {kind.kind for kind in kinds}

    def keys(self, kind: Kind, obj: Json, world: World) -> Iterable[Key]:  # noqa: ARG002, the uids are in the object
        """The object as an owner, and each of its owners."""
        owners = obj["metadata"].get("ownerReferences") or ()
        return [("", obj["metadata"]["uid"]), *(("", owner["uid"]) for owner in owners)]

    def plan(self, key: Key, world: World) -> Plan:
        """Look at one owner: there, going, or gone."""
        uid = key[1]
        dependents = list(self._dependents(uid, world))
        found = self._find(uid, world)
        if found is None:
            return Plan([change for kind, obj in dependents for change in self._orphaned(kind, obj, uid, world)])
        kind, owner = found
        finalizers: list[str] = owner["metadata"].get("finalizers") or []
        if not is_going(owner):
            return Plan()
        if _ORPHAN in finalizers:
            freed: list[Change] = [_without_owner(kind, obj, uid) for kind, obj in dependents]
            return Plan(freed or [_without_finalizer(kind, owner, _ORPHAN)])
        if _FOREGROUND in finalizers:
            going: list[Change] = [
                Delete(kind, obj, "Foreground") for kind, obj in dependents if not is_going(obj)
            ]
            held = any(_blocks(obj, uid) for _, obj in dependents)
            return Plan(going if held else [*going, _without_finalizer(kind, owner, _FOREGROUND)])
        return Plan()

    def _dependents(self, uid: str, world: World) -> Iterator[tuple[Kind, Json]]:
        for kind in self.watches:
            for obj in world.of(kind).dependents(uid):
                yield kind, obj

    def _find(self, uid: str, world: World) -> tuple[Kind, Json] | None:
        for kind in self.watches:
            if found := world.of(kind).with_uid(uid):
                return kind, found
        return None

    def _orphaned(self, kind: Kind, obj: Json, uid: str, world: World) -> list[Change]:
        owners = obj["metadata"]["ownerReferences"]
        gone = next(owner for owner in owners if owner["uid"] == uid)
        if gone["kind"] not in self._names or is_going(obj):
            return []  # a kind that is not watched here may well be there
        if any(owner["uid"] != uid and self._find(owner["uid"], world) for owner in owners):
            return [_without_owner(kind, obj, uid)]
        return [Delete(kind, obj)]


def _blocks(obj: Json, uid: str) -> bool:
    return any(
        owner["uid"] == uid and owner.get("blockOwnerDeletion") for owner in obj["metadata"]["ownerReferences"]
    )


def _without_owner(kind: Kind, obj: Json, uid: str) -> Change:
    rest = [owner for owner in obj["metadata"]["ownerReferences"] if owner["uid"] != uid]
    return Patch(kind, obj, {"metadata": {"uid": obj["metadata"]["uid"], "ownerReferences": rest or None}})


def _without_finalizer(kind: Kind, obj: Json, name: str) -> Change:
    rest = [finalizer for finalizer in obj["metadata"]["finalizers"] if finalizer != name]
    return Patch(kind, obj, {"metadata": {"uid": obj["metadata"]["uid"], "finalizers": rest or None}})
