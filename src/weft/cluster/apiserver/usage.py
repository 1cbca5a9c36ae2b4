"""metrics.k8s.io: what nodes and pods use, from their kubelets' answers: pure."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from weft.cluster.apiserver import errors
from weft.cluster.apiserver.cluster import Obj
from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.world import stamp

GROUP = "metrics.k8s.io"
_QUANTITIES = {
    "type": "object",
    "description": "How much of each resource is used.",
    "additionalProperties": {"type": "string", "x-kubernetes-int-or-string": True},
}
_COMMON: Obj = {
    "timestamp": {"type": "string", "format": "date-time", "description": "When the window ended."},
    "window": {"type": "string", "description": "How long was measured."},
}
_CONTAINERS: Obj = {
    "type": "array",
    "description": "What each container uses.",
    "items": {"type": "object", "properties": {"name": {"type": "string"}, "usage": _QUANTITIES}},
}
SCHEMAS: dict[tuple[str, str, str], Obj] = {
    (GROUP, "v1beta1", "NodeMetrics"): {
        "type": "object",
        "description": "NodeMetrics is what a node uses.",
        "properties": {**_COMMON, "usage": _QUANTITIES},
    },
    (GROUP, "v1beta1", "PodMetrics"): {
        "type": "object",
        "description": "PodMetrics is what a pod's containers use.",
        "properties": {**_COMMON, "containers": _CONTAINERS},
    },
}
"""The kinds' OpenAPI schemas."""


def nodes(objects: Iterable[Obj], uses: Mapping[str, Obj], now: datetime) -> list[Obj]:
    """NodeMetrics of those nodes whose kubelets answered; `uses` by node name."""
    return [
        {**_head("NodeMetrics", node, uses[name], now), "usage": _usage(uses[name])}
        for node in objects
        if (name := node["metadata"]["name"]) in uses
    ]


def pods(objects: Iterable[Obj], uses: Mapping[str, Obj], now: datetime) -> list[Obj]:
    """PodMetrics of those pods whose containers run."""
    measured = {
        (pod["namespace"], pod["name"]): (use, pod["containers"]) for use in uses.values() for pod in use["pods"]
    }
    found = []
    for pod in objects:
        use, containers = measured.get((pod["metadata"]["namespace"], pod["metadata"]["name"]), ({}, []))
        if containers:
            parts = [{"name": each["name"], "usage": _usage(each)} for each in containers]
            found.append({**_head("PodMetrics", pod, use, now), "containers": parts})
    return found


def not_found(kind: Kind, namespace: str, name: str) -> errors.StatusError:
    """404, in the words of metrics-server."""
    plural, full = kind.kind.lower(), f"{namespace}/{name}" if namespace else name
    details = {"name": full, "group": GROUP, "kind": plural}
    return errors.StatusError(404, "NotFound", f'{plural}.{GROUP} "{full}" not found', details)


def _head(kind: str, obj: Obj, use: Obj, now: datetime) -> Obj:
    metadata = {key: obj["metadata"][key] for key in ("name", "namespace", "labels") if key in obj["metadata"]}
    return {
        "kind": kind,
        "apiVersion": f"{GROUP}/v1beta1",
        "metadata": metadata | {"creationTimestamp": stamp(now)},
        "timestamp": stamp(datetime.fromtimestamp(use["at"], UTC)),
        "window": f"{use['window']:.3f}s",
    }


def _usage(use: Mapping[str, Any]) -> Obj:
    return {"cpu": f"{round(use['cores'] * 1e9)}n", "memory": f"{use['memory'] // 1024}Ki"}
