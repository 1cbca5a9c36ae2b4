"""Owners and dependents on a stage: background, foreground and orphaning deletion."""

import pytest
from tests.cluster.controllers.stage import Stage

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import DEPLOYMENTS, PODS, REPLICASETS, Kind
from weft.cluster.controllers.garbage import Garbage
from weft.cluster.controllers.objects import owner_reference


@pytest.fixture
def stage() -> Stage:
    stage = Stage([Garbage()])
    stage.put(DEPLOYMENTS, {"metadata": {"name": "web"}})
    for kind, name, owner_kind, owner in (
        (REPLICASETS, "web-1", DEPLOYMENTS, "web"),
        (PODS, "web-1-a", REPLICASETS, "web-1"),
    ):
        reference = owner_reference(owner_kind, stage.get(owner_kind, owner))
        stage.put(kind, {"metadata": {"name": name, "ownerReferences": [reference]}})
    stage.settle()
    return stage


def going(finalizer: str) -> Json:
    return {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [finalizer]}}


def left(stage: Stage) -> list[Kind]:
    return [kind for kind in (DEPLOYMENTS, REPLICASETS, PODS) if len(stage.caches[kind])]


def test_dependents_follow_an_owner_that_is_gone_down_to_the_last(stage: Stage) -> None:
    stage.delete(DEPLOYMENTS, "web")
    stage.settle()
    assert left(stage) == []


def test_in_the_foreground_an_owner_waits_for_its_dependents(stage: Stage) -> None:
    stage.slow_deletion = True
    stage.change(REPLICASETS, "web-1", going("foregroundDeletion"))
    stage.change(DEPLOYMENTS, "web", going("foregroundDeletion"))
    stage.settle()
    assert left(stage) == [DEPLOYMENTS, REPLICASETS, PODS]
    stage.delete(PODS, "web-1-a", grace=0)
    stage.settle()
    assert left(stage) == []


def test_orphans_stay_without_their_owner(stage: Stage) -> None:
    stage.change(DEPLOYMENTS, "web", going("orphan"))
    stage.settle()
    assert left(stage) == [REPLICASETS, PODS]
    assert not stage.get(REPLICASETS, "web-1")["metadata"].get("ownerReferences")


def two_owners(stage: Stage) -> None:
    other = stage.put(REPLICASETS, {"metadata": {"name": "other"}})
    references = [*stage.get(PODS, "web-1-a")["metadata"]["ownerReferences"], owner_reference(REPLICASETS, other)]
    stage.change(PODS, "web-1-a", {"metadata": {"ownerReferences": references}})
    stage.settle()


@pytest.mark.parametrize("finalizer", ["", "foregroundDeletion"])
def test_whoever_has_another_owner_stays_with_that_one(stage: Stage, finalizer: str) -> None:
    two_owners(stage)
    if finalizer:
        stage.change(REPLICASETS, "web-1", going(finalizer))
    else:
        stage.delete(REPLICASETS, "web-1")
    stage.settle()
    (reference,) = stage.get(PODS, "web-1-a")["metadata"]["ownerReferences"]
    assert reference["name"] == "other"
    assert not stage.caches[REPLICASETS].get(("default", "web-1"))


def test_an_object_whose_owner_never_was_goes(stage: Stage) -> None:
    lost = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "never", "uid": "never"}
    stage.put(PODS, {"metadata": {"name": "lost", "ownerReferences": [lost]}})
    stage.settle()
    assert stage.names() == ["web-1-a"]


def test_an_owner_of_a_kind_that_nobody_knows_may_well_be_there(stage: Stage) -> None:
    foreign = {"apiVersion": "example.org/v1", "kind": "Ring", "name": "one", "uid": "one"}
    stage.put(PODS, {"metadata": {"name": "kept", "ownerReferences": [foreign]}})
    stage.settle()
    assert stage.names() == ["kept", "web-1-a"]
