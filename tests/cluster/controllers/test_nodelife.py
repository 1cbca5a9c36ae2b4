"""Nodes on a stage: silence, taints, eviction, return and removal."""

from datetime import timedelta

import pytest
from tests.cluster.controllers.stage import START, Stage, node

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import LEASES, NODES, PODS
from weft.cluster.controllers.changes import Patch
from weft.cluster.controllers.evictions import PodCollector, TaintEvictions
from weft.cluster.controllers.nodelife import NodeLife
from weft.cluster.controllers.objects import condition, is_ready


def beat(stage: Stage, name: str = "a") -> None:
    renewed = {"renewTime": stage.now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
    stage.put(LEASES, {"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": renewed})
    stage.settle()


def pod(name: str, **spec: object) -> Json:
    return {"metadata": {"name": name}, "spec": {"nodeName": "a", "containers": [], **spec}}


def come_up(stage: Stage, obj: Json) -> None:
    kinds = ("ContainersReady", "Ready")
    entries = [{"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"} for kind in kinds]
    stage.put(PODS, obj | {"status": {"phase": "Running", "conditions": entries}})


def tolerating(seconds: int) -> list[Json]:
    key = "node.kubernetes.io/unreachable"
    return [{"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}]


@pytest.fixture
def stage() -> Stage:
    stage = Stage([NodeLife(START), TaintEvictions(), PodCollector()])
    stage.put(NODES, node("a"))
    beat(stage)
    return stage


def test_a_node_silent_for_forty_seconds_is_unknown_tainted_and_its_pods_not_ready(stage: Stage) -> None:
    come_up(stage, pod("p", tolerations=tolerating(300)))
    stage.wait(39)
    assert condition(stage.get(NODES, "a"), "Ready")["status"] == "True"
    stage.wait(1)
    held = stage.get(NODES, "a")
    assert condition(held, "Ready")["reason"] == "NodeStatusUnknown"
    assert [(taint["key"], taint["effect"]) for taint in held["spec"]["taints"]] == [
        ("node.kubernetes.io/unreachable", "NoSchedule"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
    ]
    assert not is_ready(stage.get(PODS, "p"))
    assert "Node a status is now: NodeNotReady" in stage.events


def test_pods_leave_a_silent_node_when_what_they_tolerate_is_over(stage: Stage) -> None:
    come_up(stage, pod("short", tolerations=tolerating(10)))
    come_up(stage, pod("long", tolerations=tolerating(300)))
    come_up(stage, pod("never", tolerations=[{"operator": "Exists"}]))
    come_up(stage, pod("at-once"))
    stage.wait(40)
    assert stage.names() == ["long", "never", "short"]
    stage.wait(10)
    assert stage.names() == ["long", "never"]
    stage.wait(290)
    assert stage.names() == ["never"]


def test_a_node_that_is_back_loses_its_taints_and_its_pods_are_ready_again(stage: Stage) -> None:
    come_up(stage, pod("p", tolerations=tolerating(300)))
    stage.wait(60)
    beat(stage)
    stage.put(NODES, stage.get(NODES, "a") | {"status": node("a")["status"]})
    stage.settle()
    assert not stage.get(NODES, "a")["spec"].get("taints")
    assert is_ready(stage.get(PODS, "p"))
    assert stage.events.count("Cancelling deletion of Pod default/p") == 1
    stage.wait(39)
    assert stage.names() == ["p"]


def test_a_node_that_comes_and_goes_is_told_once_each(stage: Stage) -> None:
    stage.wait(30)
    beat(stage)
    stage.delete(NODES, "a")
    stage.wait(60)
    told = [message for message in stage.events if message.startswith("Node a event: ")]
    assert told == [
        "Node a event: Registered Node a in Controller",
        "Node a event: Removing Node a from Controller",
    ]


def test_after_a_restart_nodes_have_their_time_to_report(stage: Stage) -> None:
    stage.now = START + timedelta(hours=1)
    late = NodeLife(stage.now)
    assert not any(isinstance(change, Patch) for change in late.plan(("", "a"), stage.world).changes)


def test_a_cordoned_node_bears_the_taint_that_says_so(stage: Stage) -> None:
    stage.change(NODES, "a", {"spec": {"unschedulable": True}})
    stage.settle()
    assert [taint["key"] for taint in stage.get(NODES, "a")["spec"]["taints"]] == [
        "node.kubernetes.io/unschedulable"
    ]


def test_other_peoples_taints_stay(stage: Stage) -> None:
    mine = {"key": "gpu", "effect": "NoSchedule"}
    stage.change(NODES, "a", {"spec": {"taints": [mine]}})
    stage.wait(41)
    assert mine in stage.get(NODES, "a")["spec"]["taints"]


def test_pods_of_a_node_that_was_removed_go_after_a_while(stage: Stage) -> None:
    come_up(stage, pod("p"))
    stage.delete(NODES, "a")
    stage.wait(39)
    assert condition(stage.get(PODS, "p"), "DisruptionTarget")["reason"] == "DeletionByPodGC"
    stage.wait(1)
    assert not stage.names()


def test_pods_of_a_node_that_is_said_to_be_out_of_service_go_without_its_kubelet(stage: Stage) -> None:
    stage.slow_deletion = True
    come_up(stage, pod("p", tolerations=tolerating(300)))
    stage.wait(40)
    taints = stage.get(NODES, "a")["spec"]["taints"]
    out = {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}
    stage.change(NODES, "a", {"spec": {"taints": [*taints, out]}})
    stage.settle()
    assert not stage.names()


def test_of_too_many_finished_pods_the_oldest_go() -> None:
    stage = Stage([PodCollector(many=2)])
    stage.put(NODES, node("a"))
    for name in ("first", "second", "third"):
        stage.now += timedelta(seconds=1)
        stage.put(PODS, pod(name) | {"status": {"phase": "Succeeded"}})
    stage.settle()
    assert stage.names() == ["second", "third"]
