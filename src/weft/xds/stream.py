"""One proxy's configuration stream as a state machine without I/O: events in, effects out.

The stream compares what the proxy is to have with what it is believed to have, and sends the difference: one
response in flight per type, what changed meanwhile merged into the next. Additions go clusters → endpoints →
listeners → routes → names and removals the other way, so that nothing ever points at something missing.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from weft.xds.channel import OUTDATED, Acked, Channel, Rejected, Send
from weft.xds.resource import CLUSTER, ENDPOINT, LISTENER, NAME_TABLE, ROUTE, SECRET, Resource, Resources

ORDER = (CLUSTER, ENDPOINT, LISTENER, ROUTE)
"""The order in which types are offered; others follow, in the order in which they were asked for."""

_ADD_AFTER = {
    LISTENER: (CLUSTER, ENDPOINT),
    ROUTE: (CLUSTER, ENDPOINT, LISTENER),
    NAME_TABLE: (CLUSTER, LISTENER, ROUTE),
}
"""The types whose additions must be confirmed before additions of this one go out; of endpoints, only the first of
a cluster: those that change all the time would keep the rest waiting."""

_REMOVE_AFTER = {
    CLUSTER: (LISTENER, ROUTE),
    ENDPOINT: (CLUSTER,),
    ROUTE: (LISTENER,),
    LISTENER: (NAME_TABLE,),
}
"""The types that must be wholly confirmed before removals of this one go out."""


@dataclass(frozen=True, slots=True)
class Request:
    """A DeltaDiscoveryRequest as far as the protocol goes.

    `nonce` is that of the response it answers, empty for a spontaneous one; `error` is set where it rejects.
    `versions` is what the proxy still has from an earlier stream (name → version).
    """

    type_url: str
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    nonce: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """What the proxy is to have from now on. A type whose mapping is the same object costs nothing.

    `absent` are the secrets known not to exist, where secrets are looked for only once they are asked for.
    """

    resources: Resources
    absent: frozenset[str] | None = None


Event = Request | Update
Effect = Send | Acked | Rejected


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """How one type stands on a stream. Nonces are empty before the first response and its answer.

    `held` maps the resources that the proxy rejected to its words; `versions` is what it is believed to have.
    """

    nonce_sent: str
    nonce_acked: str
    held: Mapping[str, str]
    versions: Mapping[str, str]


class Stream:
    """The state of one stream. `handle` takes an event and says what follows; no request makes it fail."""

    def __init__(self) -> None:
        self._resources: Resources = {}
        self._absent: frozenset[str] | None = None
        self._ready = False
        self._channels: dict[str, Channel] = {}
        self._nonce = 0

    def handle(self, event: Event) -> tuple[Effect, ...]:
        """What to send, and what the proxy accepted or rejected, in order."""
        effects: list[Effect] = []
        match event:
            case Request():
                effects += self._request(event)
            case Update(resources, absent):
                self._resources, self._absent, self._ready = resources, absent, True
                for channel in self._channels.values():
                    self._desire(channel)
        effects += self._pump()
        return tuple(effects)

    @property
    def settled(self) -> bool:
        """Whether the proxy has confirmed everything it asked for, short of what it rejected."""
        return all(channel.settled for channel in self._channels.values())

    def status(self) -> dict[str, TypeStatus]:
        """How each type that the proxy asked for stands."""
        return {
            url: TypeStatus(one.nonce_sent, one.nonce_acked, one.held_back(), one.versions())
            for url, one in self._channels.items()
        }

    def names(self, type_url: str) -> frozenset[str]:
        """The names of a type that the proxy asks for."""
        channel = self._channels.get(type_url)
        return frozenset(channel.names) if channel else frozenset()

    def confirmed(self, type_url: str) -> bool:
        """Whether the proxy asked for a type and took all that it is to have of it."""
        channel = self._channels.get(type_url)
        return channel is not None and channel.settled and not channel.held_back()

    def _desire(self, channel: Channel) -> None:
        absent = self._absent if channel.type_url == SECRET else None
        channel.desire(self._resources.get(channel.type_url, {}), absent)

    def _request(self, request: Request) -> Iterator[Effect]:
        channel = self._channels.get(request.type_url)
        if channel is None:
            channel = Channel(request.type_url)
            self._desire(channel)
            self._channels[request.type_url] = channel
            channel.open(request.subscribe, request.unsubscribe, self._kept(request))
            return
        channel.subscribe(request.subscribe)
        channel.unsubscribe(request.unsubscribe)
        if request.nonce:
            yield from channel.answer(request.nonce, request.error)

    def _kept(self, request: Request) -> Mapping[str, str]:
        """What need not be sent again on a resumed stream."""
        if request.type_url != ENDPOINT:
            return request.versions
        # the stream may have broken between a cluster and its endpoints, and the proxy, which says it has them (of
        # the cluster before), would wait for them until its timeout; those of clusters that are gone stay
        here = self._resources.get(ENDPOINT, {})
        return {name: OUTDATED for name in request.versions if name not in here}

    def _pump(self) -> Iterator[Send]:
        if not self._ready:
            return
        for channel in self._ordered():
            send = channel.next_send(
                str(self._nonce + 1),
                may_add=all(_is_there(one) for one in self._open(_ADD_AFTER, channel)),
                may_remove=all(one.settled for one in self._open(_REMOVE_AFTER, channel)),
            )
            if send is None:
                continue
            self._nonce += 1
            if send.type_url == CLUSTER:
                self._again(send.resources)
            yield send

    def _ordered(self) -> list[Channel]:
        known = [self._channels[url] for url in ORDER if url in self._channels]
        return known + [one for url, one in self._channels.items() if url not in ORDER]

    def _open(self, before: Mapping[str, tuple[str, ...]], channel: Channel) -> list[Channel]:
        return [self._channels[url] for url in before.get(channel.type_url, ()) if url in self._channels]

    def _again(self, clusters: Iterable[Resource]) -> None:
        # Envoy 1.40 neither asks for the endpoints of a changed cluster nor confirms the cluster without them
        if endpoints := self._channels.get(ENDPOINT):
            endpoints.forget(cluster.name for cluster in clusters)


def _is_there(channel: Channel) -> bool:
    """Whether what refers to resources of this type may go out."""
    return channel.introductions_settled if channel.type_url == ENDPOINT else channel.additions_settled
