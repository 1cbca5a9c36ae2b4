"""Patches as functions: what each sort does to an object."""

from typing import Any

import pytest

from weft.cluster.apiserver.errors import StatusError
from weft.cluster.apiserver.patches import json, merge, ownership, strategic
from weft.cluster.apiserver.patches.ownership import Grammar, Writer
from weft.cluster.apiserver.schemas import Schemas
from weft.cluster.apiserver.scheme import Scheme

SCHEME = Scheme(Schemas.bundled())
PODS = SCHEME.find("", "v1", "pods")
assert PODS is not None
POD_SCHEMA = SCHEME.schemas.of(PODS)
assert POD_SCHEMA is not None
GRAMMAR = Grammar.of(PODS, SCHEME)


def pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "spec": {"containers": list(containers), **spec}}


def strategically(target: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    assert POD_SCHEMA is not None
    return strategic.apply(target, patch, POD_SCHEMA, SCHEME.schemas)


def writer(name: str) -> Writer:
    return Writer(name, "v1", "", "2026-01-01T00:00:00Z")


def test_a_strategic_patch_merges_containers_by_name() -> None:
    before = pod({"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"})
    after = strategically(before, {"spec": {"containers": [{"name": "b", "image": "b:2"}]}})
    assert after == pod({"name": "a", "image": "a:1"}, {"name": "b", "image": "b:2"})


def test_a_strategic_patch_deletes_replaces_and_orders() -> None:
    before = pod({"name": "a"}, {"name": "b"})
    gone = strategically(before, {"spec": {"containers": [{"name": "a", "$patch": "delete"}]}})
    assert gone == pod({"name": "b"})
    replaced = strategically(before, {"spec": {"containers": [{"name": "c"}, {"$patch": "replace"}]}})
    assert replaced == pod({"name": "c"})
    order = {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "b"}]}
    assert strategically(before, {"spec": order}) == pod({"name": "b"}, {"name": "a"})


def test_a_strategic_patch_takes_items_out_of_a_primitive_list() -> None:
    before = {"metadata": {"finalizers": ["a", "b"]}}
    after = strategically(before, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}})
    assert after == {"metadata": {"finalizers": ["b"]}}


def test_a_merge_patch_removes_by_null() -> None:
    assert merge.merge({"a": 1, "b": {"c": 2}}, {"a": None, "b": {"d": 3}}) == {"b": {"c": 2, "d": 3}}


def test_a_json_patch_that_does_not_fit_says_so() -> None:
    with pytest.raises(StatusError) as refused:
        json.apply({"a": 1}, [{"op": "test", "path": "/a", "value": 2}])
    assert refused.value.code == 422


def test_applying_twice_is_applying_once() -> None:
    wanted = pod({"name": "a", "image": "a:1"})
    first = ownership.apply(None, wanted, writer("m"), GRAMMAR, force=False)
    assert ownership.apply(first, wanted, writer("m"), GRAMMAR, force=False) == first


def test_two_managers_own_their_own_containers() -> None:
    live = ownership.apply(None, pod({"name": "a", "image": "a:1"}), writer("one"), GRAMMAR, force=False)
    live = ownership.apply(live, pod({"name": "b", "image": "b:1"}), writer("two"), GRAMMAR, force=False)
    assert [container["name"] for container in live["spec"]["containers"]] == ["a", "b"]
    live = ownership.apply(live, pod(hostname="h"), writer("two"), GRAMMAR, force=False)
    assert [container["name"] for container in live["spec"]["containers"]] == ["a"]
    with pytest.raises(StatusError, match='conflict with "one"') as refused:
        ownership.apply(live, pod({"name": "a", "image": "a:2"}), writer("two"), GRAMMAR, force=False)
    assert refused.value.details["causes"][0]["field"] == '.spec.containers[name="a"].image'
