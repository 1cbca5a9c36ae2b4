"""Autoscalers keep all they say on the way from v2 to v1 and back."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from weft.cluster.apiserver import autoscalers

MEMORY = {
    "type": "Resource",
    "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}},
}


def cpu(percent: int) -> dict[str, Any]:
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


metrics = st.lists(
    st.just(MEMORY) | st.integers(1, 100).map(cpu),
    max_size=3,
)


def autoscaler(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "web"}, "spec": {"maxReplicas": 3, **spec}}


def test_a_cpu_target_is_a_field_of_its_own_in_v1() -> None:
    shown = autoscalers.to_v1(autoscaler(metrics=[cpu(80)]))
    assert shown == autoscaler(targetCPUUtilizationPercentage=80)
    assert autoscalers.to_v2(shown) == autoscaler(metrics=[cpu(80)])


def test_what_v1_cannot_say_travels_in_annotations() -> None:
    stored = autoscaler(metrics=[cpu(80), MEMORY], behavior={"scaleDown": {"selectPolicy": "Min"}})
    shown = autoscalers.to_v1(stored)
    assert set(shown["metadata"]["annotations"]) == {autoscalers.METRICS, autoscalers.BEHAVIOR}
    assert autoscalers.to_v2(shown) == stored


def test_an_annotation_that_does_not_decode_is_left_as_it_is() -> None:
    odd = {"metadata": {"name": "web", "annotations": {autoscalers.METRICS: "{"}}, "spec": {"maxReplicas": 1}}
    assert autoscalers.to_v2(odd) == odd


@given(metrics)
def test_no_metric_is_lost_on_the_way_there_and_back(found: list[dict[str, Any]]) -> None:
    back = autoscalers.to_v2(autoscalers.to_v1(autoscaler(metrics=found)))["spec"].get("metrics", [])
    assert sorted(map(repr, back)) == sorted(map(repr, found))
