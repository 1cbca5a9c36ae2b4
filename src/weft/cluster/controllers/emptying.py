"""How a namespace that is deleted is emptied, and what its status tells of that meanwhile."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

import aiohttp

from weft.adapters.kube.client import ApiError, Json, Kube
from weft.adapters.kube.kinds import NAMESPACES, PODS, Kind
from weft.cluster.controllers.following import served
from weft.cluster.controllers.objects import condition, is_going, with_condition

log = logging.getLogger(__name__)

_FIRST_PAUSE, _LAST_PAUSE = 0.1, 10.0  # seconds between looks at a namespace in which something is still there


@dataclass(slots=True)
class Content:
    """What a look found: how many objects of each resource, of each finalizer, and what could not be deleted."""

    left: Counter[str] = field(default_factory=Counter)
    finalizers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    unknown: dict[str, str] = field(default_factory=dict)
    """Groups that do not say what they have, and why."""

    def conditions(self) -> list[Json]:
        """The conditions of the namespace, in Kubernetes' words."""
        failed = f"Failed to delete all resource types, {len(self.failures)} remaining: {', '.join(self.failures)}"
        remaining = [
            f"{resource} has {number} resource instances" for resource, number in sorted(self.left.items())
        ]
        held = [f"{name} in {number} resource instances" for name, number in sorted(self.finalizers.items())]
        return [
            self._discovered(),
            _condition(
                "NamespaceDeletionGroupVersionParsingFailure",
                "ParsedGroupVersions",
                "All legacy kube types successfully parsed",
            ),
            _condition("NamespaceDeletionContentFailure", "ContentDeletionFailed", failed, holds=True)
            if self.failures
            else _condition(
                "NamespaceDeletionContentFailure",
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization",
            ),
            _condition(
                "NamespaceContentRemaining",
                "SomeResourcesRemain",
                f"Some resources are remaining: {', '.join(remaining)}",
                holds=True,
            )
            if remaining
            else _condition("NamespaceContentRemaining", "ContentRemoved", "All content successfully removed"),
            _condition(
                "NamespaceFinalizersRemaining",
                "SomeFinalizersRemain",
                f"Some content in the namespace has finalizers remaining: {', '.join(held)}",
                holds=True,
            )
            if held
            else _condition(
                "NamespaceFinalizersRemaining",
                "ContentHasNoFinalizers",
                "All content-preserving finalizers finished",
            ),
        ]

    def _discovered(self) -> Json:
        kind = "NamespaceDeletionDiscoveryFailure"
        if not self.unknown:
            return _condition(kind, "ResourcesDiscovered", "All resources successfully discovered")
        groups = ", ".join(f"{group}: {why}" for group, why in sorted(self.unknown.items()))
        failing = f"Discovery failed for some groups, {len(self.unknown)} failing"
        message = f"{failing}: unable to retrieve the complete list of server APIs: {groups}"
        return _condition(kind, "DiscoveryFailed", message, holds=True)


def _condition(kind: str, reason: str, message: str, *, holds: bool = False) -> Json:
    return {"type": kind, "status": "True" if holds else "False", "reason": reason, "message": message}


class Emptier:
    """Empties namespaces that are being deleted, then lets them go."""

    def __init__(self, kube: Kube, tasks: asyncio.TaskGroup, clock: Callable[[], datetime]) -> None:
        self._kube, self._tasks, self._clock = kube, tasks, clock
        self._busy: set[str] = set()
        self._news: dict[str, asyncio.Event] = {}

    def changed(self, kind: Kind, obj: Json) -> None:
        """Start emptying a namespace once its deletion is asked for; look again when something in it changes."""
        uid = obj["metadata"]["uid"]
        if news := self._news.get(obj["metadata"].get("namespace", "")):
            news.set()
        if kind == NAMESPACES and is_going(obj) and uid not in self._busy:
            self._busy.add(uid)
            self._tasks.create_task(self._empty(obj))

    async def _empty(self, namespace: Json) -> None:
        name, uid = namespace["metadata"]["name"], namespace["metadata"]["uid"]
        before, pause = Content(), _FIRST_PAUSE
        news = self._news.setdefault(name, asyncio.Event())
        try:
            while True:
                try:
                    content = await self._delete_contents(name)
                    await self._tell(name, content)
                    if not content.left and not content.unknown:
                        await self._let_go(name)
                        return
                    # what only somebody else can finish is not looked at all the time
                    pause = min(pause * 2, _LAST_PAUSE) if content == before else _FIRST_PAUSE
                    before = content
                except ApiError as error:
                    # a kind may vanish between its discovery and its list; only a missing namespace ends this
                    if error.code not in {404, 409}:
                        log.warning("namespace %s: %s", name, error)
                    elif await self._is_gone(namespace):
                        return
                except (aiohttp.ClientError, OSError, TimeoutError) as error:
                    log.warning("namespace %s: %s", name, error)
                await asyncio.sleep(_FIRST_PAUSE)
                news.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(news.wait(), pause)
        finally:
            self._busy.discard(uid)
            self._news.pop(name, None)

    async def _is_gone(self, namespace: Json) -> bool:
        names = [obj["metadata"]["uid"] for obj in await self._kube.list(NAMESPACES)]
        return namespace["metadata"]["uid"] not in names

    async def _delete_contents(self, name: str) -> Content:
        """Ask for the deletion of everything in a namespace: of its pods first, of the rest once they are gone."""
        content = Content()
        await self._delete_all(PODS, name, content)
        if content.left:
            return content
        async for kind in served(self._kube, content.unknown):
            if kind.namespaced:
                await self._delete_all(kind, name, content)
        return content

    async def _delete_all(self, kind: Kind, name: str, content: Content) -> None:
        resource = f"{kind.plural}.{kind.group}"
        for item in await self._kube.list(kind, name):
            meta = item["metadata"]
            if not is_going(item):
                try:
                    await self._kube.delete(kind, meta["name"], name, uid=meta["uid"])
                except ApiError as error:
                    content.failures.append(str(error))
        for item in await self._kube.list(kind, name):
            content.left[resource] += 1
            content.finalizers.update(item["metadata"].get("finalizers") or ())

    async def _tell(self, name: str, content: Content) -> None:
        """Write the conditions, unless nothing is left to be told to anybody."""
        namespace = await self._kube.get(NAMESPACES, name)
        told = any(condition(namespace, new["type"]) for new in content.conditions())
        if not content.left and not content.unknown and not told:
            return
        conditions: list[Json] = namespace.get("status", {}).get("conditions") or []
        for new in content.conditions():
            held = condition(namespace, new["type"])
            if any(held.get(key) != value for key, value in new.items()):
                conditions = with_condition(conditions, new, self._clock())
        plain = [{key: value for key, value in entry.items() if key != "lastUpdateTime"} for entry in conditions]
        if plain != (namespace.get("status", {}).get("conditions") or []):
            await self._kube.patch(NAMESPACES, name, {"status": {"conditions": plain}}, subresource="status")

    async def _let_go(self, name: str) -> None:
        namespace = await self._kube.get(NAMESPACES, name)
        spec = namespace.get("spec") or {}
        rest = [finalizer for finalizer in spec.get("finalizers") or () if finalizer != "kubernetes"]
        await self._kube.replace(
            NAMESPACES, namespace | {"spec": spec | {"finalizers": rest}}, subresource="finalize"
        )
