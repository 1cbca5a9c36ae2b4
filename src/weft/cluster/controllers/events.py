"""Events as client-go's recorder writes them: repeated ones counted, similar ones combined, floods cut."""

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import Kind
from weft.cluster.controllers.objects import timestamp

K = TypeVar("K")
V = TypeVar("V")

_REMEMBERED = 4096  # entries of each memory; the least recently used goes first
_SIMILAR = 10  # different messages of one reason after which they are combined
_SIMILAR_WITHIN = timedelta(minutes=10)
_BURST, _REFILL = 25, timedelta(minutes=5)  # events of one component about one object, and one more each
_SERIES_ENDS = timedelta(minutes=6)
_COMBINED = "(combined from similar events): "


@dataclass(frozen=True, slots=True)
class Tell:
    """An Event about an object, for people who `kubectl describe` it.

    With an `action` it is written as the recorder of events.k8s.io writes it (kube-scheduler's), a repetition
    as its series; without one as that of core/v1.
    """

    of: Json
    kind: Kind
    reason: str
    message: str
    component: str
    warning: bool = False
    action: str = ""

    @property
    def about(self) -> tuple[str, str]:
        """Who tells of what."""
        return self.component, str(self.of["metadata"]["uid"])


@dataclass(frozen=True, slots=True)
class New:
    """An Event to create."""

    event: Json


@dataclass(frozen=True, slots=True)
class Again:
    """An Event that is there already and is counted up. `event` is the whole of it, should it be gone."""

    event: Json
    patch: Json


class _Memory(Generic[K, V]):
    """The values used last, by key."""

    def __init__(self) -> None:
        self._held: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        if key in self._held:
            self._held.move_to_end(key)
        return self._held.get(key)

    def put(self, key: K, value: V) -> None:
        self._held[key] = value
        self._held.move_to_end(key)
        if len(self._held) > _REMEMBERED:
            self._held.popitem(last=False)


@dataclass(slots=True)
class _Allowance:
    left: float
    since: datetime

    def take(self, now: datetime) -> bool:
        self.left = min(_BURST, self.left + (now - self.since) / _REFILL)
        self.since = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


@dataclass(slots=True)
class _Similar:
    last: datetime
    messages: set[str] = field(default_factory=set)


class Correlator:
    """Decides what becomes of each Event: a new one, a higher count of one that is there, or nothing."""

    def __init__(self) -> None:
        self._allowances: _Memory[tuple[str, str], _Allowance] = _Memory()
        self._similar: _Memory[tuple[object, ...], _Similar] = _Memory()
        self._told: _Memory[tuple[object, ...], Json] = _Memory()
        self._number = 0

    def take(self, tell: Tell, now: datetime) -> New | Again | None:
        """What to write for this Event; None if its object has had too many."""
        if tell.action:
            return self._series(tell, now)
        allowance = self._allowances.get(tell.about) or _Allowance(_BURST, now)
        self._allowances.put(tell.about, allowance)
        if not allowance.take(now):
            return None
        key, told = self._combined(tell, now)
        held = self._told.get(key)
        if held is None:
            event = self._event(told, now)
            self._told.put(key, event)
            return New(event)
        patch: Json = {"count": held["count"] + 1, "lastTimestamp": timestamp(now), "message": told.message}
        event = held | patch
        self._told.put(key, event)
        return Again(event, patch)

    def _combined(self, tell: Tell, now: datetime) -> tuple[tuple[object, ...], Tell]:
        group = (*tell.about, tell.warning, tell.reason)
        similar = self._similar.get(group)
        if similar is None or now - similar.last > _SIMILAR_WITHIN:
            similar = _Similar(now)
        similar.last = now
        similar.messages.add(tell.message)
        self._similar.put(group, similar)
        if len(similar.messages) < _SIMILAR:
            return (*group, tell.message), tell
        similar.messages.pop()
        return group, replace(tell, message=_COMBINED + tell.message)

    def _series(self, tell: Tell, now: datetime) -> New | Again | None:
        key = (*tell.about, tell.warning, tell.reason, tell.action, tell.message)
        held = self._told.get(key)
        last = None
        if held:
            last = datetime.fromisoformat((held.get("series") or {}).get("lastObservedTime") or held["eventTime"])
        if held is None or (last and now - last > _SERIES_ENDS):
            event = self._event(tell, now)
            self._told.put(key, event)
            return New(event)
        count = (held.get("series") or {"count": 1})["count"] + 1
        patch: Json = {"series": {"count": count, "lastObservedTime": _exactly(now)}}
        event = held | patch
        self._told.put(key, event)
        return Again(event, patch)

    def _event(self, tell: Tell, now: datetime) -> Json:
        self._number += 1
        meta = tell.of["metadata"]
        # the moment in nanoseconds, told apart by their number within it
        mark = int(now.timestamp() * 1e6) * 1000 + self._number % 1000
        event: Json = {
            "metadata": {"name": f"{meta['name']}.{mark:x}", "namespace": meta.get("namespace") or "default"},
            "involvedObject": _reference(tell),
            "reason": tell.reason,
            "message": tell.message[:1024],
            "type": "Warning" if tell.warning else "Normal",
            "reportingComponent": tell.component,
        }
        if tell.action:
            instance = f"{tell.component}-weft"
            return event | {"action": tell.action, "reportingInstance": instance, "eventTime": _exactly(now)}
        return event | {
            "source": {"component": tell.component},
            "reportingInstance": "",
            "firstTimestamp": timestamp(now),
            "lastTimestamp": timestamp(now),
            "count": 1,
        }


def _reference(tell: Tell) -> Json:
    meta = tell.of["metadata"]
    reference: dict[str, Any] = {
        "apiVersion": tell.kind.api_version,
        "kind": tell.kind.kind,
        "name": meta["name"],
        "uid": meta["uid"],
        "resourceVersion": meta.get("resourceVersion", ""),
    }
    return reference | ({"namespace": meta["namespace"]} if tell.kind.namespaced else {})


def _exactly(now: datetime) -> str:
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
