"""The Node object and its heartbeat."""

import asyncio
import logging
import os
import platform
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from weft.adapters.cri.client import CriError, Runtime
from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import LEASES, NODES
from weft.cluster.kubelet import pressure
from weft.cluster.kubelet.images import architecture
from weft.cluster.kubelet.status import timestamp

Json = dict[str, Any]
VERSION = "v1.36.0+weft"
_LEASES = "kube-node-lease"
_BEAT = 10.0  # seconds between renewals of the lease
_SOON = 0.5
_LEASE = 40  # seconds that a lease is good for
_MAX_PODS = 110
_log = logging.getLogger(__name__)


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


@dataclass(frozen=True, slots=True)
class Registration:
    """Who the node is to the API."""

    name: str
    ip: str
    port: int
    pod_cidr: str


@dataclass(frozen=True, slots=True)
class State:
    """How the node is now. `lacking` says what the runtime lacks: condition to its message."""

    lacking: Mapping[str, str]
    room: pressure.Room


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
    )


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
        "metadata": {"name": name, "labels": labels},
        "spec": {"podCIDR": pod_cidr, "podCIDRs": [pod_cidr]},
    }


def status(who: Registration, machine: Machine, state: State, before: Json, now: float) -> Json:
    """The node's status; `before` is the status it had."""
    name, lacking = who.name, state.lacking
    resources = {
        "cpu": str(machine.cpu),
        "memory": f"{machine.memory // 1024}Ki",
        "ephemeral-storage": f"{machine.disk // 1024}Ki",
        "pods": str(_MAX_PODS),
    }
    left = {
        "memory": f"{(machine.memory - pressure.MEMORY_KEPT) // 1024}Ki",
        "ephemeral-storage": str(int(machine.disk * (1 - pressure.DISK_KEPT))),
    }
    trouble = "; ".join(f"{key}: {value}" for key, value in lacking.items())
    conditions = [
        *pressure.conditions(state.room),
        ("Ready", "False", "KubeletNotReady", f"container runtime is not ready: {trouble}")
        if lacking
        else ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ]
    old = {each["type"]: each for each in before.get("conditions") or ()}
    return {
        "addresses": [{"type": "InternalIP", "address": who.ip}, {"type": "Hostname", "address": name}],
        "capacity": resources,
        "allocatable": resources | left,
        "conditions": [_condition(each, old.get(each[0]), now) for each in conditions],
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
    }


def lease(name: str, now: float) -> Json:
    """The node's lease, renewed `now`."""
    renewed = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": _LEASES},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": _LEASE, "renewTime": renewed},
    }


async def keep(
    kube: Kube, runtime: Runtime, who: Registration, machine: Machine, folder: Path, clock: Callable[[], float]
) -> None:
    """Register the node and keep its status and lease fresh, for ever; what fails is tried again.

    `folder` is where pods' files lie.
    """
    told: Json = {}
    delay = 0.2
    while True:
        try:
            # the node controller writes over our status when we have been silent
            told = (await kube.get(NODES, who.name))["status"] if told else await _register(kube, who, machine)
            state = State(await _lacking(runtime), pressure.look(folder))
            fresh = status(who, machine, state, told, clock())
            if _lasting(fresh) != _lasting(told):
                await kube.patch(NODES, who.name, {"status": fresh}, subresource="status")
            told = fresh
            await _renew(kube, who.name, clock())
            # one that is not ready will be in a moment, and nobody should wait for the next heartbeat
            delay = _SOON if state.lacking else _BEAT
        except (ApiError, aiohttp.ClientError, OSError, TimeoutError) as error:
            _log.warning("node %s: the API server: %s", who.name, error)
            told, delay = {}, min(delay * 2, _BEAT)
        await asyncio.sleep(delay)


async def _register(kube: Kube, who: Registration, machine: Machine) -> Json:
    wanted = node(who.name, who.pod_cidr, machine)
    try:
        found = await kube.create(NODES, wanted)
    except ApiError as error:
        if error.code != 409:
            raise
        found = await kube.patch(NODES, who.name, {"metadata": {"labels": wanted["metadata"]["labels"]}})
    before: Json = found.get("status") or {}
    return before or {"conditions": []}


async def _renew(kube: Kube, name: str, now: float) -> None:
    wanted = lease(name, now)
    try:
        await kube.patch(LEASES, name, {"spec": wanted["spec"]}, _LEASES)
    except ApiError as error:
        if error.code != 404:
            raise
        await kube.create(LEASES, wanted)  # the server made their namespace when it began


async def _lacking(runtime: Runtime) -> dict[str, str]:
    try:
        return await runtime.conditions()
    except CriError as error:
        return {"RuntimeReady": error.message}


def _lasting(state: Json) -> Json:
    conditions = [(each["type"], each["status"], each.get("reason")) for each in state.get("conditions") or ()]
    return state | {"conditions": conditions}


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


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
