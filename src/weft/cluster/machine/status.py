"""What runs of a cluster: looked at from the machine, without changing anything."""

import asyncio
import json
import socket
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any

import aiohttp

from weft.adapters import clock, files, processes
from weft.adapters.dns import messages as dns_messages
from weft.adapters.kube.access import Access, AccessError
from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import DAEMONSETS, DEPLOYMENTS, NODES, PODS
from weft.adapters.processes import Memory
from weft.cluster.machine import commands, installation, keeping, nodes
from weft.cluster.machine.layout import CLUSTER_DOMAIN, Layout
from weft.cluster.machine.record import Record

_EDGE = ("istio-ingressgateway", "istio-egressgateway")
_MESH = ("istiod", *_EDGE)
_STARTING = timedelta(seconds=60)
_PATIENCE = 3.0  # seconds for the API server, and for DNS


class Health(IntEnum):
    """The exit code of `weft status`."""

    HEALTHY = 0
    DEGRADED = 1
    """Something of the cluster does not run."""
    ABSENT = 3
    """Nothing of it runs (3: as systemctl says of a service that is not running)."""


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that should run: what is known of it, and what it weighs where that is one process."""

    name: str
    runs: bool
    detail: str
    pid: int = 0
    memory: Memory | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """All parts, the versions that are known, and the memory of the pods' processes together."""

    parts: tuple[Part, ...]
    versions: tuple[tuple[str, str], ...] = ()

    @property
    def health(self) -> Health:
        """All run, some, or none."""
        if all(part.runs for part in self.parts):
            return Health.HEALTHY
        return Health.DEGRADED if any(part.runs for part in self.parts) else Health.ABSENT


async def look(layout: Layout, held: Record) -> Status:
    """Look at processes, the API and DNS; a few seconds at most, whatever hangs."""
    parts = [_process(name, held) for name in sorted(held.processes)]
    parts += _containers(layout)
    parts += [
        Part(one.node.name, runs=False, detail=f"stopped (weft node start {one.node.name})")
        for one in nodes.states(layout, held)
        if one.stopped
    ]
    dns, (api, versions) = await asyncio.gather(asyncio.to_thread(_dns, layout), _api(layout))
    return Status((*parts, *api, dns), versions)


def _process(name: str, held: Record) -> Part:
    one = held.processes[name]
    identity = one.identity
    if not processes.alive(identity):
        keeper = held.processes.get(keeping.NAME)
        soon = name != keeping.NAME and keeper is not None and processes.alive(keeper.identity)
        again = ", will be started again" if soon else ""
        return Part(name, runs=False, detail=f"not running{again}")
    times = f", restarted {one.restarts} time{'s' if one.restarts > 1 else ''}"
    detail = f"running{times if one.restarts else ''}"
    return Part(name, runs=True, detail=detail, pid=identity.pid, memory=processes.memory(identity.pid))


def _containers(layout: Layout) -> list[Part]:
    contained = {pid for group in files.cgroups(layout.tag) for pid in files.cgroup_pids(group)}
    shims = {one.identity.pid for one in processes.find(lambda command: commands.is_shim(command, layout))}
    parts = []
    for name, pids in (("in pods", contained), ("containerd's shims", shims)):
        weighed = [one for one in map(processes.memory, sorted(pids)) if one]
        if weighed:
            parts.append(Part(name, runs=True, detail=f"{len(weighed)} processes", memory=total(weighed)))
    return parts


def total(weights: Iterable[Memory]) -> Memory:
    """The sum of weights."""
    listed = list(weights)
    return Memory(rss=sum(one.rss for one in listed), pss=sum(one.pss for one in listed))


async def _api(layout: Layout) -> tuple[list[Part], tuple[tuple[str, str], ...]]:
    try:
        access = Access.from_kubeconfig(layout.kubeconfig)
        async with Kube(access) as kube, asyncio.timeout(_PATIENCE):
            return await _objects(kube), await _versions(kube)
    except (aiohttp.ClientConnectionError, TimeoutError):
        return [Part("API", runs=False, detail=f"{layout.server} does not answer")], ()
    except (AccessError, ApiError, aiohttp.ClientError, OSError) as error:
        detail = str(error)
        return [Part("API", runs=False, detail=detail)], ()


