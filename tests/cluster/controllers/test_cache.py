"""What controllers know: their own writes at once, never less than the server has told."""

from typing import Any

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import REPLICASETS, Kind
from weft.adapters.kube.reflector import Applied, Deleted, Replaced
from weft.cluster.controllers.cache import Cache


def replicaset(revision: int, uid: str = "1", **meta: Any) -> Json:
    common = {"name": "web", "namespace": "default", "uid": uid, "resourceVersion": str(revision)}
    return {"metadata": common | meta}


def cache() -> tuple[Cache, list[Json]]:
    heard: list[Json] = []

    def changed(_kind: Kind, obj: Json) -> None:
        heard.append(obj)

    return Cache(REPLICASETS, changed), heard


def test_what_is_assumed_never_hides_what_the_server_has_told_since() -> None:
    held, _ = cache()
    first = replicaset(1)
    held.put(first)
    told = replicaset(2, deletionTimestamp="now", finalizers=["foregroundDeletion"])
    held.take(Applied(told))
    held.assume({"metadata": first["metadata"] | {"deletionTimestamp": "now"}})
    assert held.get(("default", "web")) is told


def test_an_event_older_than_our_own_write_is_let_pass() -> None:
    held, heard = cache()
    written = replicaset(5)
    held.put(written)
    held.take(Applied(replicaset(4)))
    assert held.get(("default", "web")) is written
    assert heard == [written]


def test_an_object_that_is_gone_does_not_come_back_by_a_late_event() -> None:
    held, _ = cache()
    held.put(replicaset(1))
    held.take(Deleted(replicaset(3)))
    held.put(replicaset(2))
    assert held.get(("default", "web")) is None


def test_dependents_are_found_by_their_owners_and_owners_that_lose_one_hear_of_it() -> None:
    held, heard = cache()
    owned = replicaset(1, ownerReferences=[{"uid": "owner"}])
    held.put(owned)
    assert held.dependents("owner") == [owned]
    freed = replicaset(2)
    held.put(freed)
    assert held.dependents("owner") == []
    assert heard == [owned, owned, freed]


def test_after_a_new_list_only_what_is_in_it_is_there() -> None:
    held, _ = cache()
    held.put(replicaset(1))
    fresh = replicaset(9, uid="2", name="other")
    held.take(Replaced((fresh,)))
    assert list(held) == [fresh]
    assert held.with_uid("1") is None
    assert held.within("default") == [fresh]
