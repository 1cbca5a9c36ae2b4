"""Disruption budgets on a stage: what their status says, and whom preemption spares for them."""

from typing import Any

import pytest
from tests.cluster.controllers.stage import Stage, node, template

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import CRDS, DEPLOYMENTS, NODES, PODDISRUPTIONBUDGETS, PODS, Kind
from weft.cluster.controllers.cache import Cache
from weft.cluster.controllers.deployments import Deployments
from weft.cluster.controllers.disruptions import Disruptions
from weft.cluster.controllers.objects import condition, owner_reference
from weft.cluster.controllers.replicasets import ReplicaSets
from weft.cluster.controllers.scheduler import Scheduler

NUMBERS = ("currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods")
RINGS = Kind("example.org", "v1", "Ring", "rings")


def budget(**spec: Any) -> Json:
    return {"metadata": {"name": "keep"}, "spec": {"selector": {"matchLabels": {"app": "web"}}, **spec}}


def deployment(replicas: int, image: str = "nginx:1") -> Json:
    selector = {"matchLabels": {"app": "web"}}
    return {
        "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": selector, "template": template(image)},
    }


@pytest.fixture
def stage() -> Stage:
    return Stage([Deployments(), ReplicaSets(), Disruptions()])


def status(stage: Stage) -> tuple[int, ...]:
    found = stage.get(PODDISRUPTIONBUDGETS, "keep")["status"]
    return tuple(found[name] for name in NUMBERS)


def test_a_budget_counts_healthy_pods_and_allows_what_is_above_its_least(stage: Stage) -> None:
    stage.put(PODDISRUPTIONBUDGETS, budget(minAvailable=2))
    stage.put(DEPLOYMENTS, deployment(3))
    stage.settle()
    assert status(stage) == (0, 2, 0, 3)
    stage.make_all_ready()
    stage.settle()
    assert status(stage) == (3, 2, 1, 3)
    held = condition(stage.get(PODDISRUPTIONBUDGETS, "keep"), "DisruptionAllowed")
    assert (held["status"], held["reason"], held["observedGeneration"]) == ("True", "SufficientPods", 1)


def test_a_percentage_is_of_what_the_deployment_wants_even_while_it_rolls(stage: Stage) -> None:
    stage.put(PODDISRUPTIONBUDGETS, budget(minAvailable="50%"))
    stage.put(DEPLOYMENTS, deployment(5))
    stage.settle()
    stage.make_all_ready()
    stage.settle()
    assert status(stage) == (5, 3, 2, 5)
    stage.change(DEPLOYMENTS, "web", {"spec": {"template": template("nginx:2")}})
    stage.settle()
    assert status(stage)[3] == 5
    stage.change(PODDISRUPTIONBUDGETS, "keep", {"spec": {"minAvailable": None, "maxUnavailable": "30%"}})
    stage.settle()
    assert status(stage)[1] == 3  # 30% of five, rounded up, are two


def test_pods_without_a_controller_are_not_expected_and_an_event_says_what_to_do(stage: Stage) -> None:
    stage.put(PODS, {"metadata": {"name": "alone", "labels": {"app": "web"}}, "spec": {"containers": []}})
    stage.put(PODDISRUPTIONBUDGETS, budget(maxUnavailable=1))
    stage.settle()
    assert status(stage)[3] == 0
    assert any('set ".spec.minAvailable" field of the PDB to an integer value' in text for text in stage.events)


