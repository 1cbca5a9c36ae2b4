"""The vocabulary of a plan: tables, chains, matches, verdicts, rules."""

from dataclasses import dataclass
from enum import Enum, StrEnum
from ipaddress import IPv6Address
from typing import Final, Literal

from weft.redirect.capture import Network

Version = Literal[4, 6]


class Table(StrEnum):
    """The kernel's tables that a plan touches, in the order in which a packet meets them.

    raw keeps connections apart, mangle marks packets and hands them to transparent sockets, nat redirects.
    """

    RAW = "raw"
    MANGLE = "mangle"
    NAT = "nat"


class Chain(Enum):
    """The chains a plan touches: the kernel's, and Istio's own in the order that iptables-save prints."""

    PREROUTING = (Table.NAT, "PREROUTING")
    OUTPUT = (Table.NAT, "OUTPUT")
    ISTIO_INBOUND = (Table.NAT, "ISTIO_INBOUND")
    ISTIO_IN_REDIRECT = (Table.NAT, "ISTIO_IN_REDIRECT")
    ISTIO_OUTPUT = (Table.NAT, "ISTIO_OUTPUT")
    ISTIO_OUTPUT_DNS = (Table.NAT, "ISTIO_OUTPUT_DNS")
    ISTIO_REDIRECT = (Table.NAT, "ISTIO_REDIRECT")
    MANGLE_PREROUTING = (Table.MANGLE, "PREROUTING")
    MANGLE_OUTPUT = (Table.MANGLE, "OUTPUT")
    MANGLE_ISTIO_DIVERT = (Table.MANGLE, "ISTIO_DIVERT")
    MANGLE_ISTIO_DROP = (Table.MANGLE, "ISTIO_DROP")
    MANGLE_ISTIO_INBOUND = (Table.MANGLE, "ISTIO_INBOUND")
    MANGLE_ISTIO_OUTPUT = (Table.MANGLE, "ISTIO_OUTPUT")
    MANGLE_ISTIO_TPROXY = (Table.MANGLE, "ISTIO_TPROXY")
    RAW_PREROUTING = (Table.RAW, "PREROUTING")
    RAW_OUTPUT = (Table.RAW, "OUTPUT")
    RAW_ISTIO_INBOUND = (Table.RAW, "ISTIO_INBOUND")
    RAW_ISTIO_OUTPUT_DNS = (Table.RAW, "ISTIO_OUTPUT_DNS")

    def __str__(self) -> str:
        return self.value[1]

    @property
    def table(self) -> Table:
        """The table that this chain is in."""
        return self.value[0]

    @property
    def is_hook(self) -> bool:
        """Whether the kernel calls this chain itself; other programs have rules there too."""
        return str(self) in {"PREROUTING", "OUTPUT"}


PREROUTING: Final = (Chain.RAW_PREROUTING, Chain.MANGLE_PREROUTING, Chain.PREROUTING)
OUTPUT: Final = (Chain.RAW_OUTPUT, Chain.MANGLE_OUTPUT, Chain.OUTPUT)


@dataclass(frozen=True, slots=True)
class Tcp:
    """The packet is TCP."""


@dataclass(frozen=True, slots=True)
class ToPort:
    """The packet is TCP and its destination port is (or is not) this one."""

    port: int
    negated: bool = False


@dataclass(frozen=True, slots=True)
class ToPorts:
    """The packet is TCP and its destination port is none of these."""

    none_of: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class UdpTo:
    """The packet is UDP and goes to this port."""

    port: int


@dataclass(frozen=True, slots=True)
class UdpFrom:
    """The packet is UDP and comes from this port."""

    port: int


@dataclass(frozen=True, slots=True)
class Source:
    """The packet comes from this network."""

    network: Network


@dataclass(frozen=True, slots=True)
class Destination:
    """The packet goes to this network, or anywhere else."""

    network: Network
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Enters:
    """The packet comes in by this interface."""

    interface: str


@dataclass(frozen=True, slots=True)
class Leaves:
    """The packet goes out by this interface."""

    interface: str


