"""Autoscalers: what their metrics ask for, and what holds them back."""

from datetime import timedelta
from typing import Any

import pytest
from tests.cluster.controllers.stage import START

from weft.adapters.kube.client import Json
from weft.cluster.controllers.autoscaler import Decision, Measured, decide
from weft.cluster.controllers.scaling_limits import Memory

NOT_SERVED = "the server could not find the requested resource (get pods.metrics.k8s.io)"
OLD = "2025-12-31T00:00:00Z"


def pod(
    name: str, request: str | None = "100m", *, ready: str = "True", since: str = OLD, phase: str = "Running"
) -> Json:
    resources = {} if request is None else {"requests": {"cpu": request}}
    conditions = [{"type": "Ready", "status": ready, "lastTransitionTime": since}]
    return {
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "resources": resources}]},
        "status": {"phase": "Running", "startTime": since, "conditions": conditions},
    }


def used(name: str, cpu: str) -> Json:
    usage = {"cpu": cpu, "memory": "64Mi"}
    return {
        "metadata": {"name": name},
        "timestamp": "2026-01-01T00:00:00Z",
        "containers": [{"name": "c", "usage": usage}],
    }


def scaler(percent: int = 50, **spec: Any) -> Json:
    target = {"type": "Utilization", "averageUtilization": percent}
    metrics = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    return {"metadata": {"name": "web"}, "spec": {"minReplicas": 1, "maxReplicas": 10, "metrics": metrics} | spec}


def measured(*cpu: str | None) -> Measured:
    """Pods that use so much each; None has no numbers yet."""
    pods = [pod(f"p{number}") for number in range(len(cpu))]
    return Measured(pods, [used(f"p{number}", value) for number, value in enumerate(cpu) if value is not None])


def decided(what: Measured, size: int, obj: Json | None = None, memory: Memory | None = None) -> Decision:
    return decide(obj or scaler(), size, what, memory or Memory(), START)


def reasons(decision: Decision) -> list[tuple[str, str, str]]:
    return [(kind, status, reason) for kind, status, reason, _ in decision.conditions]


def test_twice_the_wanted_load_asks_for_twice_the_pods() -> None:
    decision = decided(measured("100m", "100m"), 2)
    assert (decision.replicas, decision.why) == (
        4,
        "cpu resource utilization (percentage of request) above target",
    )
    (shown,) = decision.metrics or ()
    assert shown["resource"]["current"] == {"averageValue": "100m", "averageUtilization": 100}
    assert ("AbleToScale", "True", "SucceededRescale") in reasons(decision)


@pytest.mark.parametrize("cpu", ["46m", "50m", "55m"])
def test_a_load_near_the_wanted_one_changes_nothing(cpu: str) -> None:
    decision = decided(measured(cpu, cpu), 2)
    assert decision.replicas == 2
    assert reasons(decision) == [
        ("AbleToScale", "True", "ReadyForNewScale"),
        ("ScalingActive", "True", "ValidMetricFound"),
        ("ScalingLimited", "False", "DesiredWithinRange"),
    ]


def test_growing_stops_at_the_policies_and_at_the_maximum() -> None:
    fast = decided(measured("1"), 1)
    assert fast.replicas == 5  # four pods more, or twice as many: whatever is more
    assert ("ScalingLimited", "True", "ScaleUpLimit") in reasons(fast)
    full = decided(measured(*["500m"] * 6), 6)
    assert full.replicas == 10
    assert ("ScalingLimited", "True", "TooManyReplicas") in reasons(full)


def test_shrinking_waits_until_nothing_more_was_wanted_for_five_minutes() -> None:
    memory = Memory()
    idle = measured("5m", "5m", "5m", "5m")
    decide(scaler(), 4, measured(*["50m"] * 4), memory, START)
    early = decide(scaler(), 4, idle, memory, START + timedelta(seconds=299))
    assert early.replicas == 4
    assert early.conditions[0][2] == "ScaleDownStabilized"
    late = decide(scaler(), 4, idle, memory, START + timedelta(seconds=301))
    assert (late.replicas, late.why) == (1, "All metrics below target")


