"""Deployments and ReplicaSets, played against a small model of the API: what is created, scaled and told."""

from typing import Any

import pytest
from tests.cluster.controllers.stage import Stage, merged

from weft.adapters.kube.client import ApiError, Json
from weft.adapters.kube.kinds import DEPLOYMENTS, PODS, REPLICASETS
from weft.cluster.controllers.changes import Patch
from weft.cluster.controllers.deployments import Deployments
from weft.cluster.controllers.loop import delay
from weft.cluster.controllers.objects import condition, is_ready, key_of
from weft.cluster.controllers.replicasets import ReplicaSets


def deployment(replicas: int, image: str = "nginx:1", **spec: Any) -> Json:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": image}]}}
    selector = {"matchLabels": {"app": "web"}}
    return {
        "metadata": {"name": "web", "uid": "web-uid"},
        "spec": {"replicas": replicas, "selector": selector, "template": template} | spec,
    }


@pytest.fixture
def stage() -> Stage:
    return Stage([Deployments(), ReplicaSets()])


def test_a_deployment_gets_its_pods_through_a_replicaset_named_by_its_template(stage: Stage) -> None:
    stage.put(DEPLOYMENTS, deployment(3))
    stage.settle()
    (replicaset,) = stage.caches[REPLICASETS]
    suffix = replicaset["metadata"]["labels"]["pod-template-hash"]
    assert replicaset["metadata"]["name"] == f"web-{suffix}"
    assert replicaset["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    assert len(stage.pods()) == 3
    assert all(pod["metadata"]["labels"] == {"app": "web", "pod-template-hash": suffix} for pod in stage.pods())


def test_status_tells_availability_only_once_pods_are_ready(stage: Stage) -> None:
    stage.put(DEPLOYMENTS, deployment(2))
    stage.settle()
    (held,) = stage.caches[DEPLOYMENTS]
    assert condition(held, "Available")["status"] == "False"
    assert held["status"]["unavailableReplicas"] == 2
    for pod in stage.pods():
        stage.make_ready(pod)
    stage.settle()
    (held,) = stage.caches[DEPLOYMENTS]
    assert condition(held, "Available")["status"] == "True"
    assert condition(held, "Progressing")["reason"] == "NewReplicaSetAvailable"
    assert held["status"]["availableReplicas"] == held["status"]["updatedReplicas"] == 2
    assert "unavailableReplicas" not in held["status"]


def test_a_rollout_keeps_within_surge_and_unavailability_all_the_way(stage: Stage) -> None:
    stage.put(DEPLOYMENTS, deployment(4))
    stage.settle()
    for pod in stage.pods():
        stage.make_ready(pod)
    stage.settle()
    stage.put(DEPLOYMENTS, merged(next(iter(stage.caches[DEPLOYMENTS])), deployment(4, "nginx:2")))
    for _ in range(20):
        stage.settle()
        assert len(stage.pods()) <= 5
        assert sum(map(is_ready, stage.pods())) >= 3
        unready = [pod for pod in stage.pods() if not is_ready(pod)]
        if not unready:
            break
        stage.make_ready(unready[0])
    assert {pod["spec"]["containers"][0]["image"] for pod in stage.pods()} == {"nginx:2"}
    assert len(stage.pods()) == 4
    (held,) = stage.caches[DEPLOYMENTS]
    assert held["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"


def test_a_broken_new_version_never_takes_the_old_one_down(stage: Stage) -> None:
    stage.put(DEPLOYMENTS, deployment(4))
    stage.settle()
    for pod in stage.pods():
        stage.make_ready(pod)
    stage.settle()
    stage.put(DEPLOYMENTS, merged(next(iter(stage.caches[DEPLOYMENTS])), deployment(4, "broken:1")))
    stage.settle()
    assert sum(map(is_ready, stage.pods())) == 3
    stage.wait(700)
    (held,) = stage.caches[DEPLOYMENTS]
    assert condition(held, "Progressing")["reason"] == "ProgressDeadlineExceeded"


def test_going_back_to_an_old_template_reuses_its_replicaset_under_a_new_revision(stage: Stage) -> None:
    stage.put(DEPLOYMENTS, deployment(1))
    stage.settle()
    for image in ("nginx:2", "nginx:1"):
        stage.put(DEPLOYMENTS, merged(next(iter(stage.caches[DEPLOYMENTS])), deployment(1, image)))
        stage.settle()
        for pod in stage.pods():
            stage.make_ready(pod)
        stage.settle()
    revisions = {rs["spec"]["template"]["spec"]["containers"][0]["image"]: rs for rs in stage.caches[REPLICASETS]}
    assert len(revisions) == 2
    assert revisions["nginx:1"]["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
    assert revisions["nginx:2"]["spec"]["replicas"] == 0


def test_recreate_takes_every_old_pod_down_before_the_first_new_one(stage: Stage) -> None:
    stage.put(DEPLOYMENTS, deployment(2, strategy={"type": "Recreate"}))
    stage.settle()
    held = next(iter(stage.caches[DEPLOYMENTS]))
    stage.put(DEPLOYMENTS, merged(held, deployment(2, "nginx:2")))
    stage.perform(Deployments().plan(("default", "web"), stage.world))
    assert [rs["spec"]["replicas"] for rs in stage.caches[REPLICASETS]] == [0]
    stage.settle()
    assert {pod["spec"]["containers"][0]["image"] for pod in stage.pods()} == {"nginx:2"}


def test_scaling_down_deletes_pods_that_serve_nobody_first(stage: Stage) -> None:
    stage.put(DEPLOYMENTS, deployment(3))
    stage.settle()
    kept, *_ = stage.pods()
    stage.make_ready(kept)
    stage.put(DEPLOYMENTS, merged(next(iter(stage.caches[DEPLOYMENTS])), {"spec": {"replicas": 1}}))
    stage.settle()
    assert [pod["metadata"]["name"] for pod in stage.pods()] == [kept["metadata"]["name"]]
    assert any(event.startswith("Scaled down replica set web-") for event in stage.events)


def test_a_pod_without_owner_is_adopted_instead_of_a_new_one_created(stage: Stage) -> None:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}
    replicaset = {"spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template}}
    stage.put(REPLICASETS, {"metadata": {"name": "web"}} | replicaset)
    stage.put(PODS, {"metadata": {"name": "stray", "labels": {"app": "web"}}, "spec": {"containers": []}})
    stage.settle()
    assert [pod["metadata"]["name"] for pod in stage.pods()] == ["stray"]
    assert stage.pods()[0]["metadata"]["ownerReferences"][0]["name"] == "web"


def begin(stage: Stage, size: int, **spec: Any) -> None:
    stage.put(DEPLOYMENTS, deployment(size, **spec))
    stage.settle()
    stage.make_all_ready()
    stage.settle()


def test_scaling_in_mid_rollout_divides_the_new_size_among_old_and_new(stage: Stage) -> None:
    begin(stage, 10)
    stage.change(DEPLOYMENTS, "web", {"spec": deployment(10, "broken:1")["spec"]})
    stage.settle()
    before = {image: rs["spec"]["replicas"] for rs in stage.caches[REPLICASETS] if (image := image_of(rs))}
    assert before == {"nginx:1": 8, "broken:1": 5}
    stage.change(DEPLOYMENTS, "web", {"spec": {"replicas": 20}})
    stage.settle()
    assert {image_of(rs): rs["spec"]["replicas"] for rs in stage.caches[REPLICASETS]} == {
        "nginx:1": 15,
        "broken:1": 10,
    }


def image_of(replicaset: Json) -> str:
    return str(replicaset["spec"]["template"]["spec"]["containers"][0]["image"])


def test_a_paused_deployment_scales_but_does_not_roll(stage: Stage) -> None:
    begin(stage, 2)
    paused = deployment(4, "nginx:2", paused=True)["spec"]
    stage.change(DEPLOYMENTS, "web", {"spec": paused})
    stage.settle()
    assert len(stage.pods()) == 4
    assert {pod["spec"]["containers"][0]["image"] for pod in stage.pods()} == {"nginx:1"}
    assert condition(stage.get(DEPLOYMENTS, "web"), "Progressing")["reason"] == "DeploymentPaused"
    stage.change(DEPLOYMENTS, "web", {"spec": {"paused": None}})
    stage.settle()
    assert "nginx:2" in {pod["spec"]["containers"][0]["image"] for pod in stage.pods()}


def test_a_change_cause_written_later_reaches_the_current_replicaset(stage: Stage) -> None:
    begin(stage, 1)
    stage.change(DEPLOYMENTS, "web", {"metadata": {"annotations": {"kubernetes.io/change-cause": "a fix"}}})
    stage.settle()
    (replicaset,) = stage.caches[REPLICASETS]
    assert replicaset["metadata"]["annotations"]["kubernetes.io/change-cause"] == "a fix"


def test_a_deployment_that_is_made_again_takes_its_orphaned_replicasets_over(stage: Stage) -> None:
    begin(stage, 2)
    before = stage.names()
    stage.caches[DEPLOYMENTS]._remove(stage.get(DEPLOYMENTS, "web"))
    (replicaset,) = stage.caches[REPLICASETS]
    stage.change(REPLICASETS, replicaset["metadata"]["name"], {"metadata": {"ownerReferences": None}})
    stage.put(DEPLOYMENTS, deployment(2) | {"metadata": {"name": "web", "uid": "another"}})
    stage.settle()
    (adopted,) = stage.caches[REPLICASETS]
    assert adopted["metadata"]["ownerReferences"][0]["uid"] == "another"
    assert stage.names() == before


def progress(stage: Stage) -> tuple[str, str]:
    held = condition(stage.get(DEPLOYMENTS, "web"), "Progressing")
    return held["status"], held["reason"]


def test_a_rollout_that_does_not_move_is_given_up_at_its_deadline_and_forgiven_when_it_does(stage: Stage) -> None:
    begin(stage, 2)
    stage.change(DEPLOYMENTS, "web", {"spec": deployment(2, "broken:1", progressDeadlineSeconds=30)["spec"]})
    stage.wait(29)
    assert progress(stage) == ("True", "ReplicaSetUpdated")
    stage.wait(2)
    assert progress(stage) == ("False", "ProgressDeadlineExceeded")
    message = condition(stage.get(DEPLOYMENTS, "web"), "Progressing")["message"]
    assert message.endswith("has timed out progressing.")
    for _ in range(4):
        stage.make_all_ready()
        stage.settle()
    assert progress(stage) == ("True", "NewReplicaSetAvailable")


def test_old_pods_stay_until_new_ones_have_been_ready_for_long_enough(stage: Stage) -> None:
    begin(stage, 1)
    stage.change(DEPLOYMENTS, "web", {"spec": deployment(1, "nginx:2", minReadySeconds=20)["spec"]})
    stage.settle()
    stage.make_all_ready()
    stage.wait(19)
    assert len(stage.pods()) == 2
    stage.wait(1)
    assert [pod["spec"]["containers"][0]["image"] for pod in stage.pods()] == ["nginx:2"]


def test_only_so_many_old_replicasets_are_kept(stage: Stage) -> None:
    begin(stage, 1)
    for number in range(2, 6):
        spec = deployment(1, f"nginx:{number}", revisionHistoryLimit=2)["spec"]
        stage.change(DEPLOYMENTS, "web", {"spec": spec})
        for _ in range(3):
            stage.settle()
            stage.make_all_ready()
        stage.settle()
    assert sorted(image_of(each) for each in stage.caches[REPLICASETS]) == ["nginx:3", "nginx:4", "nginx:5"]


def test_pods_that_are_still_stopping_are_counted(stage: Stage) -> None:
    begin(stage, 3)
    stage.slow_deletion = True
    stage.change(DEPLOYMENTS, "web", {"spec": {"replicas": 1}})
    stage.settle()
    assert stage.get(DEPLOYMENTS, "web")["status"]["terminatingReplicas"] == 2


def test_a_refusal_that_names_another_pod_each_time_is_written_into_the_status_once(stage: Stage) -> None:
    stage.put(DEPLOYMENTS, deployment(1))
    stage.settle()
    (replicaset,) = stage.caches[REPLICASETS]
    controller, key = ReplicaSets(), key_of(replicaset)
    written = []
    for name in ("web-aaaaa", "web-bbbbb"):
        refusal = ApiError(403, "Forbidden", f'pods "{name}" is forbidden: error looking up service account')
        told = controller.refused(key, refusal, stage.world)
        written += [change for change in told.changes if isinstance(change, Patch)]
        stage.perform(told)
    assert len(written) == 1, "a new status each time would have the ReplicaSet looked at for ever"
    assert condition(stage.get(REPLICASETS, key[1]), "ReplicaFailure")["message"].startswith('pods "web-aaaaa"')
    assert sum("is forbidden" in event for event in stage.events) == 2


def test_what_fails_a_thousand_times_is_tried_again_after_half_a_minute() -> None:
    assert [delay(failures) for failures in (1, 2, 3)] == [0.1, 0.2, 0.4]
    assert {delay(failures) for failures in (10, 1000, 10_000)} == {30.0}
