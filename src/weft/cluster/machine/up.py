"""`weft up`: from nothing, or from what is left, to a cluster with a mesh in it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import aiohttp
import msgspec

from weft.adapters import files, netlink, netns, processes
from weft.adapters.kube.access import Access
from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import DEPLOYMENTS, PODS
from weft.cluster.machine import (
    certificates,
    commands,
    facts,
    installation,
    network,
    nodes,
    preflight,
    record,
    removal,
)
from weft.cluster.machine.layout import Layout, Node
from weft.cluster.machine.record import Record
from weft.cluster.machine.steps import Steps
from weft.cluster.machine.supervision import Supervisor
from weft.cluster.machine.trouble import Trouble, UpError

T = TypeVar("T")

READY_SECONDS = 90.0
"""How long nodes and the mesh may take before `up` gives up; ten seconds are usual."""

CONTROL_PLANE = "istiod"


@dataclass(frozen=True, slots=True)
class Mesh:
    """What to install: a version, and its objects in order, made when they are needed.

    `edge` are those that are of no use before the control plane runs: they are applied then, and not waited for.
    """

    version: str
    objects: Callable[[], list[dict[str, Any]]]
    edge: Callable[[], list[dict[str, Any]]] = list


@dataclass(frozen=True, slots=True)
class Underlay:
    """What to install for underlay networks: a version, what was chosen of it, and its objects in order."""

    version: str
    values: tuple[str, ...]
    objects: Callable[[], list[dict[str, Any]]]


class Up:
    """One run of `weft up`. After a failure or an interruption, `undo` takes down what it started."""

    def __init__(self, layout: Layout, steps: Steps, mesh: Mesh, underlay: Underlay | None = None) -> None:
        self.layout, self.steps, self.mesh, self.underlay = layout, steps, mesh, underlay
        self.record = record.load(layout.home)
        self.fresh = self.record is None
        before = self.record.processes if self.record else {}
        self.supervisor = Supervisor({name: one.identity for name, one in before.items()})
        self.ran_before = bool(self.supervisor.running)
        held = self.record.layout().nodes if self.record else ()
        self.surplus = held[layout.node_count :]
        self._nodes = max(layout.node_count, len(held))
        self._touched = False
        self._mesh_applied = asyncio.Event()

    async def run(self) -> None:
        """Bring everything up; UpError with the reason where it cannot be."""
        with self.steps.step("preflight"):
            await asyncio.to_thread(self._preflight)
        self._touched = True
        if self.fresh:
            # of a run that failed
            await asyncio.to_thread(files.remove, self.layout.home / "log")
        self._save()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._threaded("certificates", lambda: certificates.ensure(self.layout)))
            group.create_task(self._threaded("namespaces and links", lambda: network.ensure(self.layout)))
            group.create_task(self._threaded("containerd's settings", self._configure))
        async with self._guarded():
            self._start_all()
            self._save()
            await self._settle()

    def undo(self) -> None:
        """After a failure: a new cluster goes whole but for its logs; of an old one, what this run started."""
        if not self._touched:
            removal.forsake(self.layout.home)
            return
        if self.fresh:
            removal.remove(self.layout, data=True, keep={"log"})
        elif not self.ran_before:
            removal.remove(self.layout, data=False)
        else:
            processes.end(self.supervisor.started, patience=2.0)

    def _preflight(self) -> None:
        _same_machine(self.record)
        _same_choices(self.record, self.layout)
        _own_home(self.layout)
        found = facts.gather(self.layout, fresh="apiserver" not in self.supervisor.running)
        if troubles := preflight.check(self.layout, found):
            raise UpError(*troubles)
        if not self.ran_before:
            # what an earlier run left without a record of it would be in the way
            removal.remove(self.layout, data=False)

    async def _threaded(self, name: str, work: Callable[[], None]) -> None:
        with self.steps.step(name):
            try:
                await asyncio.to_thread(work)
            except (netlink.NetlinkError, OSError, ValueError) as error:
                raise UpError(Trouble(f"{name}: {error}.", "Try `weft down`, then `weft up`.")) from error

    def _configure(self) -> None:
        for node in self.layout.nodes:
            nodes.configure(node)

    def _start_all(self) -> None:
        wanted = [*commands.of(self.layout).values(), commands.supervisor(self.layout)]
        with self.steps.step("processes") as step:
            started = [command.name for command in wanted if self.supervisor.ensure(command)]
            kept = len(wanted) - len(started)
            step.note = f"{kept} already ran" if kept and started else "all already ran" if kept else ""
            if kept and started:
                step.note += f", started {', '.join(started)}"

    async def _settle(self) -> None:
        async with Kube(Access.from_kubeconfig(self.layout.kubeconfig)) as kube:
            with self.steps.step("API server"):
                await self._patiently(installation.reachable(kube), "the API server", kube, log="apiserver")
            async with asyncio.TaskGroup() as group:
                group.create_task(self._mesh(kube))
                if self.underlay:
                    group.create_task(self._underlay(kube, self.underlay))
                for node in self.layout.nodes:
                    group.create_task(self._node(kube, node))
            # all of them first, so that no pod goes from one to the next
            for node in self.surplus:
                with self._speaking(f"node {node.name}"):
                    await nodes.cordon(kube, node)
            for node in reversed(self.surplus):
                await self._retire(kube, node)

    async def _retire(self, kube: Kube, node: Node) -> None:
        with self.steps.step(f"removing node {node.name}") as step, self._speaking(f"node {node.name}"):
            forced = await nodes.retire(kube, self.layout, node)
            step.note = f"{forced} pod(s) ended by force" if forced else "drained"
        for command in (commands.containerd(self.layout, node), commands.node_process(self.layout, node)):
            self.supervisor.running.pop(command.name, None)
        self._nodes = node.number - 1
        self._save()

    async def _node(self, kube: Kube, node: Node) -> None:
        with self.steps.step(f"node {node.name}"):
            await self._patiently(
                installation.node_ready(kube, node), f"node {node.name}", kube, log=f"node-{node.name}"
            )
            with self._speaking(f"node {node.name}"):
                await installation.give_role(kube, node)

    async def _mesh(self, kube: Kube) -> None:
        with self.steps.step("cluster DNS"), self._speaking("the DNS service"):
            await installation.apply_dns(kube, self.layout)
        with self.steps.step("mesh objects") as step, self._speaking("the mesh's objects"):
            held = self.record.installed if self.record else ""
            installed = held == self.mesh.version and await installation.exists(
                kube, DEPLOYMENTS, CONTROL_PLANE, installation.MESH_NAMESPACE
            )
            if installed:
                step.note = f"{held} already installed"
            else:
                step.note = f"{await installation.apply_all(kube, self.mesh.objects())} applied"
        self._mesh_applied.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._control_plane(kube))
            group.create_task(self._plugin(kube))
        if not installed:
            await self._edge(kube)
            self._save(installed=self.mesh.version)

    async def _control_plane(self, kube: Kube) -> None:
        with self.steps.step("istiod"):
            await self._patiently(
                installation.control_plane_available(kube, CONTROL_PLANE, installation.MESH_NAMESPACE),
                "deployment istiod",
                kube,
                log=f"node-{self.layout.nodes[0].name}",
            )

    async def _plugin(self, kube: Kube) -> None:
        """Wait for the CNI plugin on every node, where the mesh has one: pods in the mesh start with it alone."""
        with self.steps.step("CNI plugin") as step:
            used = await self._patiently(
                installation.plugin_ready(kube, self.layout.node_count),
                f"daemonset {installation.NODE_PROCESS}",
                kube,
                log=f"node-{self.layout.nodes[0].name}",
            )
            step.note = "" if used else "not used"

    async def _underlay(self, kube: Kube, underlay: Underlay) -> None:
        wanted = " ".join((underlay.version, *underlay.values))
        await self._mesh_applied.wait()
        with self.steps.step("underlay objects") as step, self._speaking("the underlay's objects"):
            if (
                self.record
                and self.record.underlay_installed == wanted
                and await installation.exists(
                    kube, DEPLOYMENTS, installation.UNDERLAY_CONTROLLER, installation.UNDERLAY_NAMESPACE
                )
            ):
                step.note = f"{underlay.version} already installed"
            else:
                # it runs once, and with other choices once more
                await kube.delete(PODS, installation.UNDERLAY_INIT, installation.UNDERLAY_NAMESPACE, grace=0)
                step.note = f"{await installation.apply_all(kube, underlay.objects())} applied"
        with self.steps.step("underlay"):
            await self._patiently(
                installation.underlay_ready(kube, self.layout.node_count),
                "the underlay",
                kube,
                log=f"node-{self.layout.nodes[0].name}",
                namespace=installation.UNDERLAY_NAMESPACE,
            )
        self._save(underlay=wanted)

    async def _edge(self, kube: Kube) -> None:
        if not (objects := self.mesh.edge()):
            return
        with self.steps.step("gateways") as step, self._speaking("the gateways' objects"):
            step.note = f"{await installation.apply_all(kube, objects)} applied"

    async def _patiently(
        self, work: Awaitable[T], what: str, kube: Kube, *, log: str, namespace: str = installation.MESH_NAMESPACE
    ) -> T:
        try:
            async with asyncio.timeout(READY_SECONDS):
                with self._speaking(what):
                    return await work
        except TimeoutError as error:
            reasons = await _reasons(kube, namespace)
            said = f" ({'; '.join(reasons)})" if reasons else ""
            raise UpError(
                Trouble(
                    f"{what} is not ready after {READY_SECONDS:.0f} s{said}.", f"Its log: {self.layout.log(log)}"
                )
            ) from error

    @contextmanager
    def _speaking(self, what: str) -> Iterator[None]:
        """The body's trouble with the API server, said as ours."""
        try:
            yield
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            said, log = str(error) or "nothing for too long", self.layout.log("apiserver")
            raise UpError(Trouble(f"{what}: the API server says: {said}.", f"Its log: {log}")) from error

    @asynccontextmanager
    async def _guarded(self) -> AsyncIterator[None]:
        """The body, broken off as soon as one of the processes ends."""
        async with asyncio.TaskGroup() as group:
            guard = group.create_task(self.supervisor.guard())
            try:
                yield
            finally:
                guard.cancel()

    def _save(self, *, installed: str = "", underlay: str = "") -> None:
        held = self.record or record.of(self.layout, machine_namespace=netns.current())
        new = msgspec.structs.replace(
            held,
            nodes=self._nodes,
            processes=record.started(held, self.supervisor.running),
            installed=installed or held.installed,
            underlay=self.layout.underlay,
            underlay_installed=underlay or held.underlay_installed,
            values=self.underlay.values if self.underlay else held.values,
        )
        if new != self.record:
            record.save(self.layout.home, new)
        self.record = new