def test_a_behavior_can_forbid_or_slow_one_direction() -> None:
    quick = {"stabilizationWindowSeconds": 0}
    policies = [{"type": "Pods", "value": 1, "periodSeconds": 60}]
    slow = scaler(behavior={"scaleDown": quick | {"policies": policies}})
    assert decided(measured(*["5m"] * 4), 4, slow).replicas == 3
    just_did = Memory(changes=[(START - timedelta(seconds=30), -1)])
    assert decided(measured(*["5m"] * 4), 4, slow, just_did).replicas == 4
    never = scaler(behavior={"scaleDown": quick | {"selectPolicy": "Disabled"}})
    assert decided(measured(*["5m"] * 4), 4, never).replicas == 4


def test_pods_without_numbers_never_make_a_change_larger() -> None:
    assert decided(measured("100m", None), 2).replicas == 2  # the other may be idle
    assert decided(measured("10m", None), 2, None, Memory()).replicas == 2  # or as busy as it may be


def test_a_pod_that_is_still_starting_does_not_count() -> None:
    fresh = "2025-12-31T23:59:50Z"
    pods = [pod("p0"), pod("p1", ready="False", since=fresh)]
    decision = decide(scaler(), 2, Measured(pods, [used("p0", "50m"), used("p1", "900m")]), Memory(), START)
    assert decision.replicas == 2
    assert (decision.metrics or ())[0]["resource"]["current"]["averageUtilization"] == 50


def test_a_size_out_of_bounds_is_put_right_without_any_metric() -> None:
    nothing = Measured(trouble=NOT_SERVED)
    low, high = decided(nothing, 1, scaler(minReplicas=3)), decided(nothing, 12)
    assert (low.replicas, low.why) == (3, "Current number of replicas below Spec.MinReplicas")
    assert (high.replicas, high.why) == (10, "Current number of replicas above Spec.MaxReplicas")


def test_a_target_of_no_pods_is_left_at_none() -> None:
    decision = decided(measured(), 0)
    assert decision.replicas == 0
    assert reasons(decision)[1] == ("ScalingActive", "False", "ScalingDisabled")


def test_without_metrics_the_reason_is_told_in_condition_and_events() -> None:
    nothing = Measured(
        [pod("p0")], (), "the server could not find the requested resource (get pods.metrics.k8s.io)"
    )
    decision = decided(nothing, 1)
    said = (
        "failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from "
        "resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)"
    )
    assert decision.replicas == 1
    assert decision.conditions[1] == (
        "ScalingActive",
        "False",
        "FailedGetResourceMetric",
        f"the HPA was unable to compute the replica count: {said}",
    )
    assert decision.told[1] == (
        "FailedComputeMetricsReplicas",
        f"invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: {said}",
    )


def test_a_percentage_of_a_request_that_is_missing_names_container_and_pod() -> None:
    decision = decided(Measured([pod("p0", None)], [used("p0", "10m")]), 1)
    assert decision.told[0][1] == (
        "failed to get cpu utilization: missing request for cpu in container c of Pod p0"
    )


def test_of_several_metrics_the_one_that_wants_most_decides() -> None:
    memory = {"name": "memory", "target": {"type": "AverageValue", "averageValue": "16Mi"}}
    both = scaler()
    both["spec"]["metrics"].append({"type": "Resource", "resource": memory})
    decision = decided(measured("50m", "50m"), 2, both)
    assert decision.replicas == 6  # eight are wanted, four at once are allowed
    assert decision.why == "memory resource above target"


def test_how_near_is_near_enough_is_for_each_direction_to_say() -> None:
    keen = scaler(behavior={"scaleUp": {"tolerance": "0.02"}})
    assert decided(measured("52m", "52m"), 2, keen).replicas == 3
    assert decided(measured("52m", "52m"), 2).replicas == 2
    calm = scaler(behavior={"scaleDown": {"tolerance": "0.6"}})
    assert decided(measured("25m", "25m"), 2, calm).replicas == 2
    assert decided(measured("25m", "25m"), 2).replicas == 1


def test_an_autoscaler_that_names_no_metric_leaves_its_target_alone_and_says_so() -> None:
    bare = scaler()
    del bare["spec"]["metrics"]
    decision = decided(measured("50m"), 3, bare)
    assert decision.replicas == 3
    assert reasons(decision)[1] == ("ScalingActive", "False", "InvalidMetricSourceType")
