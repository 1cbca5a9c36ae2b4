"""Network namespaces that are looked at together, and how they hang together: whose link ends where."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from weft.underlay.addresses import Address
from weft.underlay.observed import Link, Observed, Version
from weft.underlay.paths.routing import read
from weft.underlay.paths.sources import interfaces

ABOVE_A_PARENT: Final = frozenset({"macvlan", "ipvlan", "vlan", "macvtap"})
"""Kinds of links that send and receive by another one, their parent, which is the node's."""


@dataclass(frozen=True, slots=True)
class Place:
    """A network namespace. `node` is the name of the place of a pod's node, "" for a node itself.

    `swallows`: interfaces by which redirected connections of an IP version vanish, since they have no address.
    """

    name: str
    observed: Observed
    node: str = ""
    swallows: frozenset[tuple[str, Version]] = frozenset()


@dataclass(frozen=True, slots=True)
class Sight:
    """What one node's process sees: its node, and a pod of it that was asked for; `why` it does not see that.

    `swallows` as in a `Place`.
    """

    node: str
    host: Observed
    pod: Observed | None = None
    swallows: tuple[tuple[str, Version], ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """A service, which the rules of nodes translate to one of its endpoints."""

    name: str
    endpoints: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class World:
    """All places that are looked at, and what else is known: services, and what other addresses belong to.

    `overlay` are the ranges of the overlay network's pods: to others, services' nodes speak in their own name.
    """

    places: tuple[Place, ...]
    services: Mapping[Address, Service] = field(default_factory=dict)
    known: Mapping[Address, str] = field(default_factory=dict)
    overlay: tuple[str, ...] = ()

    def place(self, name: str) -> Place:
        """The place of that name; KeyError where it is not looked at."""
        if (found := self.find(name)) is None:
            raise KeyError(name)
        return found

    def find(self, name: str) -> Place | None:
        """The same, or None."""
        return next((each for each in self.places if each.name == name), None)

    def other_end(self, place: Place, link: Link) -> tuple[Place, Link] | None:
        """The other end of a veth, if its namespace is looked at."""
        near = self._near(place) if link.peer_elsewhere else iter((place,))
        for other in near:
            for far in other.observed.links:
                # numbers are each namespace's own, so both ends have to name each other
                if (far.kind, far.index, far.peer, far.peer_elsewhere) == (
                    "veth",
                    link.peer,
                    link.index,
                    link.peer_elsewhere,
                ):
                    return other, far
        return None

    def lan(self, place: Place, link: Link) -> str:
        """The node's link by which a link of any place reaches its LAN. LANs of nodes are told by these names."""
        if link.kind not in ABOVE_A_PARENT or not place.node:
            return link.name
        node = self.find(place.node)
        parents = node.observed.links if node else ()
        return next((each.name for each in parents if each.index == link.peer), "a link of its node")

    def owners(self, address: Address) -> Iterator[tuple[Place, Link]]:
        """The links that have an address."""
        for place in self.places:
            for link in place.observed.links:
                if any(each.ip == address for each in interfaces(link)):
                    yield place, link

    def is_foreign(self, address: Address) -> bool:
        """Whether an address is none of the overlay network's pods, whose ranges are known."""
        return bool(self.overlay) and not any(address in read(each) for each in self.overlay)

    def called(self, address: Address) -> str:
        """An address and what it belongs to."""
        if address in self.services:
            return f"{address} (service {self.services[address].name})"
        name = self.known.get(address) or next((place.name for place, _ in self.owners(address)), "")
        return f"{address} ({name})" if name else str(address)

    def _near(self, place: Place) -> Iterator[Place]:
        """A pod's node, or a node's pods."""
        for other in self.places:
            if other.name == place.node or other.node == place.name:
                yield other