async def _objects(kube: Kube) -> list[Part]:
    await kube.fetch("/readyz")
    parts = [Part("API", runs=True, detail=kube.access.server)]
    for node in await kube.list(NODES):
        ready = installation.condition(node, "Ready")
        parts.append(Part(f"node {node['metadata']['name']}", ready, "Ready" if ready else "NotReady"))
    pods = await kube.list(PODS)
    phases = Counter(pod.get("status", {}).get("phase") for pod in pods)
    completed = phases.pop("Succeeded", 0)
    deployments = {one["metadata"]["name"]: one for one in await kube.list(DEPLOYMENTS, "istio-system")}
    if "istiod" not in deployments:
        parts.append(Part("istiod", runs=False, detail="not installed"))
    parts += [_deployed(name, deployments[name]) for name in _MESH if name in deployments]
    parts += [_daemons(one) for one in await kube.list(DAEMONSETS, "istio-system")]
    parts += await _underlay(kube)
    apart = f", {completed} completed" if completed else ""
    parts.append(Part("pods", runs=True, detail=f"{phases['Running']} of {phases.total()} running{apart}"))
    return parts


async def _underlay(kube: Kube) -> list[Part]:
    """What makes underlay networks, where that is installed."""
    namespace = installation.UNDERLAY_NAMESPACE
    controllers, agents = await kube.list(DEPLOYMENTS, namespace), await kube.list(DAEMONSETS, namespace)
    named = {one["metadata"]["name"]: one for one in (*controllers, *agents)}
    parts = []
    if controller := named.get(installation.UNDERLAY_CONTROLLER):
        parts.append(_deployed(installation.UNDERLAY_CONTROLLER, controller))
    if agent := named.get(installation.UNDERLAY_AGENT):
        parts.append(_daemons(agent))
    return parts


def _deployed(name: str, deployment: dict[str, Any]) -> Part:
    """A Deployment of the mesh. A gateway that was made a moment ago is not missing yet: nobody waits for it."""
    up = deployment.get("status", {}).get("availableReplicas", 0)
    wanted = deployment["spec"].get("replicas", 1)
    available, detail = installation.condition(deployment, "Available"), f"{up}/{wanted} available"
    made = datetime.fromisoformat(deployment["metadata"]["creationTimestamp"])
    starting = name in _EDGE and not available and clock.now() - made < _STARTING
    return Part(name, available or starting, f"{detail}, starting" if starting else detail)


def _daemons(daemons: dict[str, Any]) -> Part:
    """A DaemonSet of the mesh: the node processes of its CNI plugin."""
    status = daemons.get("status", {})
    ready, wanted = status.get("numberReady", 0), status.get("desiredNumberScheduled", 0)
    return Part(daemons["metadata"]["name"], ready >= wanted, f"{ready}/{wanted} ready")


async def _versions(kube: Kube) -> tuple[tuple[str, str], ...]:
    server = json.loads(await kube.fetch("/version"))
    found = [("Kubernetes API", str(server.get("gitVersion", "")))]
    for node in await kube.list(NODES):
        info = node.get("status", {}).get("nodeInfo", {})
        found.append((f"{node['metadata']['name']}: runtime", str(info.get("containerRuntimeVersion", ""))))
        found.append((f"{node['metadata']['name']}: kernel", str(info.get("kernelVersion", ""))))
    return tuple((what, version) for what, version in found if version)


def _dns(layout: Layout) -> Part:
    """Ask for the API server's name by the service's address, as pods do."""
    question = dns_messages.ask(f"kubernetes.default.svc.{CLUSTER_DOMAIN}", "A")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(_PATIENCE / 2)
        try:
            asking.connect((str(layout.dns_ip), 53))
            asking.send(question)
            said, found = dns_messages.outcome(asking.recv(4096))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            return Part("DNS", runs=False, detail=f"{layout.dns_ip}:53: {reason}")
    return Part("DNS", runs=bool(found), detail=f"{layout.dns_ip}:53{'' if found else f': {said}'}")
