"""StatefulSets on a stage: names, order, claims, and replacement from the top."""

from typing import Any

import pytest
from tests.cluster.controllers.stage import Stage, image_of, template

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import CONTROLLERREVISIONS, PERSISTENTVOLUMECLAIMS, PODS, STATEFULSETS
from weft.cluster.controllers.statefulsets import StatefulSets

CLAIM = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}


def stateful(replicas: int, image: str = "nginx:1", **spec: Any) -> Json:
    selector = {"matchLabels": {"app": "web"}}
    common = {"replicas": replicas, "serviceName": "db", "selector": selector, "template": template(image)}
    return {"metadata": {"name": "db"}, "spec": common | spec}


@pytest.fixture
def stage() -> Stage:
    return Stage([StatefulSets()])


def come_up(stage: Stage) -> None:
    for _ in range(12):
        stage.settle()
        stage.make_all_ready()
    stage.settle()


def test_pods_start_in_order_each_after_the_one_before_is_ready(stage: Stage) -> None:
    stage.put(STATEFULSETS, stateful(3))
    for count in (1, 2, 3):
        stage.settle()
        assert stage.names() == [f"db-{number}" for number in range(count)]
        stage.make_all_ready()
    stage.settle()
    pod = stage.get(PODS, "db-1")
    assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("db-1", "db")
    assert pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "1"
    assert stage.get(STATEFULSETS, "db")["status"]["readyReplicas"] == 3


def test_parallel_pods_start_at_once(stage: Stage) -> None:
    stage.put(STATEFULSETS, stateful(3, podManagementPolicy="Parallel"))
    stage.settle()
    assert len(stage.pods()) == 3


def test_scaling_down_takes_the_highest_ordinal_first(stage: Stage) -> None:
    stage.put(STATEFULSETS, stateful(3))
    come_up(stage)
    stage.slow_deletion = True
    stage.change(STATEFULSETS, "db", {"spec": {"replicas": 1}})
    stage.settle()
    assert [pod["metadata"]["name"] for pod in stage.pods() if pod["metadata"].get("deletionTimestamp")] == [
        "db-2"
    ]
    stage.delete(PODS, "db-2", grace=0)
    stage.settle()
    assert "deletionTimestamp" in stage.get(PODS, "db-1")["metadata"]
    assert "deletionTimestamp" not in stage.get(PODS, "db-0")["metadata"]


def test_an_update_goes_from_the_top_down_to_the_partition(stage: Stage) -> None:
    stage.put(STATEFULSETS, stateful(3))
    come_up(stage)
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    stage.change(STATEFULSETS, "db", {"spec": stateful(3, "nginx:2", updateStrategy=rolling)["spec"]})
    stage.settle()
    assert [image_of(stage.get(PODS, f"db-{number}")) for number in (0, 1)] == ["nginx:1", "nginx:1"]
    come_up(stage)
    assert [image_of(stage.get(PODS, name)) for name in stage.names()] == ["nginx:1", "nginx:2", "nginx:2"]
    stage.delete(PODS, "db-0")
    come_up(stage)
    assert image_of(stage.get(PODS, "db-0")) == "nginx:1"  # below the partition the old version comes back
    rolling["rollingUpdate"] = {"partition": 0}
    stage.change(STATEFULSETS, "db", {"spec": {"updateStrategy": rolling}})
    come_up(stage)
    status = stage.get(STATEFULSETS, "db")["status"]
    assert status["currentRevision"] == status["updateRevision"]
    assert image_of(stage.get(PODS, "db-0")) == "nginx:2"


def test_each_pod_has_its_claim_which_outlives_it(stage: Stage) -> None:
    stage.put(STATEFULSETS, stateful(2, volumeClaimTemplates=[CLAIM]))
    come_up(stage)
    assert sorted(claim["metadata"]["name"] for claim in stage.caches[PERSISTENTVOLUMECLAIMS]) == [
        "data-db-0",
        "data-db-1",
    ]
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-1"}}
    assert stage.get(PODS, "db-1")["spec"]["volumes"] == [volume]
    stage.change(STATEFULSETS, "db", {"spec": {"replicas": 1}})
    stage.settle()
    assert not stage.get(PERSISTENTVOLUMECLAIMS, "data-db-1")["metadata"].get("ownerReferences")