def chosen(layout: Layout, held: Record | None) -> Layout:
    """The layout with the choices that the record holds, where there is one: options that were not given."""
    if held is None:
        return layout
    known = held.layout()
    return replace(known, home=layout.home)


def _same_machine(held: Record | None) -> None:
    if held is None or held.machine_namespace == netns.current():
        return
    if any(processes.alive(one.identity) for one in held.processes.values()):
        raise UpError(
            Trouble("This cluster runs in another network namespace.", "Enter it, or end the cluster: weft down")
        )


def _same_choices(held: Record | None, layout: Layout) -> None:
    if held is None:
        return
    pairs = (
        ("--pod-cidr", held.pod_cidr, str(layout.pods)),
        ("--service-cidr", held.service_cidr, str(layout.services)),
        ("--node-cidr", held.node_cidr, str(layout.lan)),
        ("--api-port", str(held.api_port), str(layout.api_port)),
        ("--upstream", ", ".join(held.upstreams) or "none", ", ".join(layout.upstreams) or "none"),
    )
    for option, old, new in pairs:
        if old != new:
            raise UpError(
                Trouble(f"This cluster was made with {option} {old}.", "To change it: weft down, then weft up.")
            )


def _own_home(layout: Layout) -> None:
    if others := removal.foreign(layout.home):
        raise UpError(
            Trouble(
                f"{layout.home} is not a cluster's home: it holds {', '.join(others[:3])}.",
                "Choose an empty or new folder: weft up --home DIR",
            )
        )


async def _reasons(kube: Kube, namespace: str) -> list[str]:
    try:
        return await installation.waiting_reasons(kube, namespace)
    except (ApiError, OSError, TimeoutError):
        return []
