"""Claims and volumes on a stage: finding, making, keeping and giving back."""

from pathlib import Path
from typing import Any

import pytest
from tests.cluster.controllers.stage import Stage, node

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import NODES, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS, STORAGECLASSES
from weft.cluster.controllers.scheduler import Scheduler
from weft.cluster.controllers.volumes import Claims, VolumeGuards, Volumes, default_class

FOLDER = Path("/cluster/volumes")


def claim(name: str = "data", size: str = "1Gi", **spec: Any) -> Json:
    common = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    return {"metadata": {"name": name}, "spec": common | spec}


def volume(name: str, size: str = "1Gi", **spec: Any) -> Json:
    common = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}
    return {"metadata": {"name": name}, "spec": common | {"persistentVolumeReclaimPolicy": "Retain"} | spec}


def user(name: str = "p", claim_name: str = "data") -> Json:
    mounted = [{"name": "v", "persistentVolumeClaim": {"claimName": claim_name}}]
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c"}], "volumes": mounted}}


@pytest.fixture
def stage() -> Stage:
    stage = Stage([Claims(FOLDER), Volumes(FOLDER), VolumeGuards(), Scheduler()])
    stage.put(STORAGECLASSES, default_class())
    stage.put(NODES, node("a"))
    return stage


def phase(stage: Stage, name: str = "data") -> str:
    return str(stage.get(PERSISTENTVOLUMECLAIMS, name).get("status", {}).get("phase", "Pending"))


def test_a_claim_of_the_default_class_is_bound_when_a_pod_first_needs_it(stage: Stage) -> None:
    stage.put(PERSISTENTVOLUMECLAIMS, claim())
    stage.settle()
    assert phase(stage) == "Pending"
    assert "waiting for first consumer to be created before binding" in stage.events
    stage.put(PODS, user())
    stage.settle()
    assert phase(stage) == "Bound"
    (made,) = stage.caches[PERSISTENTVOLUMES]
    assert made["status"]["phase"] == "Bound"
    assert Path(made["spec"]["hostPath"]["path"]).parent == FOLDER
    assert stage.get(PODS, "p")["spec"]["nodeName"] == "a"


def test_the_smallest_volume_that_is_large_enough_is_taken(stage: Stage) -> None:
    for name, size in (("large", "50Gi"), ("fitting", "10Gi"), ("small", "1Gi")):
        stage.put(PERSISTENTVOLUMES, volume(name, size))
    stage.put(PERSISTENTVOLUMECLAIMS, claim(size="5Gi", storageClassName=""))
    stage.settle()
    assert stage.get(PERSISTENTVOLUMECLAIMS, "data")["spec"]["volumeName"] == "fitting"
    assert stage.get(PERSISTENTVOLUMECLAIMS, "data")["status"]["capacity"] == {"storage": "10Gi"}


@pytest.mark.parametrize(
    "other",
    [
        {"accessModes": ["ReadWriteMany"]},
        {"storageClassName": "fast"},
        {"volumeMode": "Block"},
        {"selector": {"matchLabels": {"disk": "ssd"}}},
        {"volumeName": "another"},
    ],
)
def test_a_volume_that_is_not_as_asked_is_left_alone(stage: Stage, other: Json) -> None:
    stage.put(PERSISTENTVOLUMES, volume("there"))
    stage.put(PERSISTENTVOLUMECLAIMS, claim(**({"storageClassName": ""} | other)))
    stage.settle()
    assert stage.get(PERSISTENTVOLUMES, "there")["status"]["phase"] == "Available"


def test_two_claims_never_share_a_volume(stage: Stage) -> None:
    stage.put(PERSISTENTVOLUMES, volume("one"))
    for name in ("first", "second"):
        stage.put(PERSISTENTVOLUMECLAIMS, claim(name, storageClassName=""))
    stage.settle()
    assert sorted([phase(stage, "first"), phase(stage, "second")]) == ["Bound", "Pending"]
    message = "no persistent volumes available for this claim and no storage class is set"
    assert message in stage.events


def test_a_claim_in_use_waits_for_its_pod_and_then_takes_its_folder_along(stage: Stage) -> None:
    stage.put(PERSISTENTVOLUMECLAIMS, claim())
    stage.put(PODS, user())
    stage.settle()
    (made,) = stage.caches[PERSISTENTVOLUMES]
    stage.delete(PERSISTENTVOLUMECLAIMS, "data")
    stage.settle()
    assert phase(stage) == "Bound"
    stage.delete(PODS, "p")
    stage.settle()
    assert not len(stage.caches[PERSISTENTVOLUMECLAIMS])
    assert not len(stage.caches[PERSISTENTVOLUMES])
    assert stage.erased == [made["spec"]["hostPath"]["path"]]


def test_a_retained_volume_is_released_and_its_folder_kept(stage: Stage) -> None:
    stage.put(PERSISTENTVOLUMES, volume("kept"))
    stage.put(PERSISTENTVOLUMECLAIMS, claim(storageClassName=""))
    stage.settle()
    stage.delete(PERSISTENTVOLUMECLAIMS, "data")
    stage.settle()
    assert stage.get(PERSISTENTVOLUMES, "kept")["status"]["phase"] == "Released"
    assert not stage.erased


def test_a_folder_that_we_did_not_make_is_never_erased(stage: Stage) -> None:
    stage.put(PERSISTENTVOLUMES, volume("theirs", persistentVolumeReclaimPolicy="Delete"))
    stage.put(PERSISTENTVOLUMECLAIMS, claim(storageClassName=""))
    stage.settle()
    stage.delete(PERSISTENTVOLUMECLAIMS, "data")
    stage.settle()
    assert stage.get(PERSISTENTVOLUMES, "theirs")["status"]["phase"] == "Failed"
    assert not stage.erased


def test_a_pod_goes_only_where_its_volume_can_be_reached(stage: Stage) -> None:
    stage.put(NODES, node("b"))
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["b"]}]}
    there = {"required": {"nodeSelectorTerms": [term]}}
    stage.put(PERSISTENTVOLUMES, volume("local", nodeAffinity=there))
    stage.put(PERSISTENTVOLUMECLAIMS, claim(storageClassName=""))
    stage.settle()
    stage.put(PODS, user())
    stage.settle()
    assert stage.get(PODS, "p")["spec"]["nodeName"] == "b"


def test_what_a_claim_waits_for_is_told_again_every_fifteen_seconds_as_long_as_it_waits(stage: Stage) -> None:
    waiting = "waiting for first consumer to be created before binding"
    stage.put(PERSISTENTVOLUMECLAIMS, claim())
    stage.wait(31)
    assert stage.events.count(waiting) == 3
    stage.put(PODS, user())
    stage.wait(60)
    assert stage.events.count(waiting) == 3


def test_a_claim_whose_pod_fits_nowhere_names_it(stage: Stage) -> None:
    stage.put(PODS, user() | {"spec": user()["spec"] | {"nodeSelector": {"no": "where"}}})
    stage.put(PERSISTENTVOLUMECLAIMS, claim())
    stage.settle()
    assert "waiting for pod p to be scheduled" in stage.events
