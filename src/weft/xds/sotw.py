"""State-of-the-world xDS over the same machine: its requests become delta events, sends become whole states.

Clusters and listeners are always sent whole, since what a response leaves out is gone (xds_protocol, "State of the
World"); other types are sent as far as they changed, and cannot be taken back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from weft.xds.channel import Acked, Rejected, Send
from weft.xds.resource import CLUSTER, LISTENER, Resource
from weft.xds.stream import Effect, Event, Request, Stream, TypeStatus, Update

WHOLE = frozenset({CLUSTER, LISTENER})


@dataclass(frozen=True, slots=True)
class FullRequest:
    """A DiscoveryRequest as far as the protocol goes: `names` is the whole subscription, empty for everything."""

    type_url: str
    names: frozenset[str] = frozenset()
    nonce: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class FullSend:
    """One DiscoveryResponse."""

    type_url: str
    resources: tuple[Resource, ...]
    nonce: str


@dataclass(slots=True)
class _Type:
    """What the client asked for, has, and had before the response in flight."""

    names: frozenset[str]
    has: Mapping[str, Resource] = field(default_factory=dict[str, Resource])
    before: Mapping[str, Resource] = field(default_factory=dict[str, Resource])


class FullStream:
    """A stream that speaks state-of-the-world; inside it is a `Stream`, with all its order and care."""

    def __init__(self) -> None:
        self._stream = Stream()
        self._types: dict[str, _Type] = {}

    @property
    def settled(self) -> bool:
        """See `Stream.settled`."""
        return self._stream.settled

    def status(self) -> dict[str, TypeStatus]:
        """See `Stream.status`."""
        return self._stream.status()

    def names(self, type_url: str) -> frozenset[str]:
        """See `Stream.names`."""
        return self._stream.names(type_url)

    def confirmed(self, type_url: str) -> bool:
        """See `Stream.confirmed`."""
        return self._stream.confirmed(type_url)

    def handle(self, event: FullRequest | Update) -> tuple[FullSend | Acked | Rejected, ...]:
        """What to send, and what the client accepted or rejected, in order."""
        delta = self._delta(event) if isinstance(event, FullRequest) else event
        return tuple(self._whole(effect) for effect in self._stream.handle(delta)) if delta else ()

    def _delta(self, request: FullRequest) -> Event | None:
        known = self._types.get(request.type_url)
        if known is None:
            if not request.names and request.type_url not in WHOLE:
                return None  # nothing is asked for yet
            known = self._types[request.type_url] = _Type(request.names)
            return Request(request.type_url, tuple(sorted(request.names)))
        more, fewer = request.names - known.names, known.names - request.names
        known.names = request.names
        return Request(
            request.type_url, tuple(sorted(more)), tuple(sorted(fewer)), nonce=request.nonce, error=request.error
        )

    def _whole(self, effect: Effect) -> FullSend | Acked | Rejected:
        match effect:
            case Send(type_url, resources, removed, nonce):
                known = self._types[type_url]
                known.before = known.has
                changed = {one.name: one for one in resources}
                known.has = {name: one for name, one in known.has.items() if name not in removed} | changed
                whole = tuple(known.has.values()) if type_url in WHOLE else resources
                return FullSend(type_url, whole, nonce)
            case Rejected(type_url):
                self._types[type_url].has = self._types[type_url].before
                return effect
            case Acked():
                return effect
