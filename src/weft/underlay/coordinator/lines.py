"""What a pod's and its node's network namespaces are to have: one line for each thing, with its reason.

A plan, what is missing of it, the way back from a half of it, and what DEL takes away are all lines of this kind.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal

from weft.underlay.observed import Mark, Neighbour, Route, Rule

Side = Literal["pod", "node"]

OURS: Final = 87
"""Who made a route, a rule or a neighbour (rtnetlink(7), protocol): by this number our own are known again."""
EVERY_BIT: Final = 0xFFFFFFFF
"""The mask of a rule that looks at a whole mark."""
ALIAS: Final = "spiderpool-coordinator"
"""How the alias of a link of ours begins; its network and attachment follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A veth whose ends are on the node and in the pod. Made with the pod's end down, so that it can be set up."""

    on_node: str
    in_pod: str
    mac_on_node: str
    mac_in_pod: str
    mtu: int
    alias: str

    def __str__(self) -> str:
        return f"link {self.on_node} type veth peer {self.in_pod}"


@dataclass(frozen=True, slots=True)
class Up:
    """A link that is up."""

    device: str

    def __str__(self) -> str:
        return f"link {self.device} up"


@dataclass(frozen=True, slots=True)
class Address:
    """An address of a link, with its prefix length."""

    device: str
    address: str

    def __str__(self) -> str:
        return f"addr {self.address} dev {self.device}"


@dataclass(frozen=True, slots=True)
class Mac:
    """The hardware address of a link."""

    device: str
    mac: str

    def __str__(self) -> str:
        return f"link {self.device} address {self.mac}"


@dataclass(frozen=True, slots=True)
class Queue:
    """The length of a link's transmit queue."""

    device: str
    length: int

    def __str__(self) -> str:
        return f"link {self.device} txqueuelen {self.length}"


@dataclass(frozen=True, slots=True)
class Sysctl:
    """A setting of the kernel, by its path below /proc/sys."""

    path: str
    value: int

    def __str__(self) -> str:
        return f"sysctl {self.path}={self.value}"


@dataclass(frozen=True, slots=True)
class Marks:
    """All that our table of marks holds; none: there is no such table."""

    marks: tuple[Mark, ...]

    def __str__(self) -> str:
        return ", ".join(f"mark {one.mark:#x} on replies of {one.interface}" for one in self.marks) or "no marks"


Thing = Pair | Up | Address | Mac | Queue | Sysctl | Neighbour | Route | Rule | Marks


@dataclass(frozen=True, slots=True)
class Gone:
    """A thing that is not there."""

    thing: Pair | Address | Neighbour | Route | Rule

    def __str__(self) -> str:
        return f"no {self.thing}"


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that is to be so, where, and why."""

    side: Side
    thing: Thing | Gone
    reason: str

    def __str__(self) -> str:
        return f"{self.thing} ({'in the pod' if self.side == 'pod' else 'on the node'}: {self.reason})"


def bare(thing: Thing | Gone) -> Thing | Gone:
    """What a thing does: of routes, rules and neighbours without who made them, and how they are ordered."""
    match thing:
        case Route():
            return replace(thing, protocol=0, metric=0, scope="", onlink=False)
        case Rule():
            return replace(thing, protocol=0, mask=EVERY_BIT if thing.mark else 0)
        case Neighbour():
            return replace(thing, protocol=0)
        case _:
            return thing


def once(lines: Iterable[Line]) -> tuple[Line, ...]:
    """The lines, without those that do what one before does."""
    found: dict[tuple[Side, Thing | Gone], Line] = {}
    for line in lines:
        found.setdefault((line.side, bare(line.thing)), line)
    return tuple(found.values())
