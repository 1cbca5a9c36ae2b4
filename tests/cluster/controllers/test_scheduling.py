"""The scheduler on a stage: what keeps pods from nodes, what draws them there, and how they make room."""

from typing import Any

import pytest
from tests.cluster.controllers.stage import Stage, node

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import NAMESPACES, NODES, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS
from weft.cluster.controllers.objects import condition
from weft.cluster.controllers.scheduler import Scheduler

HELPLESS = "Preemption is not helpful for scheduling"


def pod(name: str, labels: dict[str, str] | None = None, cpu: str = "100m", **spec: Any) -> Json:
    container: Json = {"name": "c", "resources": {"requests": {"cpu": cpu}}}
    ports = spec.pop("ports", None)
    if ports:
        container["ports"] = ports
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": {"containers": [container]} | spec}


@pytest.fixture
def stage() -> Stage:
    stage = Stage([Scheduler()])
    for name, zone in (("a", "east"), ("b", "west")):
        stage.put(NODES, node(name, labels={"zone": zone, "cores": "8" if name == "a" else "32"}))
    return stage


def place(stage: Stage, obj: Json) -> str:
    stage.put(PODS, obj)
    stage.settle()
    return str(stage.get(PODS, obj["metadata"]["name"])["spec"].get("nodeName", ""))


def why(stage: Stage, name: str) -> str:
    return str(condition(stage.get(PODS, name), "PodScheduled")["message"])


