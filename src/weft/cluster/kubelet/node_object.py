"""The Node object and its lease, as the kubelet writes them."""

import os
import platform
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from weft.adapters.cri.types import Image
from weft.cluster.kubelet import pressure
from weft.cluster.kubelet.environment import MAX_PODS
from weft.cluster.kubelet.images import architecture
from weft.cluster.kubelet.status import timestamp

Json = dict[str, Any]
VERSION = "v1.36.0+weft"
_LEASES = "kube-node-lease"
_IMAGES_SHOWN = 50
_ANNOTATIONS = {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}
_EVENTS = {
    "MemoryPressure": ("NodeHasInsufficientMemory", "NodeHasSufficientMemory"),
    "DiskPressure": ("NodeHasDiskPressure", "NodeHasNoDiskPressure"),
    "PIDPressure": ("NodeHasInsufficientPID", "NodeHasSufficientPID"),
    "Ready": ("NodeReady", "NodeNotReady"),
}
_LEASE = 40  # seconds that a lease is good for


@dataclass(frozen=True, slots=True)
class Machine:
    """What the node object says of the machine. Sizes in bytes."""

    cpu: int
    memory: int
    disk: int
    architecture: str
    kernel: str
    os_image: str
    machine_id: str
    boot_id: str
    runtime: str
    huge_pages: tuple[str, ...] = ()
    """The sizes that the machine knows, as resources; none of them is given to pods."""


@dataclass(frozen=True, slots=True)
class Registration:
    """Who the node is to the API."""

    name: str
    ip: str
    port: int
    pod_cidr: str


@dataclass(frozen=True, slots=True)
class State:
    """How the node is now. `lacking` says what the runtime lacks: condition to what is wrong with it.

    A lack without a condition is the runtime's silence. `images` are as the status lists them.
    """

    lacking: Mapping[str, str]
    room: pressure.Room
    images: Sequence[Json] = ()


def look(folder: Path, runtime: str) -> Machine:
    """This machine; `folder` is where pods' files lie, `runtime` what the runtime calls itself."""
    release = dict(
        line.split("=", 1) for line in _text("/etc/os-release").splitlines() if "=" in line and line[0] != "#"
    )
    return Machine(
        cpu=os.cpu_count() or 1,
        memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        disk=shutil.disk_usage(folder).total,
        architecture=architecture(),
        kernel=platform.release(),
        os_image=release.get("PRETTY_NAME", "Linux").strip('"'),
        machine_id=_text("/etc/machine-id").strip(),
        boot_id=_text("/proc/sys/kernel/random/boot_id").strip(),
        runtime=runtime,
        huge_pages=tuple(sorted(_huge_pages())),
    )


def allocatable(machine: Machine) -> dict[str, int]:
    """What is left for pods of what the kubelet keeps a part of, in bytes."""
    return {
        "memory": machine.memory - pressure.MEMORY_KEPT,
        "ephemeral-storage": int(machine.disk * (1 - pressure.DISK_KEPT)),
    }


def node(name: str, pod_cidr: str, machine: Machine) -> Json:
    """The Node object without its status."""
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": machine.architecture,
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": machine.architecture,
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": _ANNOTATIONS},
        "spec": {"podCIDR": pod_cidr, "podCIDRs": [pod_cidr]},
    }


def status(who: Registration, machine: Machine, state: State, before: Json, now: float) -> Json:
    """The node's status; `before` is the status it had."""
    name, lacking = who.name, state.lacking
    resources = {
        "cpu": str(machine.cpu),
        "memory": f"{machine.memory // 1024}Ki",
        "ephemeral-storage": f"{machine.disk // 1024}Ki",
        "pods": str(MAX_PODS),
        **dict.fromkeys(machine.huge_pages, "0"),
    }
    free = allocatable(machine)
    left = {"memory": f"{free['memory'] // 1024}Ki", "ephemeral-storage": str(free["ephemeral-storage"])}
    conditions = [
        *pressure.conditions(state.room),
        ("Ready", "False", "KubeletNotReady", ", ".join(_lack(*each) for each in lacking.items()))
        if lacking
        else ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ]
    old = {each["type"]: each for each in before.get("conditions") or ()}
    ours = {each[0] for each in conditions}
    others = [each for each in before.get("conditions") or () if each["type"] not in ours]
    return {
        "addresses": [{"type": "InternalIP", "address": who.ip}, {"type": "Hostname", "address": name}],
        "capacity": resources,
        "allocatable": resources | left,
        "conditions": [*others, *(_condition(each, old.get(each[0]), now) for each in conditions)],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": who.port}},
        "nodeInfo": {
            "machineID": machine.machine_id,
            "systemUUID": machine.machine_id,
            "bootID": machine.boot_id,
            "kernelVersion": machine.kernel,
            "osImage": machine.os_image,
            "containerRuntimeVersion": machine.runtime,
            "kubeletVersion": VERSION,
            "kubeProxyVersion": VERSION,
            "operatingSystem": "linux",
            "architecture": machine.architecture,
        },
        "images": list(state.images),
    }


def lease(name: str, uid: str, now: float) -> Json:
    """The node's lease, renewed `now`; `uid` is that of the Node object, with which it goes."""
    owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}
    renewed = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": _LEASES, "ownerReferences": [owner]},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": _LEASE, "renewTime": renewed},
    }


def lasting(state: Json) -> Json:
    """What of a status is worth writing as soon as it changes: all but the times of its conditions."""
    conditions = [(each["type"], each["status"], each.get("reason")) for each in state.get("conditions") or ()]
    return state | {"conditions": sorted(conditions)}


def turns(before: Json, after: Json) -> list[str]:
    """The reasons of the events that tell which conditions have changed (`NodeReady`, `NodeHasDiskPressure`)."""
    known = {each["type"]: each["status"] for each in before.get("conditions") or ()}
    changed = [each for each in after["conditions"] if known.get(each["type"]) != each["status"]]
    return [_EVENTS[each["type"]][each["status"] != "True"] for each in changed if each["type"] in _EVENTS]


def images(found: Iterable[Image]) -> list[Json]:
    """The node's images as its status lists them: the largest first, not all of many."""
    ordered = sorted(found, key=lambda each: (-each.size, each.id))
    named = [{"names": [*each.digests, *each.tags], "sizeBytes": each.size} for each in ordered]
    return [each for each in named if each["names"]][:_IMAGES_SHOWN]


def _condition(condition: tuple[str, str, str, str], before: Json | None, now: float) -> Json:
    kind, value, reason, message = condition
    same = before is not None and before.get("status") == value
    return {
        "type": kind,
        "status": value,
        "reason": reason,
        "message": message,
        "lastHeartbeatTime": timestamp(now),
        "lastTransitionTime": before["lastTransitionTime"] if same and before is not None else timestamp(now),
    }


def _lack(condition: str, what: str) -> str:
    match condition:
        case "":
            return what
        case "NetworkReady":
            return f"container runtime network not ready: NetworkReady=false {what}"
        case _:
            return f"container runtime not ready: {condition}=false {what}"


def _huge_pages() -> Iterator[str]:
    for folder in Path("/sys/kernel/mm/hugepages").glob("hugepages-*kB"):
        size = int(folder.name.removeprefix("hugepages-").removesuffix("kB"))
        yield f"hugepages-{size >> 20}Gi" if size >= 1 << 20 else f"hugepages-{size >> 10}Mi"


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
