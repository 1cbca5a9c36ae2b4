"""What a plan does to a packet, without a kernel."""

from dataclasses import dataclass
from enum import Enum, auto

from weft.redirect.capture import Address
from weft.redirect.loopback import LOOPBACK
from weft.redirect.rules import (
    OUTPUT,
    PREROUTING,
    Accept,
    ByGroup,
    ByUser,
    Chain,
    Change,
    ConnectionMarked,
    Destination,
    Drop,
    Enters,
    Established,
    Invalid,
    Jump,
    Leaves,
    Mark,
    Marked,
    Match,
    Owner,
    Plan,
    Redirect,
    RestoreMark,
    Return,
    Rule,
    SaveMark,
    Source,
    State,
    Table,
    Tcp,
    ToPort,
    ToPorts,
    Transparent,
    Transport,
    UdpFrom,
    UdpTo,
    Zone,
)


class Tracked(Enum):
    """What connection tracking says of a packet: it begins a connection, belongs to one, or fits none."""

    NEW = auto()
    ESTABLISHED = auto()
    INVALID = auto()


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet. `interface` is where it comes in (inbound) or goes out (outbound).

    `uid` and `gid` own the socket and are known of outbound packets only; `mark` is the socket's.
    """

    source: Address
    destination: Address
    port: int
    interface: str = "eth0"
    tcp: bool = True
    """Whether it is TCP; else it is UDP, from `source_port`."""
    source_port: int = 40000
    uid: int | None = None
    gid: int | None = None
    mark: int = 0
    connection_mark: int = 0
    tracked: Tracked = Tracked.NEW


@dataclass(frozen=True, slots=True)
class Captured:
    """The connection goes to the proxy's `port`; `reasons` are those of the rules that led there."""

    port: int
    reasons: tuple[str, ...]
    transparent: bool = False
    """Whether the proxy gets it with the addresses that it had."""


@dataclass(frozen=True, slots=True)
class Untouched:
    """The connection goes where it wanted; `reason` is that of the rule that let it, if a rule did."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Dropped:
    """The packet is gone, without an answer; `reasons` are those of the rules that led there."""

    reasons: tuple[str, ...]


Decision = Captured | Untouched | Dropped


def inbound(packet: Packet, plan: Plan) -> Decision:
    """What happens to a packet that arrives at the pod."""
    walk = _Walk(packet, plan)
    return walk.hook(PREROUTING) or Untouched(walk.let)


def outbound(packet: Packet, plan: Plan) -> Decision:
    """What happens to a packet that a process of the pod sends; on loopback it arrives as well."""
    walk = _Walk(packet, plan)
    decision = walk.hook(OUTPUT)
    if decision is None and packet.interface == LOOPBACK:
        # addresses are translated once for a connection, and that was on the way out
        decision = walk.hook(PREROUTING[:-1])
    return decision or Untouched(walk.let)


class _Walk:
    """One packet on its way through the tables, with the marks it gets there."""

    def __init__(self, packet: Packet, plan: Plan) -> None:
        self._packet = packet
        self._plan = plan
        self._mark = packet.mark
        self._connection_mark = packet.connection_mark
        self.let = "" if packet.destination.version in plan.versions else "IPv6 is not captured"

    def hook(self, chains: tuple[Chain, ...]) -> Decision | None:
        """The decision of the kernel's chains at one place, if one decides."""
        for chain in chains:
            # only what begins a connection is asked where it shall go
            if chain.table is Table.NAT and self._packet.tracked is not Tracked.NEW:
                continue
            decision = self._chain(chain, ())
            if decision is not None and not isinstance(decision, Accept):
                return decision
        return None

    def _chain(self, chain: Chain, reasons: tuple[str, ...]) -> Decision | Accept | None:
        """The decision of a chain; None where it ends without one and the calling chain goes on."""
        for rule in self._plan.of(chain):
            if not self._applies(rule):
                continue
            so_far = (*reasons, rule.reason)
            match rule.verdict:
                case Redirect() | Transparent() | Drop() as end:
                    return _end(end, so_far)
                case Accept():
                    self.let = reasons[-1] if reasons else rule.reason
                    return Accept()
                case Return():
                    self.let = rule.reason
                    return None
                case Jump(target):
                    decision = self._chain(target, so_far)
                    if decision is not None:
                        return decision
                case Zone() | Mark() | SaveMark() | RestoreMark() as change:
                    self._change(change)
        return None

    def _change(self, change: Change) -> None:
        match change:
            case Zone():
                pass  # which connection a packet belongs to, not where it goes
            case Mark(mark):
                self._mark = mark
            case SaveMark():
                self._connection_mark = self._mark
            case RestoreMark():
                self._mark = self._connection_mark

    def _applies(self, rule: Rule) -> bool:
        version = self._packet.destination.version
        return (
            version in self._plan.versions
            and rule.concerns(version)
            and all(self._matches(match) for match in rule.matches)
        )

    def _matches(self, match: Match) -> bool:
        packet = self._packet
        match match:
            case Tcp() | ToPort() | ToPorts() | UdpTo() | UdpFrom():
                return _carries(match, packet)
            case Source(network):
                return packet.source in network
            case Destination(network, negated):
                return (packet.destination in network) != negated
            case Enters(interface) | Leaves(interface):
                return packet.interface == interface
            case ByUser() | ByGroup():
                return _owns(match, packet)
            case Marked() | ConnectionMarked() | Established() | Invalid():
                return self._is(match)

    def _is(self, match: State) -> bool:
        match match:
            case Marked(mark, negated):
                return (self._mark == mark) != negated
            case ConnectionMarked(mark):
                return self._connection_mark == mark
            case Established():
                return self._packet.tracked is Tracked.ESTABLISHED
            case Invalid():
                return self._packet.tracked is Tracked.INVALID


def _end(verdict: Redirect | Transparent | Drop, reasons: tuple[str, ...]) -> Decision:
    match verdict:
        case Redirect(port):
            return Captured(port, reasons)
        case Transparent(port, _):
            return Captured(port, reasons, transparent=True)
        case Drop():
            return Dropped(reasons)


def _owns(match: Owner, packet: Packet) -> bool:
    match match:
        case ByUser(uid, negated):
            return packet.uid is not None and (packet.uid == uid) != negated
        case ByGroup(gid, negated):
            return packet.gid is not None and (packet.gid == gid) != negated


def _carries(match: Transport, packet: Packet) -> bool:
    match match:
        case Tcp():
            return packet.tcp
        case ToPort(port, negated):
            return packet.tcp and (packet.port == port) != negated
        case ToPorts(none_of):
            return packet.tcp and packet.port not in none_of
        case UdpTo(port):
            return not packet.tcp and packet.port == port
        case UdpFrom(port):
            return not packet.tcp and packet.source_port == port
