"""Garbage collection: objects whose owners are gone follow them."""

from collections.abc import Iterable, Iterator

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import Kind
from weft.cluster.controllers.changes import Change, Delete, Owner, Patch, Plan
from weft.cluster.controllers.events import Tell
from weft.cluster.controllers.loop import Controller, World
from weft.cluster.controllers.objects import Key, is_going

_FOREGROUND, _ORPHAN = "foregroundDeletion", "orphan"


class Garbage(Controller):
    """Deletes dependents, and holds or frees owners, as the propagation policy of a deletion asks.

    A key is a uid: of an owner that changed or went, or of a dependent whose owner may never have been.
    """

    name = "garbage-collector-controller"
    watches: tuple[Kind, ...] = ()

    def concerns(self, kind: Kind) -> bool:  # noqa: ARG002, that is the point
        """Every kind has owners and dependents."""
        return True

    def keys(self, kind: Kind, obj: Json, world: World) -> Iterable[Key]:  # noqa: ARG002, the uids are in the object
        """The object as an owner, and each of its owners."""
        owners = obj["metadata"].get("ownerReferences") or ()
        return [("", obj["metadata"]["uid"]), *(("", owner["uid"]) for owner in owners)]

    def plan(self, key: Key, world: World) -> Plan:
        """Look at one owner: there, going, or gone."""
        uid = key[1]
        dependents = list(_dependents(uid, world))
        found = _find(uid, world)
        strays = [(kind, obj) for kind, obj in dependents if not _reaches(obj, _reference(obj, uid), world)]
        changes = [change for kind, obj in strays for change in self._unowned(kind, obj, uid, world)]
        if found is None:
            return Plan(changes)
        kind, owner = found
        dependents = [pair for pair in dependents if pair not in strays]
        if is_going(owner):
            changes += _going(kind, owner, dependents, world)
        return Plan(changes)

    def _unowned(self, kind: Kind, obj: Json, uid: str, world: World) -> list[Change]:
        """What becomes of an object whose owner is not there, or not where it could own it."""
        reference = _reference(obj, uid)
        cache = world.named(reference["apiVersion"], reference["kind"])
        if cache is None or is_going(obj):
            return []  # a kind that nobody knows may well be there
        told: list[Change] = []
        elsewhere = cache.with_uid(uid)
        outside = cache.kind.namespaced and not kind.namespaced
        if elsewhere or outside:
            namespace = obj["metadata"].get("namespace", "")
            named = f"{reference['apiVersion']}/{reference['kind']}, namespace: {namespace}"
            named += f", name: {reference['name']}, uid: {uid}"
            message = f'ownerRef [{named}] does not exist in namespace "{namespace}"'
            told = [Tell(obj, kind, "OwnerRefInvalidNamespace", message, self.name, warning=True)]
        if outside:
            return told  # such an owner cannot be looked for: the object stays
        others = [owner for owner in obj["metadata"]["ownerReferences"] if owner["uid"] != uid]
        if any(_reaches(obj, owner, world) for owner in others):
            return [*told, _without_owner(kind, obj, uid)]
        if any(world.named(owner["apiVersion"], owner["kind"]) is None for owner in others):
            return told
        namespace = obj["metadata"].get("namespace", "") if cache.kind.namespaced else ""
        owner = Owner(cache.kind, namespace, reference["name"], uid)
        return [*told, Delete(kind, obj, without=owner)]


def _going(kind: Kind, owner: Json, dependents: list[tuple[Kind, Json]], world: World) -> list[Change]:
    """The step that an owner's deletion is at, by the finalizer that its propagation policy set."""
    uid, finalizers = owner["metadata"]["uid"], owner["metadata"].get("finalizers") or []
    if _ORPHAN in finalizers:
        freed: list[Change] = [_without_owner(each, obj, uid) for each, obj in dependents]
        return freed or [_without_finalizer(kind, owner, _ORPHAN)]
    if _FOREGROUND not in finalizers:
        return []
    changes: list[Change] = []
    held = False
    for each, obj in dependents:
        if _stays(obj, uid, world):
            changes.append(_without_owner(each, obj, uid))
            continue
        held = held or bool(_reference(obj, uid).get("blockOwnerDeletion"))
        if not is_going(obj):
            changes.append(Delete(each, obj, "Foreground"))
    return changes if held else [*changes, _without_finalizer(kind, owner, _FOREGROUND)]


def _stays(obj: Json, uid: str, world: World) -> bool:
    """Whether another owner, that is not waiting for it to go, keeps an object."""
    others = [owner["uid"] for owner in obj["metadata"]["ownerReferences"] if owner["uid"] != uid]
    found = [pair[1] for other in others if (pair := _find(other, world))]
    return any(_FOREGROUND not in (owner["metadata"].get("finalizers") or ()) for owner in found)


def _dependents(uid: str, world: World) -> Iterator[tuple[Kind, Json]]:
    for kind, cache in world.caches.items():
        for obj in cache.dependents(uid):
            yield kind, obj


def _find(uid: str, world: World) -> tuple[Kind, Json] | None:
    for kind, cache in world.caches.items():
        if found := cache.with_uid(uid):
            return kind, found
    return None


def _reference(obj: Json, uid: str) -> Json:
    owners: list[Json] = obj["metadata"]["ownerReferences"]
    return next(owner for owner in owners if owner["uid"] == uid)


def _reaches(obj: Json, reference: Json, world: World) -> bool:
    """Whether the owner is there, and where it can own the object: in its namespace, or in none."""
    found = _find(reference["uid"], world)
    if found is None:
        return False
    return not found[0].namespaced or found[1]["metadata"]["namespace"] == obj["metadata"].get("namespace")


def _without_owner(kind: Kind, obj: Json, uid: str) -> Change:
    rest = [owner for owner in obj["metadata"]["ownerReferences"] if owner["uid"] != uid]
    return Patch(kind, obj, {"metadata": {"uid": obj["metadata"]["uid"], "ownerReferences": rest or None}})


def _without_finalizer(kind: Kind, obj: Json, name: str) -> Change:
    rest = [finalizer for finalizer in obj["metadata"]["finalizers"] if finalizer != name]
    return Patch(kind, obj, {"metadata": {"uid": obj["metadata"]["uid"], "finalizers": rest or None}})
