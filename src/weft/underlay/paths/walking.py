"""What a packet from here to there would do, step by step and why, by what was observed of namespaces.

Followed are rules, routes, neighbours, rp_filter, forwarding, veths and LANs. Services are translated to the first
of their endpoints. Not followed are other rules of firewalls (policies, masquerading), and what is beyond places
that are looked at: there a journey ends, and says so.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import ip_address
from typing import Final

from weft.underlay.addresses import Address
from weft.underlay.observed import Link
from weft.underlay.paths import telling
from weft.underlay.paths.arriving import Refused, arrive
from weft.underlay.paths.routing import LOCAL, UNICAST, NoWay, Query, Way, look_up
from weft.underlay.paths.world import ABOVE_A_PARENT, Place, World

_HOPS: Final = 8


class Fate(StrEnum):
    """What becomes of a packet."""

    ARRIVES = "arrives"
    LEAVES = "leaves"
    """It goes on where nobody looks: a LAN, another pod."""
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a connection, or of its answers. Without a source it is given one."""

    destination: Address
    source: Address | None = None
    mark: int = 0
    begins: bool = True
    """Whether it begins a connection: of others nothing is redirected or translated."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens, and where."""

    place: str
    text: str


@dataclass(frozen=True, slots=True)
class Journey:
    """The way of a packet, and how it ends: at the interface `arrived` or `left` of the last place."""

    packet: Packet
    steps: tuple[Step, ...]
    fate: Fate
    reason: str
    hint: str = ""
    place: str = ""
    interface: str = ""
    sent_by: str = ""
    """The first interface that it leaves by."""
    translator: str = ""
    """The node that has translated a service's address."""
    asked: Address | None = None
    """The service's address."""
    hidden: Address | None = None
    """The source, where that node has put its own in its place."""

    @property
    def places(self) -> tuple[str, ...]:
        """Where it has been, in order."""
        return tuple(dict.fromkeys(step.place for step in self.steps))


def walk(world: World, place: Place, packet: Packet) -> Journey:
    """Send a packet from a place."""
    return _Walk(world, packet).send(place)


def come(world: World, node: Place, packet: Packet) -> Journey:
    """Let a packet come from where nobody looks, to an address of a pod of this node or of the node.

    It is taken to come by the LAN that has the address, else by the way by which the node would answer.
    """
    journey = _Walk(world, packet)
    if packet.source is None:
        return journey.end(Fate.DROPPED, node, "", "it has no source")
    if (straight := _on_a_lan(world, packet)) is not None:
        return journey.receive(*straight)
    way = look_up(node.observed, Query(packet.source))
    link = node.observed.link(way.route.device) if isinstance(way, Way) else None
    if link is None:
        return journey.end(Fate.DROPPED, node, "", f"{node.name} has no way to {packet.source}, nor it to here")
    journey.note(f"beyond {link.name} of {node.name}", f"{packet.source} is taken to send to this node")
    return journey.receive(node, link)


def answer(world: World, journey: Journey) -> Journey | None:
    """The way of the answers to a packet, back to who sent it; None for one that was dropped."""
    there, last = journey.packet, world.find(journey.place)
    if journey.fate is Fate.DROPPED or there.source is None or last is None:
        return None
    packet = Packet(there.source, there.destination, begins=False)
    if journey.fate is Fate.LEAVES:
        back = _from_outside(world, packet, last, journey.interface)
    else:
        marks = (each.mark for each in last.observed.marks if each.interface == journey.interface)
        back = _Walk(world, replace(packet, mark=next(marks, 0))).send(last)
    if journey.hidden and back.fate is Fate.ARRIVES and back.place == journey.translator:
        return _handed_on(world, journey, back)
    if journey.translator and back.fate is Fate.ARRIVES and journey.translator not in back.places:
        reason = (
            f"it comes from {there.destination} and not from the service, since it does not pass "
            f"{journey.translator}, whose rules would translate it back"
        )
        hint = "Have the service's range lead through the node (hijackCIDR, serviceCIDR of the SpiderCoordinator)."
        return replace(back, fate=Fate.DROPPED, reason=reason, hint=hint)
    return back


def _handed_on(world: World, journey: Journey, back: Journey) -> Journey:
    """An answer that has come to the node that translated: on to who had asked."""
    node = world.place(journey.translator)
    if journey.hidden is None:
        return back
    onward = _Walk(world, Packet(journey.hidden, journey.asked, begins=False))
    onward.note(node.name, f"it is translated back: from {journey.asked} to {journey.hidden}")
    end = onward.send(node)
    return replace(end, steps=(*back.steps, *end.steps), sent_by=back.sent_by)


