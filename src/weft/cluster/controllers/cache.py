"""What the controllers know: a copy of each kind's objects, kept true by watches and by their own writes."""

from collections import defaultdict
from collections.abc import Callable, Iterator

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import Kind
from weft.adapters.kube.reflector import Applied, Change, Deleted, Replaced
from weft.cluster.controllers.objects import Key, key_of

Listener = Callable[[Kind, Json], None]


class Cache:
    """The objects of one kind by namespace and name, by uid, and by the uid of each owner.

    A controller puts what it has written here at once, so that it never acts on a state older than its own last
    write (it would create the same pod twice). Events older than that write are let pass.
    """

    def __init__(self, kind: Kind, changed: Listener) -> None:
        self.kind = kind
        self._objects: dict[Key, Json] = {}
        self._namespaces: defaultdict[str, dict[str, Json]] = defaultdict(dict)
        self._uids: dict[str, Key] = {}
        self._dependents: defaultdict[str, dict[Key, None]] = defaultdict(dict)
        self._changed = changed
        self._gone: dict[str, int] = {}

    def __iter__(self) -> Iterator[Json]:
        return iter(self._objects.values())

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, key: Key) -> Json | None:
        """The object there, if any."""
        return self._objects.get(key)

    def within(self, namespace: str) -> list[Json]:
        """The objects of one namespace."""
        return list(self._namespaces[namespace].values()) if namespace in self._namespaces else []

    def with_uid(self, uid: str) -> Json | None:
        """The object of that uid, if any."""
        key = self._uids.get(uid)
        return self._objects[key] if key else None

    def dependents(self, uid: str) -> list[Json]:
        """The objects that name this uid among their owners."""
        return [self._objects[key] for key in self._dependents[uid]] if uid in self._dependents else []

    def take(self, change: Change[Json]) -> None:
        """Follow what the server tells."""
        match change:
            case Replaced(objects):
                fresh = {key_of(obj) for obj in objects}
                for key in self._objects.keys() - fresh:
                    self._remove(self._objects[key])
                for obj in objects:
                    self.put(obj)
            case Applied(obj):
                self.put(obj)
            case Deleted(obj):
                self._remove(obj)

    def put(self, obj: Json) -> None:
        """Hold this state of an object unless a newer one is held."""
        held = self._objects.get(key_of(obj))
        if held and held["metadata"]["uid"] == obj["metadata"]["uid"] and _revision(held) >= _revision(obj):
            return
        if self._gone.get(obj["metadata"]["uid"], 0) >= _revision(obj):
            return
        self._drop(held)
        self._hold(obj)
        if held and _mark(held) != _mark(obj):
            self._changed(self.kind, held)  # the one before it is gone; or owners that it has no more hear of it
        self._changed(self.kind, obj)

    def assume(self, obj: Json) -> None:
        """Hold what the server is about to say of an object (it is going, it has a node), unless it has."""
        held = self._objects.get(key_of(obj))
        same = held and held["metadata"]["uid"] == obj["metadata"]["uid"]
        if held and same and _revision(held) == _revision(obj):
            self._drop(held)
            self._hold(obj)

    def _hold(self, obj: Json) -> None:
        key = namespace, name = key_of(obj)
        self._objects[key] = obj
        self._namespaces[namespace][name] = obj
        self._uids[obj["metadata"]["uid"]] = key
        for owner in obj["metadata"].get("ownerReferences") or ():
            self._dependents[owner["uid"]][key] = None

    def _drop(self, held: Json | None) -> None:
        if held is None:
            return
        key = namespace, name = key_of(held)
        del self._objects[key]
        del self._namespaces[namespace][name]
        self._uids.pop(held["metadata"]["uid"], None)
        for owner in held["metadata"].get("ownerReferences") or ():
            self._dependents[owner["uid"]].pop(key, None)
            if not self._dependents[owner["uid"]]:
                del self._dependents[owner["uid"]]

    def _remove(self, obj: Json) -> None:
        uid = obj["metadata"]["uid"]
        self._gone[uid] = _revision(obj)
        if len(self._gone) > 1000:
            self._gone.pop(next(iter(self._gone)))
        held = self._objects.get(key_of(obj))
        if held and held["metadata"]["uid"] == uid:
            self._drop(held)
            self._changed(self.kind, obj)


def _mark(obj: Json) -> tuple[str, object]:
    return obj["metadata"]["uid"], obj["metadata"].get("ownerReferences")


def _revision(obj: Json) -> int:
    return int(obj["metadata"].get("resourceVersion") or 0)