@dataclass(frozen=True, slots=True)
class ByUser:
    """The socket belongs to this user, or to any other."""

    uid: int
    negated: bool = False


@dataclass(frozen=True, slots=True)
class ByGroup:
    """The socket belongs to this group, or to any other."""

    gid: int
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Marked:
    """The packet has this mark, or any other."""

    mark: int
    negated: bool = False


@dataclass(frozen=True, slots=True)
class ConnectionMarked:
    """The packet's connection has this mark."""

    mark: int


@dataclass(frozen=True, slots=True)
class Established:
    """The packet belongs to a connection that there is, or is about one."""


@dataclass(frozen=True, slots=True)
class Invalid:
    """The packet fits no connection and cannot begin one."""


Transport = Tcp | ToPort | ToPorts | UdpTo | UdpFrom
Owner = ByUser | ByGroup
State = Marked | ConnectionMarked | Established | Invalid
Match = Transport | Source | Destination | Enters | Leaves | Owner | State


@dataclass(frozen=True, slots=True)
class Jump:
    """Go on in another chain; come back when it returns."""

    chain: Chain


@dataclass(frozen=True, slots=True)
class Return:
    """Leave this chain; from a hook's own chain that means: not captured."""


@dataclass(frozen=True, slots=True)
class Accept:
    """Done with this table."""


@dataclass(frozen=True, slots=True)
class Drop:
    """The packet ends here, without an answer."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """Deliver the connection to this port of the pod itself."""

    port: int


@dataclass(frozen=True, slots=True)
class Transparent:
    """Give the packet, unchanged, to the transparent socket on this port; mark it so that it is delivered here.

    Where nothing listens the packet is dropped.
    """

    port: int
    mark: int


@dataclass(frozen=True, slots=True)
class Zone:
    """Track the connection in this conntrack zone, apart from connections with the same addresses elsewhere."""

    number: int


@dataclass(frozen=True, slots=True)
class Mark:
    """Give the packet this mark, and go on."""

    mark: int


@dataclass(frozen=True, slots=True)
class SaveMark:
    """Give the connection the packet's mark, and go on."""


@dataclass(frozen=True, slots=True)
class RestoreMark:
    """Give the packet its connection's mark, and go on."""


Change = Zone | Mark | SaveMark | RestoreMark
Verdict = Jump | Return | Accept | Drop | Redirect | Transparent | Change


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule and why it is there."""

    chain: Chain
    matches: tuple[Match, ...]
    verdict: Verdict
    reason: str

    def concerns(self, version: int) -> bool:
        """Whether packets of this IP version may match: addresses in a rule are of one version."""
        return all(
            match.network.version == version for match in self.matches if isinstance(match, Source | Destination)
        )


@dataclass(frozen=True, slots=True)
class MarkedIsLocal:
    """A routing rule: packets with this mark are delivered in the pod, whatever their destination."""

    mark: int
    table: int


MARKED_IS_LOCAL: Final = MarkedIsLocal(1337, 133)


@dataclass(frozen=True, slots=True)
class Plan:
    """Rules in the order of their chains, and what they need beside them, for IPv4 and, with `ipv6`, IPv6.

    `marked` is needed where the plan is `routed`; else it may be left from another plan. `loopback_addresses` are
    addresses of `lo` that IPv6 does not have by itself.
    """

    rules: tuple[Rule, ...]
    ipv6: bool = False
    marked: MarkedIsLocal = MARKED_IS_LOCAL
    loopback_addresses: tuple[IPv6Address, ...] = ()

    @property
    def versions(self) -> tuple[Version, ...]:
        """The IP versions that are captured."""
        return (4, 6) if self.ipv6 else (4,)

    @property
    def routed(self) -> bool:
        """Whether the plan needs packets with its mark delivered in the pod."""
        return any(isinstance(rule.verdict, Transparent) for rule in self.rules)

    def of(self, chain: Chain) -> tuple[Rule, ...]:
        """The rules of one chain, in order."""
        return tuple(rule for rule in self.rules if rule.chain is chain)