def node_affinity(**entry: Any) -> Json:
    terms = {"nodeSelectorTerms": [{"matchExpressions": [entry]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


def near(kind: str, *, key: str = "zone", hard: bool = True) -> Json:
    term = {"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": key}
    if hard:
        return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    return {kind: {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": term}]}}


@pytest.mark.parametrize(
    ("operator", "values", "expected"),
    [("Gt", ["16"], "b"), ("Lt", ["16"], "a"), ("NotIn", ["8"], "b"), ("DoesNotExist", [], "")],
)
def test_node_affinity_compares_labels(stage: Stage, operator: str, values: list[str], expected: str) -> None:
    affinity = node_affinity(key="cores", operator=operator, values=values)
    assert place(stage, pod("p", affinity=affinity)) == expected


def test_a_preferred_node_is_taken_although_another_is_emptier(stage: Stage) -> None:
    place(stage, pod("there", nodeName="b"))
    wish = {
        "weight": 50,
        "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["west"]}]},
    }
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [wish]}}
    assert place(stage, pod("p", affinity=affinity)) == "b"


def test_a_taint_that_only_discourages_is_avoided_while_there_is_another_node(stage: Stage) -> None:
    stage.change(NODES, "a", {"spec": {"taints": [{"key": "old", "effect": "PreferNoSchedule"}]}})
    assert place(stage, pod("p")) == "b"
    stage.change(NODES, "b", {"spec": {"unschedulable": True}})
    assert place(stage, pod("q")) == "a"


def test_affinity_draws_a_pod_to_others_and_anti_affinity_keeps_it_away(stage: Stage) -> None:
    assert place(stage, pod("db", {"app": "db"}, nodeSelector={"zone": "west"})) == "b"
    assert place(stage, pod("near", affinity=near("podAffinity"))) == "b"
    assert place(stage, pod("far", affinity=near("podAntiAffinity"))) == "a"
    assert place(stage, pod("softly-near", affinity=near("podAffinity", hard=False))) == "b"
    stage.change(NODES, "a", {"spec": {"unschedulable": True}})
    assert not place(stage, pod("nowhere", affinity=near("podAntiAffinity")))
    assert why(stage, "nowhere") == (
        "0/2 nodes are available: 1 node(s) didn't match pod anti-affinity rules, 1 node(s) were unschedulable. "
        f"preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 {HELPLESS}."
    )


def test_the_first_of_a_group_that_wants_to_be_together_starts_anywhere(stage: Stage) -> None:
    first = place(stage, pod("one", {"app": "db"}, affinity=near("podAffinity")))
    assert first
    assert place(stage, pod("two", {"app": "db"}, affinity=near("podAffinity"))) == first


def test_pods_already_there_may_refuse_new_ones(stage: Stage) -> None:
    hermit = pod("hermit", {"app": "db"}, affinity=near("podAntiAffinity", key="kubernetes.io/hostname"))
    assert place(stage, hermit | {"spec": hermit["spec"] | {"nodeSelector": {"zone": "east"}}}) == "a"
    assert place(stage, pod("p", {"app": "db"})) == "b"


def test_spread_constraints_keep_zones_within_the_skew(stage: Stage) -> None:
    rule = {
        "maxSkew": 1,
        "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }
    found = [
        place(stage, pod(f"p{number}", {"app": "web"}, topologySpreadConstraints=[rule])) for number in range(4)
    ]
    assert sorted(found) == ["a", "a", "b", "b"]


def test_a_host_port_is_given_once_on_each_node(stage: Stage) -> None:
    port = [{"containerPort": 80, "hostPort": 8080}]
    assert {place(stage, pod(name, ports=port)) for name in ("p", "q")} == {"a", "b"}
    assert not place(stage, pod("r", ports=port))
    assert why(stage, "r").startswith(
        "0/2 nodes are available: 2 node(s) didn't have free ports for the requested"
    )


def test_a_pod_that_waits_gets_the_room_of_one_that_went(stage: Stage) -> None:
    for name in ("p", "q"):
        assert place(stage, pod(name, cpu="2"))
    assert not place(stage, pod("r", cpu="1"))
    assert why(stage, "r").startswith("0/2 nodes are available: 2 Insufficient cpu. preemption: ")
    stage.delete(PODS, "q")
    stage.settle()
    assert stage.get(PODS, "r")["spec"]["nodeName"] == "b"


def test_a_pod_that_matters_more_takes_the_room_of_the_least_important(stage: Stage) -> None:
    place(stage, pod("low", cpu="2", priority=1))
    place(stage, pod("middle", cpu="2", priority=5))
    assert place(stage, pod("high", cpu="2", priority=10)) == "a"
    assert stage.names() == ["high", "middle"]
    assert any(event.startswith("Preempted by pod ") for event in stage.events)


def test_a_pod_that_may_not_preempt_waits(stage: Stage) -> None:
    for name in ("p", "q"):
        place(stage, pod(name, cpu="2"))
    assert not place(stage, pod("meek", cpu="1", priority=10, preemptionPolicy="Never"))
    assert stage.names() == ["meek", "p", "q"]


def test_a_gated_pod_waits_until_its_last_gate_is_gone(stage: Stage) -> None:
    assert not place(stage, pod("p", schedulingGates=[{"name": "example.com/quota"}]))
    assert condition(stage.get(PODS, "p"), "PodScheduled")["reason"] == "SchedulingGated"
    stage.change(PODS, "p", {"spec": {"schedulingGates": None}})
    stage.settle()
    assert stage.get(PODS, "p")["spec"]["nodeName"]


def test_a_missing_claim_is_told_by_name(stage: Stage) -> None:
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": "data"}}
    assert not place(stage, pod("p", volumes=[volume]))
    assert why(stage, "p").startswith('0/2 nodes are available: persistentvolumeclaim "data" not found. ')


def test_a_pod_of_another_scheduler_is_left_alone(stage: Stage) -> None:
    assert not place(stage, pod("p", schedulerName="mine"))
    assert not stage.events
    assert "status" not in stage.get(PODS, "p")


def test_what_a_runtime_needs_besides_the_containers_counts_too(stage: Stage) -> None:
    assert not place(stage, pod("p", cpu="1900m", overhead={"cpu": "200m"}))
    assert why(stage, "p").startswith("0/2 nodes are available: 2 Insufficient cpu.")


def test_what_the_pod_as_a_whole_asks_for_stands_over_its_containers(stage: Stage) -> None:
    assert not place(stage, pod("p", cpu="100m", resources={"requests": {"cpu": "3"}}))
    assert place(stage, pod("q", cpu="3", resources={"requests": {"cpu": "1"}}))


def test_extended_resources_are_counted_like_others(stage: Stage) -> None:
    offered = node("a")["status"]["allocatable"] | {"example.org/gpu": "1"}
    stage.change(NODES, "a", {"status": {"allocatable": offered}})
    wants = {"resources": {"requests": {"example.org/gpu": "1"}}}
    assert place(stage, pod("p") | {"spec": {"containers": [{"name": "c"} | wants]}}) == "a"
    assert not place(stage, pod("q") | {"spec": {"containers": [{"name": "c"} | wants]}})
    assert why(stage, "q").startswith("0/2 nodes are available: 2 Insufficient example.org/gpu.")


def web(name: str, **spec: Any) -> Json:
    return pod(name, {"app": "web"}, **spec)


def spread(**more: Any) -> list[Json]:
    rule = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    return [rule | {"labelSelector": {"matchLabels": {"app": "web"}}} | more]


def test_with_too_few_domains_the_least_is_taken_for_nothing(stage: Stage) -> None:
    rules = spread(minDomains=3)
    found = [
        place(stage, pod(f"p{number}", {"app": "web"}, topologySpreadConstraints=rules)) for number in range(3)
    ]
    assert sorted(found) == ["", "a", "b"]
    assert "node(s) didn't match pod topology spread constraints" in why(stage, "p2")


def test_domains_that_a_pod_cannot_enter_count_unless_its_policy_says_otherwise(stage: Stage) -> None:
    stage.change(NODES, "b", {"spec": {"taints": [{"key": "gpu", "effect": "NoSchedule"}]}})
    rules = spread()
    placed = [
        place(stage, pod(f"p{number}", {"app": "web"}, topologySpreadConstraints=rules)) for number in range(2)
    ]
    assert placed == ["a", ""]
    rules = spread(nodeTaintsPolicy="Honor")
    assert place(stage, web("q", topologySpreadConstraints=rules)) == "a"


def test_spreading_can_look_at_the_pods_of_one_version_only(stage: Stage) -> None:
    rules = spread(matchLabelKeys=["version"])
    for number in range(2):
        labels = {"app": "web", "version": "old"}
        assert place(stage, pod(f"old{number}", labels, nodeSelector={"zone": "east"}))
    new = pod(
        "new", {"app": "web", "version": "new"}, topologySpreadConstraints=rules, nodeSelector={"zone": "east"}
    )
    assert place(stage, new) == "a"


def test_terms_reach_into_namespaces_by_name_or_label(stage: Stage) -> None:
    stage.put(NAMESPACES, {"metadata": {"name": "data", "labels": {"team": "x"}}})
    there = pod("db", {"app": "db"}, nodeSelector={"zone": "west"})
    stage.put(PODS, there | {"metadata": there["metadata"] | {"namespace": "data"}})
    stage.put(PODS, there | {"metadata": there["metadata"] | {"namespace": "data"}, "spec": {"nodeName": "b"}})
    for more, expected in (
        ({}, ""),
        ({"namespaces": ["data"]}, "b"),
        ({"namespaceSelector": {"matchLabels": {"team": "x"}}}, "b"),
        ({"namespaceSelector": {"matchLabels": {"team": "y"}}}, ""),
    ):
        affinity = near("podAffinity")
        affinity["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0] |= more
        name = f"p{len(stage.pods())}"
        assert place(stage, pod(name, affinity=affinity)) == expected, more


def test_a_claim_for_one_pod_alone_keeps_others_waiting(stage: Stage) -> None:
    stage.put(PERSISTENTVOLUMES, {"metadata": {"name": "v"}, "spec": {}})
    spec = {"accessModes": ["ReadWriteOncePod"], "volumeName": "v"}
    stage.put(PERSISTENTVOLUMECLAIMS, {"metadata": {"name": "data"}, "spec": spec, "status": {"phase": "Bound"}})
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]
    assert place(stage, pod("first", volumes=volumes))
    assert not place(stage, pod("second", volumes=volumes))
    assert "2 node has pod using PersistentVolumeClaim with the same name" in why(stage, "second")
    stage.delete(PODS, "first")
    stage.settle()
    assert stage.get(PODS, "second")["spec"]["nodeName"]


@pytest.mark.parametrize(("kind", "expected"), [("podAffinity", "b"), ("podAntiAffinity", "a")])
def test_what_pods_there_would_like_is_heard_too(stage: Stage, kind: str, expected: str) -> None:
    here = pod("here", affinity=near(kind, hard=False), nodeSelector={"zone": "west"})
    assert place(stage, here) == "b"
    assert place(stage, pod("balance", nodeSelector={"zone": "east"})) == "a"
    assert place(stage, pod("new", {"app": "db"})) == expected
