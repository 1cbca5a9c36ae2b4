"""A plan held against what is there: what is missing, and the way back from each change.

What is there counts whoever made it; of routes and rules only what they do is compared.
"""

from collections.abc import Iterable

from weft.underlay.coordinator.lines import (
    Address,
    Gone,
    Line,
    Mac,
    Marks,
    Pair,
    Queue,
    Sysctl,
    Thing,
    Up,
    bare,
)
from weft.underlay.observed import Neighbour, Observed, Route, Rule


def missing(lines: Iterable[Line], pod: Observed, node: Observed) -> tuple[Line, ...]:
    """The lines that do not hold, in their order."""
    sides = {"pod": _Held(pod), "node": _Held(node)}
    return tuple(line for line in lines if not sides[line.side].holds(line.thing))


def undoing(line: Line, pod: Observed, node: Observed) -> Line | None:
    """What takes a line back after it was done; None where it goes with something else, or there is nothing."""
    before = pod if line.side == "pod" else node
    thing = _before(line.thing, before)
    return Line(line.side, thing, f"undoing: {line.reason}") if thing is not None else None


def _before(thing: Thing | Gone, before: Observed) -> Thing | Gone | None:
    match thing:
        case Gone(what):
            return what
        case Pair() | Address() | Neighbour() | Route() | Rule():
            return Gone(thing)
        case Mac(device, _) | Queue(device, _):
            link = before.link(device)
            if link is None:
                return None
            return Mac(device, link.mac) if isinstance(thing, Mac) else Queue(device, link.queue)
        case Sysctl(path, _):
            return Sysctl(path, before.sysctls[path]) if path in before.sysctls else None
        case Marks():
            return Marks(before.marks)
        case Up():
            return None


class _Held:
    """A picture, sorted for questions."""

    def __init__(self, observed: Observed) -> None:
        self._observed = observed
        self._links = {link.name: link for link in observed.links}
        things: tuple[Route | Rule | Neighbour, ...] = (*observed.routes, *observed.rules, *observed.neighbours)
        self._routing = {bare(one) for one in things}

    def holds(self, thing: Thing | Gone) -> bool:
        match thing:
            case Gone(what):
                return not self.holds(what)
            case Pair():
                return thing.on_node in self._links
            case Route() | Rule() | Neighbour():
                return bare(thing) in self._routing
            case Marks(marks):
                return set(self._observed.marks) == set(marks)
            case Sysctl(path, value):
                return self._observed.sysctls.get(path) == value
            case Up(device):
                return device in self._links and self._links[device].up
            case Address(device, address):
                return device in self._links and address in self._links[device].addresses
            case Mac(device, mac):
                return device in self._links and self._links[device].mac == mac
            case Queue(device, length):
                return device in self._links and self._links[device].queue == length
