"""DaemonSets on a stage: a pod for each node that takes it, and how one version follows another."""

from typing import Any

import pytest
from tests.cluster.controllers.stage import Stage, image_of, node, template

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import CONTROLLERREVISIONS, DAEMONSETS, NODES, PODS
from weft.cluster.controllers.daemonsets import DaemonSets
from weft.cluster.controllers.scheduler import Scheduler


def daemon(image: str = "nginx:1", pod: Json | None = None, **spec: Any) -> Json:
    selector = {"matchLabels": {"app": "web"}}
    return {
        "metadata": {"name": "agent"},
        "spec": {"selector": selector, "template": template(image, **(pod or {}))} | spec,
    }


@pytest.fixture
def stage() -> Stage:
    stage = Stage([DaemonSets(), Scheduler()])
    for name in ("a", "b", "c"):
        stage.put(NODES, node(name))
    return stage


def begin(stage: Stage, obj: Json) -> None:
    stage.put(DAEMONSETS, obj)
    stage.settle()
    stage.make_all_ready()
    stage.settle()


def nodes_of(stage: Stage) -> list[str]:
    return sorted(pod["spec"]["nodeName"] for pod in stage.pods())


def test_every_node_gets_one_pod_also_one_that_joins_later(stage: Stage) -> None:
    begin(stage, daemon())
    assert nodes_of(stage) == ["a", "b", "c"]
    stage.put(NODES, node("d"))
    stage.settle()
    assert nodes_of(stage) == ["a", "b", "c", "d"]
    assert stage.get(DAEMONSETS, "agent")["status"]["desiredNumberScheduled"] == 4


def test_a_cordoned_node_keeps_its_daemon_and_a_tainted_one_gets_none(stage: Stage) -> None:
    stage.put(NODES, node("a", unschedulable=True))
    stage.put(NODES, node("b", taints=[{"key": "gpu", "effect": "NoSchedule"}]))
    begin(stage, daemon())
    assert nodes_of(stage) == ["a", "c"]


def test_a_rolling_update_takes_one_node_at_a_time(stage: Stage) -> None:
    begin(stage, daemon())
    stage.change(DAEMONSETS, "agent", {"spec": daemon("nginx:2")["spec"]})
    for step in range(1, 4):
        stage.settle()
        assert [image_of(pod) for pod in stage.pods()].count("nginx:2") == step
        stage.make_all_ready()
    stage.settle()
    status = stage.get(DAEMONSETS, "agent")["status"]
    assert status["updatedNumberScheduled"] == status["numberAvailable"] == 3
    assert sorted(entry["revision"] for entry in stage.caches[CONTROLLERREVISIONS]) == [1, 2]


def test_with_surge_the_new_pod_is_ready_before_the_old_one_goes(stage: Stage) -> None:
    surge = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    begin(stage, daemon(updateStrategy=surge))
    stage.change(DAEMONSETS, "agent", {"spec": {"template": template("nginx:2")}})
    stage.settle()
    assert sorted(map(image_of, stage.pods())) == ["nginx:1"] * 3 + ["nginx:2"]
    for _ in range(6):
        stage.make_all_ready()
        stage.settle()
    assert sorted(map(image_of, stage.pods())) == ["nginx:2"] * 3


def test_on_delete_waits_for_people_to_delete_pods(stage: Stage) -> None:
    begin(stage, daemon(updateStrategy={"type": "OnDelete"}))
    stage.change(DAEMONSETS, "agent", {"spec": {"template": template("nginx:2")}})
    stage.settle()
    assert {image_of(pod) for pod in stage.pods()} == {"nginx:1"}
    stage.delete(PODS, stage.names()[0])
    stage.settle()
    assert sorted(map(image_of, stage.pods())) == ["nginx:1", "nginx:1", "nginx:2"]


def test_going_back_to_an_old_template_raises_its_revision_again(stage: Stage) -> None:
    begin(stage, daemon())
    for image in ("nginx:2", "nginx:1"):
        stage.change(DAEMONSETS, "agent", {"spec": {"template": template(image)}})
        for _ in range(4):
            stage.settle()
            stage.make_all_ready()
    found = {
        entry["revision"]: entry["data"]["spec"]["template"]["spec"]["containers"][0]["image"]
        for entry in stage.caches[CONTROLLERREVISIONS]
    }
    assert found == {2: "nginx:2", 3: "nginx:1"}


def test_a_node_selector_that_no_longer_fits_takes_the_pod_away(stage: Stage) -> None:
    stage.put(NODES, node("a", labels={"disk": "ssd"}))
    begin(stage, daemon(pod={"nodeSelector": {"disk": "ssd"}}))
    assert nodes_of(stage) == ["a"]
    stage.put(NODES, node("a"))
    stage.settle()
    assert nodes_of(stage) == []
