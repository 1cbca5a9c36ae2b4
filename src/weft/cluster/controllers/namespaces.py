"""Namespaces: what every one of them holds from its start, and how one that is deleted is emptied."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable

import aiohttp

from weft.adapters.kube.client import ApiError, Json, Kube
from weft.adapters.kube.kinds import CONFIGMAPS, NAMESPACES, SERVICEACCOUNTS, Kind
from weft.cluster.controllers.changes import Change, Create, Patch, Plan
from weft.cluster.controllers.loop import Controller, World
from weft.cluster.controllers.objects import Key, is_going

log = logging.getLogger(__name__)

_ROOT_CA = "kube-root-ca.crt"
_PAUSE = 0.2  # seconds between looks at a namespace whose pods are still stopping


class Namespaces(Controller):
    """Gives each namespace its default ServiceAccount and the cluster's root certificate."""

    name = "namespace-controller"
    watches: tuple[Kind, ...] = (NAMESPACES, SERVICEACCOUNTS, CONFIGMAPS)

    def __init__(self, root_ca: str) -> None:
        self._root_ca = root_ca

    def keys(self, kind: Kind, obj: Json, world: World) -> Iterable[Key]:  # noqa: ARG002, the key is in the object
        """The namespace, or that of an object which every namespace must hold."""
        meta = obj["metadata"]
        if kind == NAMESPACES:
            return [("", meta["name"])]
        needed = (kind, meta["name"]) in {(SERVICEACCOUNTS, "default"), (CONFIGMAPS, _ROOT_CA)}
        return [("", meta["namespace"])] if needed else []

    def plan(self, key: Key, world: World) -> Plan:
        """Create what is missing; restore a root certificate that somebody changed."""
        namespace = world.of(NAMESPACES).get(key)
        if namespace is None or is_going(namespace):
            return Plan()
        name, changes = key[1], list[Change]()
        if world.of(SERVICEACCOUNTS).get((name, "default")) is None:
            changes.append(Create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": name}}))
        data = {"ca.crt": self._root_ca}
        held = world.of(CONFIGMAPS).get((name, _ROOT_CA))
        if held is None:
            changes.append(Create(CONFIGMAPS, {"metadata": {"name": _ROOT_CA, "namespace": name}, "data": data}))
        elif held.get("data") != data:
            changes.append(Patch(CONFIGMAPS, held, {"data": data}))
        return Plan(changes)


class Emptier:
    """Empties namespaces that are being deleted, then lets them go."""

    def __init__(self, kube: Kube, tasks: asyncio.TaskGroup) -> None:
        self._kube, self._tasks = kube, tasks
        self._busy: set[str] = set()

    def changed(self, kind: Kind, obj: Json) -> None:
        """Start emptying a namespace once its deletion is asked for."""
        uid = obj["metadata"]["uid"]
        if kind == NAMESPACES and is_going(obj) and uid not in self._busy:
            self._busy.add(uid)
            self._tasks.create_task(self._empty(obj))

    async def _empty(self, namespace: Json) -> None:
        name, uid = namespace["metadata"]["name"], namespace["metadata"]["uid"]
        try:
            while True:
                try:
                    if not await self._delete_contents(name):
                        await _let_go(self._kube, name)
                        return
                except ApiError as error:
                    # a kind may vanish between its discovery and its list; only a missing namespace ends this
                    if error.code != 404:
                        log.warning("namespace %s: %s", name, error)
                    elif await self._is_gone(namespace):
                        return
                except (aiohttp.ClientError, OSError, TimeoutError) as error:
                    log.warning("namespace %s: %s", name, error)
                await asyncio.sleep(_PAUSE)
        finally:
            self._busy.discard(uid)

    async def _is_gone(self, namespace: Json) -> bool:
        names = [obj["metadata"]["uid"] for obj in await self._kube.list(NAMESPACES)]
        return namespace["metadata"]["uid"] not in names

    async def _delete_contents(self, name: str) -> int:
        """Ask for the deletion of everything in a namespace; return how many objects are still there."""
        left = 0
        async for kind in contents(self._kube):
            items = await self._kube.list(kind, name)
            left += len(items)
            for item in items:
                if not is_going(item):
                    await self._kube.delete(kind, item["metadata"]["name"], name, uid=item["metadata"]["uid"])
        return left


async def contents(kube: Kube) -> AsyncIterator[Kind]:
    """Every kind that lies in namespaces and can be deleted, each in one version."""
    groups = (await kube.call("GET", "/apis"))["groups"]
    paths = [("", "v1", "/api/v1")]
    for group in groups:
        version = group["preferredVersion"]["version"]
        paths.append((group["name"], version, f"/apis/{group['name']}/{version}"))
    for group_name, version, path in paths:
        for entry in (await kube.call("GET", path))["resources"]:
            if entry["namespaced"] and "/" not in entry["name"] and {"delete", "list"} <= set(entry["verbs"]):
                yield Kind(group_name, version, entry["kind"], entry["name"])


async def _let_go(kube: Kube, name: str) -> None:
    namespace = await kube.get(NAMESPACES, name)
    spec = namespace.get("spec") or {}
    rest = [finalizer for finalizer in spec.get("finalizers") or () if finalizer != "kubernetes"]
    await kube.replace(NAMESPACES, namespace | {"spec": spec | {"finalizers": rest}}, subresource="finalize")
