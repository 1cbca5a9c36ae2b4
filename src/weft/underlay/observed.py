"""A network namespace as it was found: links, rules, routes, neighbours, settings of the kernel, marks.

Addresses and networks are texts as the kernel and `ipaddress` write them (`10.6.0.2/16`, `fd00::/64`), so that a
picture is JSON (msgspec) and is compared as it is. Interfaces are named, since numbers differ from pod to pod.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Version = Literal[4, 6]

MAIN: Final = 254
LOCAL: Final = 255
"""Tables of routes that every namespace has."""
EVERYWHERE: Final[Mapping[Version, str]] = {4: "0.0.0.0/0", 6: "::/0"}
"""The destination of a default route."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An interface. `kind` is the kernel's word (veth, macvlan, bridge …), "" for a plain device.

    `peer` is the number of the other end of a veth, or of the parent of a macvlan or VLAN; it is of another
    namespace where `peer_elsewhere`. `master` is the number of the bridge or bond that it is a port of. 0: none.
    """

    index: int
    name: str
    kind: str = ""
    mac: str = ""
    mtu: int = 1500
    up: bool = True
    carrier: bool = True
    queue: int = 1000
    """Packets that wait to be sent at most (txqueuelen)."""
    alias: str = ""
    addresses: tuple[str, ...] = ()
    peer: int = 0
    peer_elsewhere: bool = False
    master: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule of routing: packets that match all of it look into `table`. "" and 0 match everything.

    `protocol` says who made it (2: the kernel). An `action` other than `table` ends the search.
    """

    version: Version
    priority: int
    table: int = 0
    source: str = ""
    destination: str = ""
    mark: int = 0
    mask: int = 0
    incoming: str = ""
    outgoing: str = ""
    inverted: bool = False
    action: str = "table"
    protocol: int = 0

    def __str__(self) -> str:
        selected = (
            "not" if self.inverted else "",
            f"from {self.source or 'all'}",
            f"to {self.destination}" if self.destination else "",
            f"fwmark {self.mark:#x}" if self.mark else "",
            f"iif {self.incoming}" if self.incoming else "",
            f"oif {self.outgoing}" if self.outgoing else "",
        )
        then = f"lookup {self.table}" if self.action == "table" else self.action
        return f"rule {self.priority}: {' '.join(filter(None, selected))} {then}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route. `via` is "" where the destination is on the link itself; `source` is the preferred source address.

    `kind`: unicast, local, broadcast, multicast, anycast, blackhole, unreachable, prohibit, throw.
    A route of several ways is as many routes.
    """

    table: int
    destination: str
    device: str = ""
    via: str = ""
    source: str = ""
    scope: str = "global"
    onlink: bool = False
    metric: int = 0
    kind: str = "unicast"
    protocol: int = 0

    def __str__(self) -> str:
        texts = (
            "route",
            self.kind if self.kind != "unicast" else "",
            "default" if self.default else self.destination,
            f"via {self.via}" if self.via else "",
            f"dev {self.device}" if self.device else "",
            f"src {self.source}" if self.source else "",
            f"table {self.table}" if self.table != MAIN else "",
        )
        return " ".join(filter(None, texts))

    @property
    def version(self) -> Version:
        """The IP version."""
        return 6 if ":" in self.destination else 4

    @property
    def default(self) -> bool:
        """Whether it leads everywhere."""
        return self.destination == EVERYWHERE[self.version]


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """The hardware address of an IP address on a link. `state` is permanent, reachable, stale and so on."""

    address: str
    device: str
    mac: str = ""
    state: str = "permanent"
    protocol: int = 0

    def __str__(self) -> str:
        return f"neigh {self.address} lladdr {self.mac} dev {self.device} {self.state}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Connections that come in by `interface` are remembered; packets of their replies carry `mark`."""

    interface: str
    mark: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One network namespace. Routes are in the kernel's order, in which equal ones are taken.

    `sysctls` are paths below /proc/sys (`net/ipv4/conf/eth0/rp_filter`).
    """

    links: tuple[Link, ...] = ()
    rules: tuple[Rule, ...] = ()
    routes: tuple[Route, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    sysctls: Mapping[str, int] = field(default_factory=dict)
    marks: tuple[Mark, ...] = ()

    def link(self, name: str) -> Link | None:
        """The interface of that name."""
        return next((one for one in self.links if one.name == name), None)

    def table(self, number: int) -> tuple[Route, ...]:
        """The routes of one table."""
        return tuple(one for one in self.routes if one.table == number)
