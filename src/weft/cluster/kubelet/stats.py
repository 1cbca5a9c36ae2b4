"""What pods and the node use, as the kubelet's `/stats/summary` tells it: pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from weft.adapters.cri.types import Container, Usage
from weft.cluster.kubelet.pressure import Room
from weft.cluster.kubelet.status import timestamp

Json = dict[str, Any]


class ContainerUse(NamedTuple):
    """A running container and what it uses; `cores` is how many processors it has kept busy lately."""

    container: Container
    usage: Usage
    cores: float


@dataclass(frozen=True, slots=True)
class PodUse:
    """A pod, and its running containers with what each uses."""

    pod: Mapping[str, Any]
    containers: Sequence[ContainerUse]

    @property
    def cpu(self) -> float:
        """Seconds of processor time."""
        return sum(each.usage.cpu for each in self.containers)

    @property
    def cores(self) -> float:
        """How many processors it has kept busy lately."""
        return sum(each.cores for each in self.containers)

    @property
    def memory(self) -> int:
        """Bytes of the working set."""
        return sum(each.usage.memory for each in self.containers)


@dataclass(frozen=True, slots=True)
class NodeUse:
    """What the whole machine uses. `cpu` in seconds, `memory` in bytes, `at` and `booted` in epoch seconds.

    `cores` is how many processors were busy lately.
    """

    name: str
    cpu: float
    memory: int
    available: int
    at: float
    booted: float
    cores: float = 0.0


def cores(spent: float, passed: float) -> float:
    """How many processors were busy: `spent` seconds of processor time while `passed` seconds went by."""
    return max(0.0, spent) / passed if passed > 0 else 0.0


def summary(node: NodeUse, pods: Iterable[PodUse], room: Room) -> Json:
    """The Summary of the kubelet's stats API (v1alpha1), as far as it is known here.

    `room` is the disk that pods and images share.
    """
    disk = {
        "time": timestamp(node.at),
        "availableBytes": room.disk_free,
        "capacityBytes": room.disk,
        "usedBytes": room.disk - room.disk_free,
        "inodesFree": room.inodes_free,
        "inodes": room.inodes,
        "inodesUsed": room.inodes - room.inodes_free,
    }
    return {
        "node": {
            "nodeName": node.name,
            "startTime": timestamp(node.booted),
            "cpu": _cpu(node.cpu, node.cores, node.at),
            "memory": _memory(node.memory, node.at) | {"availableBytes": node.available},
            "fs": disk,
            "runtime": {"imageFs": disk},
        },
        "pods": [_pod(each, node.at) for each in pods],
    }


def use(node: NodeUse, pods: Iterable[PodUse], window: float) -> Json:
    """What is used now, for the API server's metrics: processors and bytes. `window` in seconds."""
    return {
        "at": node.at,
        "window": window,
        "cores": node.cores,
        "memory": node.memory,
        "pods": [
            {
                "namespace": each.pod["metadata"]["namespace"],
                "name": each.pod["metadata"]["name"],
                "containers": [
                    {"name": container.name, "cores": busy, "memory": usage.memory}
                    for container, usage, busy in each.containers
                ],
            }
            for each in pods
        ],
    }


def _pod(use: PodUse, at: float) -> Json:
    metadata = use.pod["metadata"]
    return {
        "podRef": {key: metadata[key] for key in ("name", "namespace", "uid")},
        "startTime": (use.pod.get("status") or {}).get("startTime"),
        "cpu": _cpu(use.cpu, use.cores, at),
        "memory": _memory(use.memory, at),
        "containers": [
            {
                "name": container.name,
                "startTime": timestamp(container.started),
                "cpu": _cpu(usage.cpu, busy, usage.at),
                "memory": _memory(usage.memory, usage.at) | {"usageBytes": usage.used, "rssBytes": usage.resident},
                "rootfs": {"time": timestamp(usage.at), "usedBytes": usage.written, "inodesUsed": usage.inodes},
            }
            for container, usage, busy in use.containers
        ],
    }


def _cpu(seconds: float, busy: float, at: float) -> Json:
    return {
        "time": timestamp(at),
        "usageNanoCores": round(busy * 1e9),
        "usageCoreNanoSeconds": round(seconds * 1e9),
    }


def _memory(working_set: int, at: float) -> Json:
    return {"time": timestamp(at), "workingSetBytes": working_set}
