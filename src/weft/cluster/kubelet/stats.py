"""What pods and the node use, as the kubelet's `/stats/summary` and `/metrics/resource` tell it: pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weft.adapters.cri.types import Container, Usage
from weft.cluster.kubelet.status import timestamp

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PodUse:
    """A pod, and its running containers with what each uses."""

    pod: Mapping[str, Any]
    containers: Sequence[tuple[Container, Usage]]

    @property
    def cpu(self) -> float:
        """Seconds of processor time."""
        return sum(usage.cpu for _, usage in self.containers)

    @property
    def memory(self) -> int:
        """Bytes of the working set."""
        return sum(usage.memory for _, usage in self.containers)


@dataclass(frozen=True, slots=True)
class NodeUse:
    """What the whole machine uses. `cpu` in seconds, `memory` in bytes, `at` and `booted` in epoch seconds."""

    name: str
    cpu: float
    memory: int
    available: int
    at: float
    booted: float


def summary(node: NodeUse, pods: Iterable[PodUse]) -> Json:
    """The Summary of the kubelet's stats API (v1alpha1), as far as it is known here."""
    return {
        "node": {
            "nodeName": node.name,
            "startTime": timestamp(node.booted),
            "cpu": _cpu(node.cpu, node.at),
            "memory": _memory(node.memory, node.at) | {"availableBytes": node.available},
        },
        "pods": [_pod(each, node.at) for each in pods],
    }


def metrics(node: NodeUse, pods: Iterable[PodUse]) -> str:
    """Resource metrics in Prometheus' text format, with the kubelet's names."""
    families: dict[str, list[str]] = {}

    def add(name: str, labels: Mapping[str, str], value: float) -> None:
        inside = ",".join(f'{key}="{text}"' for key, text in labels.items())
        families.setdefault(name, []).append(f"{name}{{{inside}}} {value}" if inside else f"{name} {value}")

    for each in pods:
        metadata = each.pod["metadata"]
        of_pod = {"namespace": metadata["namespace"], "pod": metadata["name"]}
        for container, usage in each.containers:
            labels = {"container": container.name, **of_pod}
            add("container_cpu_usage_seconds_total", labels, usage.cpu)
            add("container_memory_working_set_bytes", labels, usage.memory)
            add("container_start_time_seconds", labels, container.started)
        add("pod_cpu_usage_seconds_total", of_pod, each.cpu)
        add("pod_memory_working_set_bytes", of_pod, each.memory)
    add("node_cpu_usage_seconds_total", {}, node.cpu)
    add("node_memory_working_set_bytes", {}, node.memory)
    add("resource_scrape_error", {}, 0)
    return "\n".join(_lines(families)) + "\n"


def _lines(families: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for name in sorted(families):
        yield f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}"
        yield from families[name]


def _pod(use: PodUse, at: float) -> Json:
    metadata = use.pod["metadata"]
    return {
        "podRef": {key: metadata[key] for key in ("name", "namespace", "uid")},
        "startTime": (use.pod.get("status") or {}).get("startTime"),
        "cpu": _cpu(use.cpu, at),
        "memory": _memory(use.memory, at),
        "containers": [
            {
                "name": container.name,
                "startTime": timestamp(container.started),
                "cpu": _cpu(usage.cpu, usage.at),
                "memory": _memory(usage.memory, usage.at),
            }
            for container, usage in use.containers
        ],
    }


def _cpu(seconds: float, at: float) -> Json:
    return {"time": timestamp(at), "usageCoreNanoSeconds": round(seconds * 1e9)}


def _memory(working_set: int, at: float) -> Json:
    return {"time": timestamp(at), "workingSetBytes": working_set}
