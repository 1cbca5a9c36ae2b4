"""HorizontalPodAutoscalers between autoscaling/v2, in which they are stored, and v1, which knows CPU alone.

What v1 has no field for travels in annotations, as in Kubernetes (pkg/apis/autoscaling/v1/conversion.go).
"""

from typing import Any

import msgspec

Obj = dict[str, Any]
METRICS = "autoscaling.alpha.kubernetes.io/metrics"
BEHAVIOR = "autoscaling.alpha.kubernetes.io/behavior"
_TARGET = "targetCPUUtilizationPercentage"
_CURRENT = "currentCPUUtilizationPercentage"


def to_v1(obj: Obj) -> Obj:
    """A stored autoscaler as v1 shows it."""
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    metrics, behavior = spec.pop("metrics", None) or [], spec.pop("behavior", None)
    cpu = next((one for one in metrics if _utilization(one, "target") is not None), None)
    if cpu is not None:
        spec[_TARGET] = _utilization(cpu, "target")
    carried: dict[str, str] = {}
    if others := [one for one in metrics if one is not cpu]:
        carried[METRICS] = msgspec.json.encode(others).decode()
    if behavior:
        carried[BEHAVIOR] = msgspec.json.encode(behavior).decode()
    current = next((_utilization(one, "current") for one in status.pop("currentMetrics", None) or []), None)
    if current is not None:
        status[_CURRENT] = current
    status.pop("conditions", None)
    result = {**obj, "spec": spec}
    if "status" in obj:
        result["status"] = {"currentReplicas": 0, "desiredReplicas": 0, **status}
    return _annotated(result, carried)


def to_v2(obj: Obj) -> Obj:
    """A v1 autoscaler as it is stored; an annotation that does not decode stays an annotation."""
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    annotations = dict((obj.get("metadata") or {}).get("annotations") or {})
    metrics: list[Obj] = []
    if (percent := spec.pop(_TARGET, None)) is not None:
        metrics.append(_cpu("target", {"type": "Utilization", "averageUtilization": percent}))
    if isinstance(others := _decoded(annotations.get(METRICS)), list):
        metrics += others
        del annotations[METRICS]
    if isinstance(behavior := _decoded(annotations.get(BEHAVIOR)), dict):
        spec["behavior"] = behavior
        del annotations[BEHAVIOR]
    if metrics:
        spec["metrics"] = metrics
    if (percent := status.pop(_CURRENT, None)) is not None:
        status["currentMetrics"] = [_cpu("current", {"averageUtilization": percent})]
    result = {**obj, "spec": spec, "metadata": {**(obj.get("metadata") or {}), "annotations": annotations}}
    if not annotations:
        del result["metadata"]["annotations"]
    if "status" in obj:
        result["status"] = status
    return result


def _utilization(metric: Obj, side: str) -> int | None:
    resource = metric.get("resource") or {}
    found: int | None = (resource.get(side) or {}).get("averageUtilization")
    return found if resource.get("name") == "cpu" else None


def _cpu(side: str, value: Obj) -> Obj:
    return {"type": "Resource", "resource": {"name": "cpu", side: value}}


def _decoded(text: Any) -> Any:
    try:
        return msgspec.json.decode(text) if isinstance(text, str) else None
    except msgspec.DecodeError:
        return None


def _annotated(obj: Obj, carried: dict[str, str]) -> Obj:
    if not carried:
        return obj
    metadata = obj.get("metadata") or {}
    return {**obj, "metadata": {**metadata, "annotations": {**(metadata.get("annotations") or {}), **carried}}}