def test_a_claim_to_be_deleted_on_scaling_belongs_to_its_pod_before_that_goes(stage: Stage) -> None:
    policy = {"whenScaled": "Delete", "whenDeleted": "Retain"}
    stage.put(STATEFULSETS, stateful(2, volumeClaimTemplates=[CLAIM], persistentVolumeClaimRetentionPolicy=policy))
    come_up(stage)
    uid = stage.get(PODS, "db-1")["metadata"]["uid"]
    stage.change(STATEFULSETS, "db", {"spec": {"replicas": 1}})
    stage.settle()
    (owner,) = stage.get(PERSISTENTVOLUMECLAIMS, "data-db-1")["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("Pod", uid)
    assert stage.names() == ["db-0"]


def test_a_failed_pod_is_made_again_under_its_name(stage: Stage) -> None:
    stage.put(STATEFULSETS, stateful(1))
    come_up(stage)
    old = stage.get(PODS, "db-0")
    stage.finish(old, "Failed", 1)
    stage.settle()
    assert stage.get(PODS, "db-0")["metadata"]["uid"] != old["metadata"]["uid"]
    assert "StatefulSet default/db is recreating failed Pod db-0" in stage.events


def images(stage: Stage) -> list[str]:
    return [image_of(pod) for pod in sorted(stage.pods(), key=lambda pod: str(pod["metadata"]["name"]))]


def roll(stage: Stage, image: str, **rolling: Any) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    stage.change(STATEFULSETS, "db", {"spec": {"template": template(image), "updateStrategy": strategy}})
    stage.settle()


@pytest.mark.parametrize(("limit", "gone"), [(2, 2), ("50%", 2), ("10%", 1)])
def test_so_many_pods_may_be_unavailable_while_a_rollout_goes_on(
    stage: Stage, limit: int | str, gone: int
) -> None:
    stage.put(STATEFULSETS, stateful(4, podManagementPolicy="Parallel"))
    come_up(stage)
    stage.slow_deletion = True
    roll(stage, "nginx:2", maxUnavailable=limit)
    going = [name for name in stage.names() if stage.get(PODS, name)["metadata"].get("deletionTimestamp")]
    assert going == [f"db-{number}" for number in range(4 - gone, 4)]


def test_a_rollout_that_broke_goes_on_with_the_broken_pods_when_the_template_is_mended(stage: Stage) -> None:
    stage.put(STATEFULSETS, stateful(3, podManagementPolicy="Parallel"))
    come_up(stage)
    roll(stage, "broken:1")
    assert images(stage) == ["nginx:1", "nginx:1", "broken:1"]  # and there it stays, for it is never ready
    roll(stage, "nginx:2")
    assert images(stage) == ["nginx:1", "nginx:1", "nginx:2"]
    come_up(stage)
    assert images(stage) == ["nginx:2"] * 3


def test_with_on_delete_only_pods_that_people_delete_are_replaced(stage: Stage) -> None:
    stage.put(STATEFULSETS, stateful(2, updateStrategy={"type": "OnDelete"}))
    come_up(stage)
    stage.change(STATEFULSETS, "db", {"spec": {"template": template("nginx:2")}})
    come_up(stage)
    assert images(stage) == ["nginx:1", "nginx:1"]
    stage.delete(PODS, "db-0")
    come_up(stage)
    assert images(stage) == ["nginx:2", "nginx:1"]


def test_ordinals_may_start_elsewhere_and_move(stage: Stage) -> None:
    stage.put(STATEFULSETS, stateful(2, ordinals={"start": 5}))
    come_up(stage)
    assert stage.names() == ["db-5", "db-6"]
    stage.change(STATEFULSETS, "db", {"spec": {"ordinals": {"start": 6}}})
    come_up(stage)
    assert stage.names() == ["db-6", "db-7"]


def test_a_pod_counts_as_available_only_after_its_time_and_the_next_one_waits_for_that(stage: Stage) -> None:
    stage.put(STATEFULSETS, stateful(2, minReadySeconds=10))
    stage.settle()
    stage.make_all_ready()
    stage.wait(9)
    status = stage.get(STATEFULSETS, "db")["status"]
    assert (status["readyReplicas"], status["availableReplicas"], stage.names()) == (1, 0, ["db-0"])
    stage.wait(1)
    assert stage.names() == ["db-0", "db-1"]


def test_an_earlier_template_is_an_earlier_revision_made_new(stage: Stage) -> None:
    stage.put(STATEFULSETS, stateful(1))
    come_up(stage)
    first = stage.get(STATEFULSETS, "db")["status"]["currentRevision"]
    for image in ("nginx:2", "nginx:1"):
        stage.change(STATEFULSETS, "db", {"spec": {"template": template(image)}})
        come_up(stage)
    assert stage.get(STATEFULSETS, "db")["status"]["currentRevision"] == first
    assert stage.get(CONTROLLERREVISIONS, first)["revision"] == 3
