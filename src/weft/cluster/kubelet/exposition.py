"""Metrics in Prometheus' text format, with the names of the kubelet and of cAdvisor: pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from weft.adapters.cri.types import State
from weft.cluster.kubelet.stats import NodeUse, PodUse


@dataclass(slots=True)
class Families:
    """Samples by the name of their metric."""

    _families: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, labels: Mapping[str, str], value: float) -> None:
        """One sample."""
        inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        self._families.setdefault(name, []).append(f"{name}{{{inside}}} {value}" if inside else f"{name} {value}")

    def text(self) -> str:
        """All of them, by name."""
        lines = []
        for name in sorted(self._families):
            lines.append(f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}")
            lines += self._families[name]
        return "\n".join(lines) + "\n"


def resource(node: NodeUse, pods: Iterable[PodUse]) -> str:
    """The answer to `/metrics/resource`, which metrics-server reads."""
    families = Families()
    for each in pods:
        of_pod = _pod(each)
        for container, usage, _ in each.containers:
            labels = {"container": container.name, **of_pod}
            families.add("container_cpu_usage_seconds_total", labels, usage.cpu)
            families.add("container_memory_working_set_bytes", labels, usage.memory)
            families.add("container_start_time_seconds", labels, container.started)
        families.add("pod_cpu_usage_seconds_total", of_pod, each.cpu)
        families.add("pod_memory_working_set_bytes", of_pod, each.memory)
    families.add("node_cpu_usage_seconds_total", {}, node.cpu)
    families.add("node_memory_working_set_bytes", {}, node.memory)
    families.add("resource_scrape_error", {}, 0)
    return families.text()


def cadvisor(node: NodeUse, pods: Iterable[PodUse], cgroup_parent: str, machine: tuple[int, int]) -> str:
    """The answer to `/metrics/cadvisor`; `machine` is how many processors and bytes of memory there are."""
    families = Families()
    for each in pods:
        folder = f"{cgroup_parent}/pod{each.pod['metadata']['uid']}"
        images = {spec["name"]: spec["image"] for spec in each.pod["spec"]["containers"]}
        for container, usage, _ in each.containers:
            labels = {
                "container": container.name,
                "id": f"{folder}/{container.id}",
                "image": str(images.get(container.name) or container.image_id),
                "name": container.id,
                **_pod(each),
            }
            families.add("container_cpu_usage_seconds_total", {**labels, "cpu": "total"}, usage.cpu)
            families.add("container_memory_working_set_bytes", labels, usage.memory)
            families.add("container_memory_usage_bytes", labels, usage.used)
            families.add("container_memory_rss", labels, usage.resident)
            families.add("container_fs_usage_bytes", labels, usage.written)
            families.add("container_start_time_seconds", labels, container.started)
            families.add("container_last_seen", labels, usage.at)
    families.add("container_cpu_usage_seconds_total", {"cpu": "total", "id": "/"}, node.cpu)
    families.add("container_memory_working_set_bytes", {"id": "/"}, node.memory)
    families.add("machine_cpu_cores", {}, machine[0])
    families.add("machine_memory_bytes", {}, machine[1])
    families.add("container_scrape_error", {}, 0)
    return families.text()


@dataclass(frozen=True, slots=True)
class Process:
    """The kubelet's own process: seconds of processor time, bytes of memory, and when it began."""

    cpu: float
    resident: int
    began: float


def kubelet(name: str, version: str, states: Sequence[State], sandboxes: int, process: Process) -> str:
    """The answer to `/metrics`: `states` are those of all containers, `sandboxes` how many pods run."""
    families = Families()
    families.add("kubelet_node_name", {"node": name}, 1)
    families.add("kubernetes_build_info", {"git_version": version}, 1)
    families.add("kubelet_running_pods", {}, sandboxes)
    for state in State:
        families.add("kubelet_running_containers", {"container_state": state.value}, states.count(state))
    families.add("process_cpu_seconds_total", {}, process.cpu)
    families.add("process_resident_memory_bytes", {}, process.resident)
    families.add("process_start_time_seconds", {}, process.began)
    return families.text()


def _pod(use: PodUse) -> dict[str, str]:
    metadata = use.pod["metadata"]
    return {"namespace": metadata["namespace"], "pod": metadata["name"]}


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
