"""The caches of every kind that is served: the built-in ones, and those of definitions as they come and go."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from weft.adapters.kube.client import ApiError, Json, Kube
from weft.adapters.kube.kinds import CRDS, Kind
from weft.cluster.controllers.cache import Cache
from weft.cluster.controllers.objects import condition

_PATIENCE = 5.0  # seconds that other kinds get to be listed before the controllers begin
_FLEETING = {"Event"}  # nothing owns them and they own nothing


class Follower:
    """Keeps a cache for each kind. A kind is among `caches` once all its objects are known."""

    def __init__(self, kube: Kube, tasks: asyncio.TaskGroup, changed: Callable[[Kind, Json], None]) -> None:
        self.caches: dict[Kind, Cache] = {}
        self._kube, self._tasks, self._changed = kube, tasks, changed
        self._following: dict[Kind, tuple[asyncio.Task[None], asyncio.Event]] = {}
        self._defined: dict[str, Kind] = {}

    async def start(self, kinds: Iterable[Kind]) -> None:
        """Follow these kinds and all others that are served; returns once these are known, and most others."""
        for kind in (CRDS, *kinds):
            self._follow(kind)
        await self._known()
        defined = {crd["metadata"]["name"] for crd in self.caches[CRDS]}
        async for kind in served(self._kube, {}):
            if kind.kind not in _FLEETING and f"{kind.plural}.{kind.group}" not in defined:
                self._follow(kind)
        for crd in self.caches[CRDS]:
            self.defined(crd)
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._known()
        except TimeoutError:
            pass  # a kind that cannot be listed is unknown, and so are its objects

    def defined(self, crd: Json) -> None:
        """Follow the kind of a definition, or leave it when that is going or has another version."""
        name = crd["metadata"]["name"]
        there = CRDS in self.caches and self.caches[CRDS].get(("", name)) is not None
        kind = custom_kind(crd) if there else None
        held = self._defined.get(name)
        if held == kind:
            return
        if held:
            task, _ = self._following.pop(held)
            task.cancel()
            self.caches.pop(held, None)
            del self._defined[name]
        if kind:
            self._defined[name] = kind
            self._follow(kind)

    def _follow(self, kind: Kind) -> None:
        if kind not in self._following:
            synced = asyncio.Event()
            self._following[kind] = self._tasks.create_task(self._reflect(kind, synced)), synced

    async def _reflect(self, kind: Kind, synced: asyncio.Event) -> None:
        cache = Cache(kind, self._changed)
        async for change in self._kube.reflect(kind, decode=dict[str, Any]):
            self.caches[kind] = cache
            cache.take(change)
            synced.set()

    async def _known(self) -> None:
        await asyncio.gather(*(synced.wait() for _, synced in self._following.values()))


def custom_kind(crd: Json) -> Kind | None:
    """The kind that a definition adds, in the version that is stored; None while it is not served."""
    spec = crd["spec"]
    served_versions = [version for version in spec["versions"] if version.get("served")]
    if condition(crd, "Established").get("status") != "True" or not served_versions:
        return None
    version = next((each for each in served_versions if each.get("storage")), served_versions[0])
    names = spec["names"]
    return Kind(spec["group"], version["name"], names["kind"], names["plural"], spec["scope"] == "Namespaced")


async def served(kube: Kube, failures: dict[str, str]) -> AsyncIterator[Kind]:
    """Every kind that can be listed, watched and deleted, each in one version.

    A group that does not answer is put into `failures`, with the reason.
    """
    groups = (await kube.call("GET", "/apis"))["groups"]
    paths = [("", "v1", "/api/v1")]
    for group in groups:
        version = group["preferredVersion"]["version"]
        paths.append((group["name"], version, f"/apis/{group['name']}/{version}"))
    for group_name, version, path in paths:
        try:
            resources = (await kube.call("GET", path))["resources"]
        except ApiError as error:
            if error.code != 404:  # gone since it was listed
                failures[f"{group_name}/{version}"] = str(error)
            continue
        for entry in resources:
            if "/" not in entry["name"] and {"delete", "list", "watch"} <= set(entry["verbs"]):
                yield Kind(group_name, version, entry["kind"], entry["name"], entry["namespaced"])