def _from_outside(world: World, packet: Packet, place: Place, interface: str) -> Journey:
    """An answer from where nobody looks: to the LAN that has the address, else by the way the packet took."""
    journey = _Walk(world, packet)
    if (straight := _on_a_lan(world, packet)) is not None:
        lan = world.lan(*straight)
        journey.note(f"the LAN of {lan}", f"the answer is taken to come to {packet.destination} straight")
        return journey.receive(*straight)
    link = place.observed.link(interface)
    if link is None:
        return journey.end(Fate.DROPPED, place, "", f"{interface} is gone")
    journey.note(f"beyond {interface} of {place.name}", "the answer is taken to come back the same way")
    return journey.receive(place, link)


def _on_a_lan(world: World, packet: Packet) -> tuple[Place, Link] | None:
    """A pod's interface on a LAN that has the packet's destination."""
    owners = world.owners(packet.destination)
    return next(((each, link) for each, link in owners if link.kind in ABOVE_A_PARENT and each.node), None)


class _Walk:
    """One packet under way; it changes where it is translated."""

    def __init__(self, world: World, packet: Packet) -> None:
        self._world, self._packet = world, packet
        self._steps: list[Step] = []
        self._hops, self._sent_by, self._translator = 0, "", ""
        self._asked: Address | None = None
        self._hidden: Address | None = None

    def note(self, place: str, text: str) -> None:
        """Tell a step."""
        self._steps.append(Step(place, text))

    def end(self, fate: Fate, place: Place, interface: str, reason: str, hint: str = "") -> Journey:
        """The journey, which ends here."""
        self.note(place.name, f"{fate}: {reason}")
        return Journey(
            self._packet,
            tuple(self._steps),
            fate,
            reason,
            hint,
            place.name,
            interface,
            self._sent_by,
            self._translator,
            self._asked,
            self._hidden,
        )

    def send(self, place: Place) -> Journey:
        """From a program of this place."""
        self._translate(place)
        way = self._look_up(place)
        if isinstance(way, Way) and self._packet.source is None and way.source is not None:
            self.note(place.name, f"source {way.source}: {telling.source(place.observed, way)}")
            self._packet = replace(self._packet, source=way.source)
            # a connection asks again with its source (ip_route_connect), which rules may look at
            way = self._look_up(place)
        if isinstance(way, NoWay):
            return self.end(Fate.DROPPED, place, "", way.why)
        self._tell_way(place, way)
        if way.route.kind == LOCAL:
            self._sent_by = way.route.device
            return self.end(Fate.ARRIVES, place, way.route.device, f"{self._packet.destination} is its own")
        return self._leave(place, way)

    def receive(self, place: Place, link: Link) -> Journey:
        """By a link of this place."""
        self._hops += 1
        packet = self._packet
        if self._hops > _HOPS:
            return self.end(Fate.DROPPED, place, link.name, "it goes round in circles until its TTL is used up")
        if not link.up:
            return self.end(Fate.DROPPED, place, link.name, f"{link.name} is down", f"ip link set {link.name} up")
        self._translate(place)
        packet = self._packet
        if packet.source is None:
            return self.end(Fate.DROPPED, place, link.name, "it has no source")
        mark = next((each.mark for each in place.observed.marks if each.interface == link.name), 0)
        arrived = arrive(place.observed, link.name, packet.source, packet.destination, mark)
        if isinstance(arrived, Refused):
            return self.end(Fate.DROPPED, place, link.name, arrived.why, arrived.hint)
        way = arrived.way
        self.note(place.name, f"comes in by {link.name}; {arrived.filter}")
        self._tell_way(place, way)
        if way.route.kind == UNICAST:
            self._hide(place)
            return self._leave(place, way)
        if packet.begins and (link.name, packet.destination.version) in place.swallows:
            return self._swallowed(place, link)
        return self.end(Fate.ARRIVES, place, link.name, f"{packet.destination} is its own, by {link.name}")

    def _swallowed(self, place: Place, link: Link) -> Journey:
        version = self._packet.destination.version
        example = "169.254.100.1" if version == 4 else "fe80::1"
        return self.end(
            Fate.DROPPED,
            place,
            link.name,
            f"the mesh redirects connections that come in by {link.name}, which has no IPv{version} address: "
            "the kernel drops them without a word",
            f"Set vethLinkAddress: {example} in the SpiderCoordinator, or in coordinator of the "
            "SpiderMultusConfig, and have the pod made anew.",
        )

    def _translate(self, place: Place) -> None:
        """At a node: the address of a service becomes that of an endpoint."""
        service = self._world.services.get(self._packet.destination) if self._packet.begins else None
        if place.node or service is None or self._translator:
            return
        self._translator = place.name
        if not service.endpoints:
            self.note(place.name, f"service {service.name} has no endpoint: the node's service rules refuse it")
            return
        chosen = service.endpoints[0]
        others = f", one of {len(service.endpoints)}" if len(service.endpoints) > 1 else ""
        self.note(place.name, f"the node's service rules translate {self._packet.destination} to {chosen}{others}")
        self._asked = self._packet.destination
        self._packet = replace(self._packet, destination=chosen)

    def _hide(self, place: Place) -> None:
        """At the node that translates: who is none of the overlay's pods is answered by way of this node."""
        source = self._packet.source
        if place.name != self._translator or self._hidden or source is None:
            return
        if self._world.is_foreign(source):
            way = look_up(place.observed, Query(self._packet.destination))
            if isinstance(way, Way) and way.source is not None:
                self._hidden = source
                self._packet = replace(self._packet, source=way.source)
                told = f"the service rules are taken to put {way.source} in place of {source}"
                self.note(
                    place.name, f"{told}, which is no address of the overlay network: answers come back here"
                )

    def _look_up(self, place: Place) -> Way | NoWay:
        packet = self._packet
        return look_up(place.observed, Query(packet.destination, packet.source, packet.mark))

    def _tell_way(self, place: Place, way: Way) -> None:
        marked = f" (it carries mark {self._packet.mark:#x})" if self._packet.mark and not self._hops else ""
        self.note(place.name, f"{telling.way(way)}{marked}")

    def _leave(self, place: Place, way: Way) -> Journey:
        """Out by the link of a route, to whoever is at its other end."""
        self._sent_by = self._sent_by or way.route.device
        link = place.observed.link(way.route.device)
        if link is None:
            return self.end(Fate.DROPPED, place, way.route.device, "the link of the route is gone")
        if not (link.up and link.carrier):
            why = f"{link.name} is {'without carrier' if link.up else 'down'}"
            return self.end(Fate.DROPPED, place, link.name, why)
        hop = ip_address(way.route.via) if way.route.via else self._packet.destination
        known = telling.neighbour(place.observed, link, hop)
        self.note(place.name, f"next hop {self._world.called(hop)}: {known}")
        if link.kind == "veth" and (end := self._world.other_end(place, link)):
            self.note(place.name, f"{link.name} is a veth, whose other end is {end[1].name} of {end[0].name}")
            return self.receive(*end)
        return self._cross(place, link, hop, is_routed=bool(way.route.via))

    def _cross(self, place: Place, link: Link, hop: Address, *, is_routed: bool) -> Journey:
        """By a LAN or a bridge, to the owner of the next hop."""
        lan = self._world.lan(place, link)
        if link.kind in ABOVE_A_PARENT and place.node:
            self.note(place.name, f"{link.name} is a {link.kind} above {lan} of {place.node}: it goes to the LAN")
        for owner, found in self._world.owners(hop):
            if owner.name == place.node and link.kind in ABOVE_A_PARENT:
                return self._between_parent_and_child(place, link, hop, f"{link.kind} {link.name}", lan)
            if owner.node == place.name and found.kind in ABOVE_A_PARENT:
                child = f"{found.kind} {found.name} of {owner.name}"
                return self._between_parent_and_child(place, link, hop, child, lan)
            by = next(iter(self._entrances(place, link, owner, found, lan)), None)
            if by is not None:
                return self.receive(owner, by)
        # what is on a veth of its own, and is neither router nor node, is a pod that nobody looks at
        is_pod = link.kind == "veth" and not is_routed and not self._world.known.get(hop, "").startswith("node ")
        beyond = f"who is behind {link.name}" if is_pod else f"the LAN of {lan}"
        target = self._world.called(self._packet.destination)
        return self.end(Fate.LEAVES, place, link.name, f"to {beyond}, towards {target}: more is not seen")

    def _between_parent_and_child(self, place: Place, link: Link, hop: Address, child: str, lan: str) -> Journey:
        return self.end(
            Fate.DROPPED,
            place,
            link.name,
            f"it goes to {hop} by the LAN, but nothing ever passes between the {child} and {lan}, its parent",
            "It is to go by veth0 or eth0, for which the coordinator makes routes and rules: see whether the "
            "network has one (enableCoordinator), and whether its mode fits.",
        )

    def _entrances(self, place: Place, link: Link, owner: Place, found: Link, lan: str) -> Iterator[Link]:
        """The links by which what goes out by a link comes in at the owner of the next hop."""
        if owner.name == place.name:
            return
        if link.kind == "bridge":
            end = self._world.other_end(owner, found)
            if end and end[0].name == place.name and end[1].master == link.index:
                yield found
        elif owner.node:
            if found.kind in ABOVE_A_PARENT and self._world.lan(owner, found) == lan:
                yield found
        elif (same := owner.observed.link(lan)) is not None:
            # a node answers for all its addresses on each of its links (arp_ignore 0)
            yield same