@pytest.mark.parametrize("scales", [True, False])
def test_pods_of_a_custom_kind_count_by_its_scale(stage: Stage, scales: bool) -> None:  # noqa: FBT001, a parameter
    subresources = {"scale": {"specReplicasPath": ".spec.size"}} if scales else {}
    version = {"name": "v1", "served": True, "storage": True, "subresources": subresources}
    stage.put(CRDS, {"metadata": {"name": "rings.example.org"}, "spec": {"versions": [version]}})
    stage.caches[RINGS] = Cache(RINGS, stage._changed)
    ring = stage.put(RINGS, {"metadata": {"name": "one"}, "spec": {"size": 4}})
    owned = {"name": "r", "labels": {"app": "web"}, "ownerReferences": [owner_reference(RINGS, ring)]}
    stage.put(PODS, {"metadata": owned, "spec": {"containers": []}})
    stage.put(PODDISRUPTIONBUDGETS, budget(maxUnavailable=1))
    stage.settle()
    if scales:
        assert status(stage) == (0, 3, 0, 4)
    else:
        held = condition(stage.get(PODDISRUPTIONBUDGETS, "keep"), "DisruptionAllowed")
        assert (held["reason"], held["message"]) == (
            "SyncFailed",
            "rings.example.org does not implement the scale subresource",
        )


def asking(name: str, priority: int, **meta: Any) -> Json:
    container = {"name": "c", "resources": {"requests": {"cpu": "2"}}}
    return {"metadata": {"name": name, **meta}, "spec": {"priority": priority, "containers": [container]}}


def test_preemption_takes_pods_whose_budget_allows_it_before_less_important_ones() -> None:
    stage = Stage([Scheduler()])
    for name in ("a", "b"):
        stage.put(NODES, node(name))
    held = asking("guarded", 0, labels={"app": "web"})
    stage.put(PODS, held | {"spec": held["spec"] | {"nodeName": "a"}})
    free = asking("free", 5)
    stage.put(PODS, free | {"spec": free["spec"] | {"nodeName": "b"}})
    stage.put(PODDISRUPTIONBUDGETS, budget(minAvailable=1) | {"status": {"disruptionsAllowed": 0}})
    stage.slow_deletion = True
    stage.put(PODS, asking("vip", 10))
    stage.settle()
    assert "deletionTimestamp" not in stage.get(PODS, "guarded")["metadata"]
    victim = stage.get(PODS, "free")
    assert victim["metadata"]["deletionTimestamp"]
    assert condition(victim, "DisruptionTarget")["reason"] == "PreemptionByScheduler"
    assert stage.get(PODS, "vip")["status"]["nominatedNodeName"] == "b"


def test_the_room_that_was_made_for_a_pod_is_not_taken_by_a_lesser_one() -> None:
    stage = Stage([Scheduler()])
    stage.put(NODES, node("a"))
    low = asking("low", 0)
    stage.put(PODS, low | {"spec": low["spec"] | {"nodeName": "a"}})
    stage.slow_deletion = True
    stage.put(PODS, asking("vip", 10))
    stage.put(PODS, asking("quick", 5))
    stage.settle()
    stage.delete(PODS, "low", grace=0)
    stage.settle()
    assert stage.get(PODS, "vip")["spec"]["nodeName"] == "a"
    assert "nominatedNodeName" not in stage.get(PODS, "vip")["status"]
    assert not stage.get(PODS, "quick")["spec"].get("nodeName")


def test_room_is_not_kept_for_a_pod_that_cannot_come_any_more() -> None:
    stage = Stage([Scheduler()])
    stage.put(NODES, node("a"))
    low = asking("low", 0)
    stage.put(PODS, low | {"spec": low["spec"] | {"nodeName": "a"}})
    stage.slow_deletion = True
    stage.put(PODS, asking("vip", 10))
    quick = asking("quick", 5)
    quick["spec"]["tolerations"] = [{"operator": "Exists"}]
    stage.put(PODS, quick)
    stage.settle()
    assert stage.get(PODS, "vip")["status"]["nominatedNodeName"] == "a"
    stage.change(NODES, "a", {"spec": {"taints": [{"key": "closed", "effect": "NoSchedule"}]}})
    stage.delete(PODS, "low", grace=0)
    stage.settle()
    assert not stage.get(PODS, "vip")["status"].get("nominatedNodeName")
    assert stage.get(PODS, "quick")["spec"].get("nodeName") == "a"
