"""ReplicaSets and ReplicationControllers on a stage: how many pods there are, and whose."""

from typing import Any

import pytest
from tests.cluster.controllers.stage import Stage, template

from weft.adapters.kube.client import ApiError, Json
from weft.adapters.kube.kinds import PODS, REPLICASETS, REPLICATIONCONTROLLERS
from weft.cluster.controllers.replicasets import ReplicaSets


def sized(replicas: int, selector: Json, **spec: Any) -> Json:
    return {
        "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": selector, "template": template(), **spec},
    }


@pytest.fixture
def stage() -> Stage:
    return Stage([ReplicaSets(), ReplicaSets(REPLICATIONCONTROLLERS)])


def test_a_replication_controller_keeps_its_pods_by_bare_labels(stage: Stage) -> None:
    stage.put(REPLICATIONCONTROLLERS, sized(3, {"app": "web"}))
    stage.settle()
    stage.make_all_ready()
    stage.delete(PODS, stage.names()[0])
    stage.settle()
    assert len(stage.pods()) == 3
    owner = stage.pods()[0]["metadata"]["ownerReferences"][0]
    assert (owner["apiVersion"], owner["kind"]) == ("v1", "ReplicationController")
    assert stage.get(REPLICATIONCONTROLLERS, "web")["status"]["readyReplicas"] == 2
    stage.change(REPLICATIONCONTROLLERS, "web", {"spec": {"replicas": 1}})
    stage.settle()
    assert len(stage.pods()) == 1


def test_a_pod_whose_label_is_taken_away_is_let_go_and_replaced(stage: Stage) -> None:
    stage.put(REPLICASETS, sized(2, {"matchLabels": {"app": "web"}}))
    stage.settle()
    (suspect, _) = stage.names()
    stage.change(PODS, suspect, {"metadata": {"labels": {"app": "suspect"}}})
    stage.settle()
    assert not stage.get(PODS, suspect)["metadata"].get("ownerReferences")
    assert len(stage.pods()) == 3


def test_of_pods_too_many_the_cheapest_to_delete_go_first(stage: Stage) -> None:
    stage.put(REPLICASETS, sized(3, {"matchLabels": {"app": "web"}}))
    stage.settle()
    stage.make_all_ready()
    cheap = stage.names()[1]
    cost = {"controller.kubernetes.io/pod-deletion-cost": "-5"}
    stage.change(PODS, cheap, {"metadata": {"annotations": cost}})
    stage.settle()
    stage.change(REPLICASETS, "web", {"spec": {"replicas": 2}})
    stage.settle()
    assert cheap not in stage.names()


def test_of_equal_pods_those_go_whose_nodes_have_most_of_them(stage: Stage) -> None:
    stage.put(REPLICASETS, sized(3, {"matchLabels": {"app": "web"}}))
    stage.settle()
    stage.make_all_ready()
    (first, second, third) = stage.names()
    for name, where in ((first, "alone"), (second, "shared"), (third, "shared")):
        stage.change(PODS, name, {"spec": {"nodeName": where}})
    stage.settle()
    stage.change(REPLICASETS, "web", {"spec": {"replicas": 2}})
    stage.settle()
    assert first in stage.names()


def test_a_refusal_that_names_another_pod_each_time_is_written_to_the_status_once(stage: Stage) -> None:
    stage.put(REPLICASETS, sized(1, {"matchLabels": {"app": "web"}}))
    controller, key = ReplicaSets(), ("default", "web")
    kinds = []
    for name in ("web-a", "web-b"):
        error = ApiError(403, "Forbidden", f'pods "{name}" is forbidden: exceeded quota')
        plan = controller.refused(key, error, stage.world)
        kinds.append([type(change).__name__ for change in plan.changes])
        stage.perform(plan)
    assert kinds == [["Tell", "Patch"], ["Tell"]]
    assert stage.events[-1] == 'Error creating: pods "web-b" is forbidden: exceeded quota'
