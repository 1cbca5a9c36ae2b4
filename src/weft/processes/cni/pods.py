"""The pods of this node, followed by one watch: what a CNI call asks about is known, or comes by an event."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import aiohttp

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import PODS
from weft.adapters.kube.reflector import Applied, Change, Deleted, Replaced

Json = dict[str, Any]
Key = tuple[str, str]
"""Namespace and name."""

_MIRRORS: Final = ("kubernetes.io/config.hash", "kubernetes.io/config.mirror")
"""What a mirror has of its static pod: the kubelet calls that by this UID, not by the mirror's own."""
_BEHIND: Final = 1.0
"""Seconds after which a pod that the kubelet has and we do not makes us ask for it: our watch may be behind."""

log = logging.getLogger("weft.cni.pods")


class Pods:
    """Give `run` a task, and ask. Pods are whole objects without their managed fields; leave them as they are."""

    def __init__(self, kube: Kube, node: str, *, behind: float = _BEHIND) -> None:
        self._kube, self._node, self._behind = kube, node, behind
        self._pods: dict[Key, Json] = {}
        self._changed = asyncio.Event()
        self._followers: list[Callable[[Change[Json]], None]] = []
        self.synced = asyncio.Event()
        """Set once all pods have been read."""

    def follow(self, follower: Callable[[Change[Json]], None]) -> None:
        """Call `follower` after each change, in the order they come: `Replaced`, `Applied` or `Deleted`."""
        self._followers.append(follower)

    async def run(self) -> None:
        """Follow this node's pods, for ever."""
        changes: AsyncIterator[Change[Json]] = self._kube.reflect(PODS, fields=f"spec.nodeName={self._node}")
        async for change in changes:
            self._take(change)

    def all(self) -> tuple[Json, ...]:
        """The pods that are known now."""
        return tuple(self._pods.values())

    async def find(self, namespace: str, name: str, uid: str, patience: float) -> Json | None:
        """The pod, at once if it is known, else as soon as it is; None if it does not come within `patience` (s).

        A pod of that name with another UID is another pod. Without a UID the name must do.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._behind):
                        return await self._told(namespace, name, uid)
                return await self._asked(namespace, name, uid) or await self._told(namespace, name, uid)
        return None

    async def _told(self, namespace: str, name: str, uid: str) -> Json:
        """The pod, as soon as the watch has told of it."""
        while (pod := self._known(namespace, name, uid)) is None:
            await self._changed.wait()
        return pod

    async def _asked(self, namespace: str, name: str, uid: str) -> Json | None:
        """The pod by a request of its own: the watch should have told of it by now."""
        try:
            pod = await self._kube.get(PODS, name, namespace)
        except ApiError as error:
            level = logging.DEBUG if error.code == 404 else logging.WARNING
            log.log(level, "pod %s/%s is not known, and asking for it gives: %s", namespace, name, error)
        except (aiohttp.ClientError, OSError) as error:
            log.warning("pod %s/%s is not known, and the API server cannot be asked: %s", namespace, name, error)
        else:
            if has_uid(pod, uid):
                return pod
        return None

    def _known(self, namespace: str, name: str, uid: str) -> Json | None:
        pod = self._pods.get((namespace, name))
        return pod if pod is not None and has_uid(pod, uid) else None

    def _take(self, change: Change[Json]) -> None:
        match change:
            case Replaced(objects):
                self._pods = {_key(pod): _lean(pod) for pod in objects}
                self.synced.set()
            case Applied(pod):
                self._pods[_key(pod)] = _lean(pod)
            case Deleted(pod):
                self._pods.pop(_key(pod), None)
        for follower in self._followers:
            follower(change)
        # whoever waits looks again; who comes later waits for the next change
        self._changed.set()
        self._changed = asyncio.Event()


def _key(pod: Mapping[str, Any]) -> Key:
    return pod["metadata"]["namespace"], pod["metadata"]["name"]


def _lean(pod: Json) -> Json:
    pod["metadata"].pop("managedFields", None)
    return pod


def has_uid(pod: Mapping[str, Any], uid: str) -> bool:
    """Whether the kubelet may call a pod by a UID; by none, any pod."""
    metadata = pod["metadata"]
    annotations = metadata.get("annotations") or {}
    return not uid or uid in {metadata.get("uid"), *(annotations.get(key) for key in _MIRRORS)}
