"""Nodes opened to pods once their node process is ready: the taint `cni.istio.io/not-ready` is taken off.

Whoever makes a node gives it the taint, which the node process tolerates; nobody here does. Several istiods take
off the same, each for the version of the node that it has seen, so that it does not matter who does.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, Final

import aiohttp
import msgspec

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import NODES, PODS
from weft.adapters.kube.reflector import Applied, Change, Deleted, Replaced
from weft.api.kubernetes import Pod

Json = dict[str, Any]

TAINT: Final = "cni.istio.io/not-ready"
NODE_PROCESS: Final = "k8s-app=istio-cni-node"
"""The labels of the node process's pods."""

_PAUSE: Final = 2.0  # seconds before a write that failed is tried again

log = logging.getLogger("weft.untainting")


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """A node's name, and the version of it that was seen."""

    name: str
    resource_version: str = ""


class Spec(msgspec.Struct, frozen=True):
    """A node's taints, as they are written."""

    taints: tuple[Json, ...] | None = None


class Node(msgspec.Struct, frozen=True):
    """A node, for its taints."""

    metadata: Meta
    spec: Spec = Spec()


def opening(nodes: Iterable[Node], node_processes: Iterable[Pod]) -> Iterator[tuple[Node, list[Json]]]:
    """The nodes that carry the taint although their node process is ready, each with the taints that stay."""
    ready = {pod.spec.node_name for pod in node_processes if _is_ready(pod)}
    for node in nodes:
        taints = node.spec.taints or ()
        staying = [taint for taint in taints if taint.get("key") != TAINT]
        if node.metadata.name in ready and len(staying) < len(taints):
            yield node, staying


def _is_ready(pod: Pod) -> bool:
    conditions = {each.type: each.status for each in pod.status.conditions or ()}
    return conditions.get("Ready") == "True" and pod.metadata.deletion_timestamp is None


class Untainting:
    """Follows nodes, and the node processes in the mesh's own `namespace`."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self._kube, self._namespace = kube, namespace
        self._nodes: dict[str, Node] = {}
        self._pods: dict[str, Pod] = {}
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Take taints off, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_nodes())
            tasks.create_task(self._follow_pods())
            while True:
                await self._changed.wait()
                self._changed.clear()
                for node, staying in tuple(opening(self._nodes.values(), self._pods.values())):
                    if not await self._write(node, staying):
                        await asyncio.sleep(_PAUSE)
                        self._changed.set()

    async def _follow_nodes(self) -> None:
        changes: AsyncIterator[Change[Node]] = self._kube.reflect(NODES, decode=Node)
        async for change in changes:
            _take(change, self._nodes)
            self._changed.set()

    async def _follow_pods(self) -> None:
        changes: AsyncIterator[Change[Pod]] = self._kube.reflect(
            PODS, decode=Pod, namespace=self._namespace, labels=NODE_PROCESS
        )
        async for change in changes:
            _take(change, self._pods)
            self._changed.set()

    async def _write(self, node: Node, staying: list[Json]) -> bool:
        """Write a node's taints; whether there is nothing left to do about this version of it."""
        name = node.metadata.name
        patch = {
            "metadata": {"resourceVersion": node.metadata.resource_version},
            "spec": {"taints": staying or None},
        }
        try:
            await self._kube.patch(NODES, name, patch)
        except ApiError as error:
            if error.code in {404, 409}:
                return True  # it is gone, or has moved on: then it comes again
            log.warning("node %s keeps its taint %s: %s", name, TAINT, error)
            return False
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            log.warning("node %s keeps its taint %s: %s", name, TAINT, error)
            return False
        log.info("node %s: its node process is ready, so the taint %s is taken off", name, TAINT)
        return True


def _take(change: Change[Any], into: dict[str, Any]) -> None:
    """Keep what is known by name up to date."""
    match change:
        case Replaced(objects):
            into.clear()
            into.update(_named(objects))
        case Applied(one):
            into[one.metadata.name] = one
        case Deleted(one):
            into.pop(one.metadata.name, None)


def _named(objects: Iterable[Any]) -> Mapping[str, Any]:
    return {one.metadata.name: one for one in objects}
