"""What the controllers know: a copy of each kind's objects, kept true by watches and by their own writes."""

from collections.abc import Callable, Iterator

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import Kind
from weft.adapters.kube.reflector import Applied, Change, Deleted, Replaced
from weft.cluster.controllers.objects import Key, key_of

Listener = Callable[[Kind, Json], None]


class Cache:
    """The objects of one kind by namespace and name.

    A controller puts what it has written here at once, so that it never acts on a state older than its own last
    write (it would create the same pod twice). Events older than that write are let pass.
    """

    def __init__(self, kind: Kind, changed: Listener) -> None:
        self.kind = kind
        self._objects: dict[Key, Json] = {}
        self._changed = changed
        self._gone: dict[str, int] = {}

    def __iter__(self) -> Iterator[Json]:
        return iter(self._objects.values())

    def get(self, key: Key) -> Json | None:
        """The object there, if any."""
        return self._objects.get(key)

    def within(self, namespace: str) -> list[Json]:
        """The objects of one namespace."""
        return [obj for (where, _), obj in self._objects.items() if where == namespace]

    def take(self, change: Change[Json]) -> None:
        """Follow what the server tells."""
        match change:
            case Replaced(objects):
                fresh = {key_of(obj): obj for obj in objects}
                for key in self._objects.keys() - fresh.keys():
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
        self._objects[key_of(obj)] = obj
        self._changed(self.kind, obj)

    def _remove(self, obj: Json) -> None:
        uid = obj["metadata"]["uid"]
        self._gone[uid] = _revision(obj)
        if len(self._gone) > 1000:
            self._gone.pop(next(iter(self._gone)))
        held = self._objects.get(key_of(obj))
        if held and held["metadata"]["uid"] == uid:
            del self._objects[key_of(obj)]
            self._changed(self.kind, obj)


def _revision(obj: Json) -> int:
    return int(obj["metadata"].get("resourceVersion") or 0)
