"""What a controller wants done: changes to the API's objects, as values."""

import asyncio
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import aiohttp

from weft.adapters.kube.client import ApiError, Json, Kube
from weft.adapters.kube.kinds import EVENTS, PODS, Kind
from weft.cluster.controllers.events import Again, Correlator, New, Tell
from weft.cluster.controllers.objects import key_of, timestamp

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Create:
    """Bring a new object into being.

    `then` is told once it is there; `{name}` in it becomes the object's name. `otherwise` is told if it is
    refused, with the refusal after its words; without it the controller finds words of its own.
    """

    kind: Kind
    object: Json
    then: Tell | None = None
    otherwise: Tell | None = None


@dataclass(frozen=True, slots=True)
class Patch:
    """Merge `patch` into an object, or into its status."""

    kind: Kind
    of: Json
    patch: Json
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Owner:
    """Where an owner would be if it were there. Without a uid any object of that name will do."""

    kind: Kind
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Take away this object, and no other of its name; with `without` only once the server has no such owner."""

    kind: Kind
    of: Json
    propagation: str = "Background"
    grace: int | None = None
    without: Owner | None = None


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


class Performer:
    """Does what controllers plan, and remembers which Events were told."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._correlator = Correlator()

    async def perform(self, changes: Sequence[Change], now: datetime) -> Outcome:
        """Do all changes at once; one that is refused does not hold up the others.

        Only pods are created in batches of one, two, four…: where one is refused, so would be the rest.
        """
        outcome = Outcome()
        born = [change for change in changes if isinstance(change, Create) and change.kind == PODS]
        others = [change for change in changes if not (isinstance(change, Create) and change.kind == PODS)]
        await asyncio.gather(self._slowly(born, now, outcome), self._all(others, now, outcome))
        return outcome

    async def _slowly(self, changes: Sequence[Change], now: datetime, outcome: Outcome) -> None:
        size, left = 1, list(changes)
        while left:
            refused = len(outcome.refused)
            batch, left = left[:size], left[size:]
            await self._all(batch, now, outcome)
            if any(change in batch for change, _ in outcome.refused[refused:]):
                return
            size *= 2

    async def _all(self, changes: Sequence[Change], now: datetime, outcome: Outcome) -> None:
        async def one(change: Change) -> None:
            try:
                await self._do(change, now, outcome)
            except ApiError as error:
                outcome.refused.append((change, error))

        await asyncio.gather(*(one(change) for change in changes))

    async def _do(self, change: Change, now: datetime, outcome: Outcome) -> None:
        kube = self._kube
        match change:
            case Create(kind, obj, then, _):
                created = await kube.create(kind, obj)
                outcome.written.append((kind, created))
                if then:
                    message = then.message.format(name=created["metadata"]["name"])
                    await self._tell(replace(then, message=message), now)
            case Patch(kind, of, patch, subresource):
                meta = of["metadata"]
                written = await kube.patch(
                    kind, meta["name"], patch, meta.get("namespace", ""), subresource=subresource
                )
                outcome.written.append((kind, written))
            case Put(kind, obj, subresource):
                outcome.written.append((kind, await kube.replace(kind, obj, subresource=subresource)))
            case Delete(kind, of):
                await self._delete(change)
                going = {"deletionTimestamp": timestamp(now)} | of["metadata"]
                outcome.assumed.append((kind, of | {"metadata": going}))
            case Bind(pod, node):
                await kube.post(PODS.path(*key_of(pod), "binding"), _binding(pod, node))
                outcome.assumed.append((PODS, pod | {"spec": pod["spec"] | {"nodeName": node}}))
            case Erase(folder):
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            case Tell():
                await self._tell(change, now)

    async def _delete(self, delete: Delete) -> None:
        if delete.without:
            await self._be_sure(delete.without)
        meta = delete.of["metadata"]
        await self._kube.delete(
            delete.kind,
            meta["name"],
            meta.get("namespace", ""),
            uid=meta["uid"],
            propagation=delete.propagation,
            grace=delete.grace,
        )

    async def _be_sure(self, owner: Owner) -> None:
        """Raise ApiError if the owner is there: the watch of its kind may lag behind that of its dependents."""
        try:
            found = await self._kube.get(owner.kind, owner.name, owner.namespace)
        except ApiError as error:
            if error.code == 404:
                return
            raise
        if not owner.uid or found["metadata"]["uid"] == owner.uid:
            raise ApiError(409, "Conflict", f"{owner.kind.kind} {owner.name} is there")

    async def _tell(self, tell: Tell, now: datetime) -> None:
        """Write an Event, or count it up. Events are best effort: what fails is dropped."""
        try:
            match self._correlator.take(tell, now):
                case New(event):
                    await self._kube.create(EVENTS, event)
                case Again(event, patch):
                    meta = event["metadata"]
                    try:
                        await self._kube.patch(EVENTS, meta["name"], patch, meta["namespace"])
                    except ApiError as error:
                        if error.code != 404:
                            raise
                        await self._kube.create(EVENTS, event)  # it had its hour
        except (ApiError, aiohttp.ClientError, OSError, TimeoutError) as error:
            log.info("event %s of %s is dropped: %s", tell.reason, tell.of["metadata"]["name"], error)


def _binding(pod: Json, node: str) -> Json:
    meta = pod["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }
