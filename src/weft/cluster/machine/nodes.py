"""Single nodes of a cluster: stopped as by a power cut, started again, drained and taken out for good."""

import asyncio
import json
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import msgspec

from weft.adapters import files, netlink, processes
from weft.adapters.kube.access import Access
from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import LEASES, NODES, PODS
from weft.cluster.kubelet import runtime_config
from weft.cluster.machine import certificates, commands, facts, installation, network, record, removal
from weft.cluster.machine.layout import Layout, Node
from weft.cluster.machine.record import Record
from weft.cluster.machine.steps import Steps
from weft.cluster.machine.supervision import Supervisor
from weft.cluster.machine.trouble import Trouble, UpError

DRAIN_SECONDS = 40.0
"""How long the pods of a node that is removed have to end; their usual grace is 30 s."""

_READY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class State:
    """One node as the machine sees it. `runs`: both of its processes do."""

    node: Node
    runs: bool
    stopped: bool
    """Whether it was stopped: nothing of it is on the machine but its disk."""
    pid: int


def states(layout: Layout, held: Record) -> list[State]:
    """All nodes in order."""
    powered = network.running(layout)
    found = []
    for node in layout.nodes:
        parts = [held.processes.get(name) for name in _names(layout, node)]
        alive = [one for one in parts if one and processes.alive(one.identity)]
        pid = parts[1].pid if parts[1] in alive and parts[1] else 0
        found.append(State(node, runs=len(alive) == 2, stopped=node not in powered, pid=pid))
    return found


def configure(node: Node) -> None:
    """Write what a node's containerd and CNI plugins are told; what others changed of the latter stays."""
    paths = commands.paths(node)
    conflist = runtime_config.cni_conflist(
        str(node.pods), paths.cni_state, migrate=facts.knows_sysctl(runtime_config.MIGRATE)
    )
    wanted = {paths.config: runtime_config.containerd_config(paths)}
    if files.read(paths.conflist) in {None, files.read(paths.written_conflist)}:
        wanted[paths.conflist] = wanted[paths.written_conflist] = json.dumps(conflist, indent=2) + "\n"
    for path, content in wanted.items():
        if files.read(path) != content:
            files.write(path, content)
    files.overlay(paths.cni_bin, runtime_config.CNI_BIN, *paths.cni_installed)
    for folder in (paths.root, paths.state):
        folder.mkdir(parents=True, exist_ok=True)


def stop(layout: Layout, held: Record, node: Node) -> bool:
    """End a node at once, as if its machine lost power; its disk stays. False where it was stopped already."""
    if node not in network.running(layout):
        return False
    removal.remove_node(layout, node, data=False)
    # service addresses are reached through another node from now on
    network.ensure(layout, network.running(layout))
    _forget(layout, held, node)
    return True


async def start(layout: Layout, held: Record, node: Node, steps: Steps) -> None:
    """Start a stopped node, and wait until it is Ready; UpError where it does not get there."""
    supervisor = Supervisor({name: one.identity for name, one in held.processes.items()})
    if "apiserver" not in supervisor.running:
        raise UpError(Trouble("The cluster does not run.", "Start it, with all its nodes: weft up"))
    try:
        with steps.step("network and settings"):
            powered = {*network.running(layout), node}
            certificates.ensure(layout)
            network.ensure(layout, [one for one in layout.nodes if one in powered])
            configure(node)
    except (netlink.NetlinkError, OSError) as error:
        raise UpError(Trouble(f"{node.name}: {error}.", f"Try: weft node stop {node.name}, then start")) from error
    with steps.step("processes"):
        for command in (commands.containerd(layout, node), commands.node_process(layout, node)):
            supervisor.ensure(command)
        running = record.started(held, supervisor.running)
        record.save(layout.home, msgspec.structs.replace(held, processes=running))
    with steps.step(f"node {node.name}"):
        await _ready(layout, node, supervisor)


async def _ready(layout: Layout, node: Node, supervisor: Supervisor) -> None:
    guard = asyncio.create_task(supervisor.guard())
    try:
        async with Kube(Access.from_kubeconfig(layout.kubeconfig)) as kube, asyncio.timeout(_READY_SECONDS):
            waiting = asyncio.create_task(installation.node_ready(kube, node))
            await asyncio.wait((waiting, guard), return_when=asyncio.FIRST_COMPLETED)
            if guard.done():
                waiting.cancel()
                guard.result()
            await waiting
            await installation.plugin_ready(kube, len(network.running(layout)))
            if layout.underlay:
                await installation.underlay_ready(kube, len(network.running(layout)))
    except TimeoutError as error:
        what, log = f"{node.name} is not Ready after {_READY_SECONDS:.0f} s.", layout.log(f"node-{node.name}")
        raise UpError(Trouble(what, f"Its log: {log}")) from error
    finally:
        guard.cancel()


async def cordon(kube: Kube, node: Node) -> None:
    """Let no new pods come to a node."""
    await _unless_gone(kube.patch(NODES, node.name, {"spec": {"unschedulable": True}}))


async def retire(kube: Kube, layout: Layout, node: Node) -> int:
    """Drain a cordoned node and take it out of the cluster, with its disk; how many pods were ended by force."""
    if node in network.running(layout):
        await _drain(kube, node)
    await asyncio.to_thread(removal.remove_node, layout, node, data=True)
    await asyncio.to_thread(network.drop, layout, node)
    await _unless_gone(kube.delete(NODES, node.name))
    await _unless_gone(kube.delete(LEASES, node.name, "kube-node-lease"))
    left = await _pods(kube, node)
    for pod in left:
        await _unless_gone(kube.delete(PODS, pod["name"], pod["namespace"], grace=0))
    return sum(not _stays(pod) for pod in left)


async def _drain(kube: Kube, node: Node) -> None:
    """Delete its pods, also those that the scheduler had just sent there, and wait for the end of all.

    What is still there after the usual grace has had its time.
    """
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            while pods := [pod for pod in await _pods(kube, node) if not _stays(pod)]:
                for pod in pods:
                    if "deletionTimestamp" not in pod:
                        await _unless_gone(kube.delete(PODS, pod["name"], pod["namespace"]))
                await asyncio.sleep(0.1)
    except TimeoutError:
        return


async def _pods(kube: Kube, node: Node) -> list[dict[str, Any]]:
    """The metadata of a node's pods."""
    return [pod["metadata"] for pod in await kube.list(PODS) if pod["spec"].get("nodeName") == node.name]


def _stays(pod: dict[str, Any]) -> bool:
    """A DaemonSet's pod comes again as long as there is the node, so nobody waits for its end."""
    return any(owner.get("kind") == "DaemonSet" for owner in pod.get("ownerReferences") or [])


async def _unless_gone(request: Awaitable[object]) -> None:
    try:
        await request
    except ApiError as error:
        if error.code != 404:
            raise


def _names(layout: Layout, node: Node) -> tuple[str, str]:
    return commands.containerd(layout, node).name, commands.node_process(layout, node).name


def _forget(layout: Layout, held: Record, node: Node) -> None:
    names = _names(layout, node)
    left = {name: one for name, one in held.processes.items() if name not in names}
    record.save(layout.home, msgspec.structs.replace(held, processes=left))
