"""One type of resource on one stream: subscriptions, what the proxy has, what is in flight, what was rejected."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from weft.xds import protobuf
from weft.xds.resource import ENDPOINT, EXTENSION, Resource, changed_names

_ABSENT = ""
"""The version of a name that the proxy asked for and was told does not exist."""

OUTDATED = "outdated"
"""The version of what the proxy has and nobody knows any more."""
_NO_ENDPOINTS = "none"
"""The version of endpoints that there are none of."""
_NOTHING: frozenset[str | None] = frozenset({None, _ABSENT, _NO_ENDPOINTS})


@dataclass(frozen=True, slots=True)
class Send:
    """One response: resources to add or replace, names to drop."""

    type_url: str
    resources: tuple[Resource, ...]
    removed: tuple[str, ...]
    nonce: str


@dataclass(frozen=True, slots=True)
class Acked:
    """The proxy took a response."""

    type_url: str
    nonce: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The proxy refused a response. `held` is the resource now known to be bad, empty while it is sought."""

    type_url: str
    nonce: str
    message: str
    held: str = ""


@dataclass(frozen=True, slots=True)
class _Held:
    version: str
    message: str


@dataclass(frozen=True, slots=True)
class _Difference:
    resources: tuple[Resource, ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Flight:
    send: Send
    before: Mapping[str, str | None]
    """What the proxy was believed to have of each name, to return to where it refuses."""


@dataclass(slots=True)
class Channel:
    """The state of one type. Only `Stream` uses it, which knows the order between the types."""

    type_url: str
    wildcard: bool = False
    names: set[str] = field(default_factory=set)
    nonce_sent: str = ""
    nonce_acked: str = ""
    _desired: Mapping[str, Resource] = field(default_factory=dict[str, Resource])
    _believed: dict[str, str] = field(default_factory=dict)
    _vanished: dict[str, Resource] = field(default_factory=dict)
    """The last endpoints of clusters that are on their way out: requests may be on their way to them."""
    _held: dict[str, _Held] = field(default_factory=dict)
    _probes: list[tuple[str, ...]] = field(default_factory=list)
    _flight: _Flight | None = None
    _unanswered: bool = True
    _absent: frozenset[str] | None = None
    _cached: _Difference | None = None
    _doubtful: set[str] | None = None
    """The names that may differ from what the proxy has, None for all: a change costs what it touches."""

    # -- what the control plane wants ---------------------------------------------------------------------------

    def desire(self, resources: Mapping[str, Resource], absent: frozenset[str] | None = None) -> None:
        """Everything of this type that the proxy may have.

        `absent` are the names known not to exist; whoever asks for another one that is not here has to wait for
        the answer. None: whatever is not here does not exist.
        """
        if resources is not self._desired:
            changed = changed_names(self._desired, resources)
            self._doubt(changed)
            if self.type_url == ENDPOINT:
                self._keep_vanished(changed, resources)
            self._desired = resources
        if absent != self._absent:
            self._doubt(self.names)
            self._absent = absent

    def _keep_vanished(self, changed: Iterable[str], resources: Mapping[str, Resource]) -> None:
        for name in self.names.intersection(changed):
            if name in resources:
                self._vanished.pop(name, None)
            elif name in self._desired:
                self._vanished[name] = self._desired[name]

    def forget(self, names: Iterable[str]) -> None:
        """Send these again if the proxy asked for them, though it may have them already."""
        for name in names:
            if name in self.names or self.wildcard:
                self._believed.pop(name, None)
                self._doubt((name,))

    # -- what the proxy says ------------------------------------------------------------------------------------

    def open(self, subscribe: Iterable[str], unsubscribe: Iterable[str], versions: Mapping[str, str]) -> None:
        """The first request. `versions` is what the proxy has from an earlier stream, which is not sent again."""
        subscribe, unsubscribe = tuple(subscribe), tuple(unsubscribe)
        # a first request without names asks for everything (xds_protocol, "wildcard" subscriptions)
        self.wildcard = "*" in subscribe or not (subscribe or unsubscribe)
        self.names = set(subscribe) - {"*"} - set(unsubscribe)
        self._believed = {name: version for name, version in versions.items() if self._is_asked_for(name)}
        self._doubt_all()

    def subscribe(self, names: Iterable[str]) -> None:
        """More names. One asked for before is sent again: the proxy may have dropped it (xds_protocol)."""
        for name in names:
            if name == "*":
                self.wildcard = True
                self._doubt_all()
            else:
                self.names.add(name)
                self._believed.pop(name, None)
                self._held.pop(name, None)
                self._doubt((name,))

    def unsubscribe(self, names: Iterable[str]) -> None:
        """Fewer names. The proxy forgets them by itself; a wildcard still covers those that exist."""
        for name in names:
            if name == "*":
                self.wildcard = False
                self._believed = {one: version for one, version in self._believed.items() if one in self.names}
                self._doubt_all()
            else:
                self.names.discard(name)
                self._believed.pop(name, None)
                self._vanished.pop(name, None)
                self._doubt((name,))

    def answer(self, nonce: str, error: str | None) -> Iterator[Acked | Rejected]:
        """The proxy's verdict on a response."""
        flight = self._flight
        if flight is None or flight.send.nonce != nonce:
            return  # stale nonce: ignore (xds_protocol, ACK/NACK)
        self._flight = None
        if error is None:
            self.nonce_acked = nonce
            yield Acked(self.type_url, nonce)
        else:
            yield self._reject(flight, error)

    def _reject(self, flight: _Flight, message: str) -> Rejected:
        self._doubt(flight.before)
        for name, version in flight.before.items():
            if version is None or not self._is_asked_for(name):
                self._believed.pop(name, None)
            else:
                self._believed[name] = version
        match flight.send.resources:
            case ():
                # a removal was refused: there is nothing better to send, so it counts as told
                for name in flight.send.removed:
                    self._tell_removed(name)
                return Rejected(self.type_url, flight.send.nonce, message)
            case (culprit,):
                self._held[culprit.name] = _Held(culprit.version, message)
                return Rejected(self.type_url, flight.send.nonce, message, held=culprit.name)
            case several:
                self._probes[:0] = _suspects([one.name for one in several], message)
                return Rejected(self.type_url, flight.send.nonce, message)

    # -- what to send -------------------------------------------------------------------------------------------

    @property
    def settled(self) -> bool:
        """Nothing in flight and nothing to send."""
        return self._flight is None and not self._owes and self._difference() == _Difference()

    @property
    def additions_settled(self) -> bool:
        """The same, of additions and changes alone."""
        if self._flight is not None and self._flight.send.resources:
            return False
        return not self._owes and not self._difference().resources

    @property
    def introductions_settled(self) -> bool:
        """The same, of what the proxy had nothing of: for endpoints, of clusters that had none."""
        if self._unanswered:
            return False
        in_flight = self._flight.before if self._flight is not None and self._flight.send.resources else {}
        waiting = [self._believed.get(one.name) for one in self._difference().resources]
        return _NOTHING.isdisjoint({*waiting, *in_flight.values()})

    def next_send(self, nonce: str, *, may_add: bool, may_remove: bool) -> Send | None:
        """The next response, if one may go out now."""
        if self._flight is not None:
            return None
        difference = self._difference()
        if not may_add and (difference.resources or self._unanswered):
            return None
        # on a resumed stream the other types have yet to ask when the first answer goes out: drop nothing with it
        drop = may_remove and not self._unanswered
        removed = difference.removed if drop else self._unknown(difference.removed)
        resources = self._probed(difference.resources)
        if not (resources or removed or (self._unanswered and self._absent is None)):
            return None
        before = {name: self._believed.get(name) for name in (*(one.name for one in resources), *removed)}
        for one in resources:
            self._believed[one.name] = one.version
            self._held.pop(one.name, None)
        for name in removed:
            self._tell_removed(name)
        send = Send(self.type_url, resources, removed, nonce)
        self._flight = _Flight(send, before)
        self._unanswered = False
        self._cached = None
        self.nonce_sent = nonce
        return send

    def held_back(self) -> dict[str, str]:
        """What the proxy rejected and still would get: name → its words."""
        return {
            name: held.message
            for name, held in self._held.items()
            if name in self._desired and self._desired[name].version == held.version
        }

    def versions(self) -> dict[str, str]:
        """What the proxy is believed to have: name → version."""
        return {name: version for name, version in self._believed.items() if version != _ABSENT}

    def _difference(self) -> _Difference:
        if self._cached is None:
            self._cached = self._compute()
        return self._cached

    def _compute(self) -> _Difference:
        desired, believed = self._desired, self._believed
        candidates = {*desired, *self.names, *believed} if self._doubtful is None else self._doubtful
        resources: list[Resource] = []
        removed: list[str] = []
        for name in candidates:
            wanted = desired.get(name) or self._in_place_of(name)
            if not self._is_asked_for(name):
                continue
            if wanted is None:
                if self._may_be_dropped(name):
                    removed.append(name)
            elif believed.get(name) != wanted.version:
                resources.append(wanted)
        self._doubtful = {*removed, *(one.name for one in resources)}
        fresh = (one for one in resources if not self._is_held(one))
        return _Difference(tuple(sorted(fresh, key=lambda one: one.name)), tuple(sorted(removed)))

    def _in_place_of(self, name: str) -> Resource | None:
        # a cluster waits for its endpoints: one that vanished meanwhile gets those it had, or none, rather than
        # wait in vain
        asked = self.type_url == ENDPOINT and name in self.names and name not in self._believed
        return (self._vanished.get(name) or _no_endpoints(name)) if asked and self._is_absent(name) else None

    def _may_be_dropped(self, name: str) -> bool:
        """Whether the proxy is to be told that there is no such resource."""
        if name not in self.names:
            return name in self._believed
        if not self._is_absent(name):
            return False
        if self.type_url == ENDPOINT:
            # endpoints that the proxy has stay until their cluster is gone (it unsubscribes then)
            return False
        if self.type_url == EXTENSION:
            # the same for a filter's configuration: without it, connections that drain would answer with errors
            return name not in self._believed
        return self._believed.get(name) != _ABSENT

    def _doubt(self, names: Iterable[str]) -> None:
        self._cached = None
        if self._doubtful is not None:
            self._doubtful.update(names)

    def _doubt_all(self) -> None:
        self._cached = None
        self._doubtful = None

    @property
    def _owes(self) -> bool:
        """Whether the proxy waits for an answer: the first one, or what is still looked for."""
        if self._absent is None:
            return self._unanswered
        return any(name not in self._desired and name not in self._absent for name in self.names)

    def _is_absent(self, name: str) -> bool:
        return self._absent is None or name in self._absent

    def _is_held(self, one: Resource) -> bool:
        held = self._held.get(one.name)
        return held is not None and held.version == one.version

    def _probed(self, resources: tuple[Resource, ...]) -> tuple[Resource, ...]:
        """While a bad resource is sought, one group of suspects at a time; else all."""
        while self._probes:
            group = set(self._probes.pop(0))
            if chosen := tuple(one for one in resources if one.name in group):
                return chosen
        return resources

    def _unknown(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Those that the proxy does not have: telling it so breaks nothing."""
        return tuple(name for name in names if name not in self._believed)

    def _tell_removed(self, name: str) -> None:
        if name in self.names:
            self._believed[name] = _ABSENT
        else:
            self._believed.pop(name, None)

    def _is_asked_for(self, name: str) -> bool:
        return self.wildcard or name in self.names


def _suspects(names: list[str], message: str) -> list[tuple[str, ...]]:
    """Groups to send one after the other: those that the message does not name together, the named ones alone.

    A name may be in the message by chance ("80"), so being named is a suspicion, not a verdict.
    """
    named = [name for name in names if re.search(rf"(?<![\w.|-]){re.escape(name)}(?![\w|-])", message)]
    rest = [name for name in names if name not in named]
    if not named or not rest:
        half = len(names) // 2
        return [tuple(names[:half]), tuple(names[half:])]
    return [tuple(rest), *((name,) for name in named)]


def _no_endpoints(name: str) -> Resource:
    return Resource(ENDPOINT, name, _NO_ENDPOINTS, protobuf.text(1, name))  # ClusterLoadAssignment.cluster_name
