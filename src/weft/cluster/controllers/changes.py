"""What a controller wants done: changes to the API's objects, as values."""

import asyncio
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from weft.adapters.kube.client import ApiError, Json, Kube
from weft.adapters.kube.kinds import EVENTS, PODS, Kind
from weft.cluster.controllers.objects import key_of, timestamp


@dataclass(frozen=True, slots=True)
class Create:
    """Bring a new object into being. `then` is told once it is there; `{name}` in it becomes the object's name."""

    kind: Kind
    object: Json
    then: "Tell | None" = None


@dataclass(frozen=True, slots=True)
class Patch:
    """Merge `patch` into an object, or into its status."""

    kind: Kind
    of: Json
    patch: Json
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Delete:
    """Take away this object, and no other of its name."""

    kind: Kind
    of: Json
    propagation: str = "Background"
    grace: int | None = None


@dataclass(frozen=True, slots=True)
class Bind:
    """Give a pod its node."""

    pod: Json
    node: str


@dataclass(frozen=True, slots=True)
class Erase:
    """Remove a folder of this machine and all that is in it."""

    folder: str


@dataclass(frozen=True, slots=True)
class Put:
    """Write a whole object over the revision that it carries."""

    kind: Kind
    object: Json
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Tell:
    """An Event about an object, for people who `kubectl describe` it."""

    of: Json
    kind: Kind
    reason: str
    message: str
    component: str
    warning: bool = False


Change = Create | Patch | Put | Delete | Bind | Erase | Tell


@dataclass(frozen=True, slots=True)
class Plan:
    """The outcome of one look at one object: what to do now, and when to look again."""

    changes: Sequence[Change] = ()
    again: timedelta | None = None


@dataclass(slots=True)
class Outcome:
    """What became of a plan's changes: objects as the server wrote them, or surely will; deletions; refusals."""

    written: list[tuple[Kind, Json]] = field(default_factory=list)
    assumed: list[tuple[Kind, Json]] = field(default_factory=list)
    refused: list[tuple[Change, ApiError]] = field(default_factory=list)


async def perform(kube: Kube, changes: Sequence[Change], now: datetime) -> Outcome:
    """Do all changes at once; one that is refused does not hold up the others."""
    outcome = Outcome()

    async def one(change: Change) -> None:
        try:
            await _do(kube, change, now, outcome)
        except ApiError as error:
            outcome.refused.append((change, error))

    await asyncio.gather(*(one(change) for change in changes))
    return outcome


async def _do(kube: Kube, change: Change, now: datetime, outcome: Outcome) -> None:
    match change:
        case Create(kind, obj, then):
            created = await kube.create(kind, obj)
            outcome.written.append((kind, created))
            if then:
                message = then.message.format(name=created["metadata"]["name"])
                await kube.create(EVENTS, event(replace(then, message=message), now))
        case Patch(kind, of, patch, subresource):
            meta = of["metadata"]
            written = await kube.patch(
                kind, meta["name"], patch, meta.get("namespace", ""), subresource=subresource
            )
            outcome.written.append((kind, written))
        case Put(kind, obj, subresource):
            outcome.written.append((kind, await kube.replace(kind, obj, subresource=subresource)))
        case Delete(kind, of, propagation, grace):
            meta = of["metadata"]
            name, namespace = meta["name"], meta.get("namespace", "")
            await kube.delete(kind, name, namespace, uid=meta["uid"], propagation=propagation, grace=grace)
            going = {"deletionTimestamp": timestamp(now)} | meta
            outcome.assumed.append((kind, of | {"metadata": going}))
        case Bind(pod, node):
            await kube.post(PODS.path(*key_of(pod), "binding"), _binding(pod, node))
            outcome.assumed.append((PODS, pod | {"spec": pod["spec"] | {"nodeName": node}}))
        case Erase(folder):
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        case Tell():
            await kube.create(EVENTS, event(change, now))


def _binding(pod: Json, node: str) -> Json:
    meta = pod["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }


def event(tell: Tell, now: datetime) -> Json:
    """The Event object that tells of `tell`."""
    meta = tell.of["metadata"]
    namespace = meta.get("namespace") or "default"
    reference: dict[str, Any] = {
        "apiVersion": tell.kind.api_version,
        "kind": tell.kind.kind,
        "name": meta["name"],
        "uid": meta["uid"],
        "resourceVersion": meta.get("resourceVersion", ""),
    }
    if tell.kind.namespaced:
        reference["namespace"] = namespace
    return {
        "metadata": {"generateName": f"{meta['name'][:200]}.", "namespace": namespace},
        "involvedObject": reference,
        "reason": tell.reason,
        "message": tell.message,
        "type": "Warning" if tell.warning else "Normal",
        "source": {"component": tell.component},
        "reportingComponent": tell.component,
        "reportingInstance": "",
        "firstTimestamp": timestamp(now),
        "lastTimestamp": timestamp(now),
        "count": 1,
    }
