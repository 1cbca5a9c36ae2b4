"""A pod's events, told once and then counted."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from weft.cluster.kubelet.status import timestamp

Json = dict[str, Any]

_WRITERS = 8  # one slow write holds up an eighth of the pods
_WAITING = 250  # events in each writer's queue; more are dropped


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth telling. `container` is a name, empty for the pod as a whole."""

    reason: str
    message: str
    warning: bool = False
    container: str = ""


class _Key(NamedTuple):
    uid: str
    event: Event


def new(pod: Mapping[str, Any], event: Event, count: int, first: float, last: float, node: str, name: str) -> Json:
    """The Event object of the API. Times in epoch seconds; `name` is the object's own."""
    metadata = pod["metadata"]
    involved: Json = {
        "kind": "Pod",
        "apiVersion": "v1",
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata["uid"],
    }
    if event.container:
        sorts = ("initContainers", "ephemeralContainers")
        named = (sort for sort in sorts for each in pod["spec"].get(sort) or () if each["name"] == event.container)
        group = next(named, "containers")
        involved["fieldPath"] = f"spec.{group}{{{event.container}}}"
    return _event(involved, metadata["namespace"], event, count, first, last, node, name)


def of_node(event: Event, moment: float, node: str, name: str) -> Json:
    """The Event object of something about the node itself; it is known by its name, before it has a uid."""
    involved: Json = {"kind": "Node", "name": node, "uid": node}
    return _event(involved, "default", event, 1, moment, moment, node, name)


def _event(
    involved: Json, namespace: str, event: Event, count: int, first: float, last: float, node: str, name: str
) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": involved,
        "reason": event.reason,
        "message": event.message[:1024],
        "type": "Warning" if event.warning else "Normal",
        "count": count,
        "firstTimestamp": timestamp(first),
        "lastTimestamp": timestamp(last),
        "source": {"component": "kubelet", "host": node},
        "reportingComponent": "kubelet",
        "reportingInstance": node,
    }


class Recorder:
    """Writes events through `write(event, is_new)`: those of one pod one after the other, several pods' at once.

    An event that was told before about the same pod is counted up instead. What cannot be written is dropped:
    events are best effort everywhere.
    """

    def __init__(
        self, node: str, clock: Callable[[], float], write: Callable[[Json, bool], Awaitable[None]]
    ) -> None:
        self._node, self._clock, self._write = node, clock, write
        self._told: dict[_Key, Json] = {}
        self._told_of_node = 0
        self._queues = [asyncio.Queue[tuple[Json, bool]](_WAITING) for _ in range(_WRITERS)]

    def tell(self, pod: Mapping[str, Any], event: Event) -> None:
        """Tell of an event; returns at once."""
        now = self._clock()
        key = _Key(pod["metadata"]["uid"], event)
        known = self._told.get(key)
        if known is None:
            # the moment in nanoseconds, as all components name events: lists are then in order
            name = f"{pod['metadata']['name']}.{int(now * 1e9) + len(self._told):x}"
            known = new(pod, event, 1, now, now, self._node, name)
            fresh = True
        else:
            known = known | {"count": known["count"] + 1, "lastTimestamp": timestamp(now)}
            fresh = False
        self._told[key] = known
        queue = self._queues[hash(key.uid) % _WRITERS]
        if not queue.full():
            queue.put_nowait((known, fresh))

    def tell_node(self, event: Event) -> None:
        """Tell of something about the node itself."""
        now = self._clock()
        self._told_of_node += 1
        name = f"{self._node}.{int(now * 1e6) + self._told_of_node:x}"
        queue = self._queues[0]
        if not queue.full():
            queue.put_nowait((of_node(event, now, self._node, name), True))

    def forget(self, uid: str) -> None:
        """Drop what is remembered of a pod that is gone."""
        for key in [key for key in self._told if key.uid == uid]:
            del self._told[key]

    async def run(self) -> None:
        """Write what is told, for ever."""
        async with asyncio.TaskGroup() as group:
            for queue in self._queues:
                group.create_task(self._write_all(queue))

    async def _write_all(self, queue: asyncio.Queue[tuple[Json, bool]]) -> None:
        while True:
            await self._write(*await queue.get())
