"""What a plan does to a packet, without a kernel."""

from dataclasses import dataclass
from ipaddress import IPv4Address

from weft.redirect.rules import (
    ByGroup,
    ByUser,
    Chain,
    Destination,
    Enters,
    Jump,
    Leaves,
    Match,
    Plan,
    Redirect,
    Return,
    Rule,
    Source,
    Tcp,
    ToPort,
    ToPorts,
    UdpFrom,
    UdpTo,
    Zone,
)


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a connection. `interface` is where it comes in (inbound) or goes out (outbound).

    `uid` and `gid` own the socket and are known of outbound packets only.
    """

    source: IPv4Address
    destination: IPv4Address
    port: int
    interface: str = "eth0"
    tcp: bool = True
    """Whether it is TCP; else it is UDP, from `source_port`."""
    source_port: int = 40000
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True, slots=True)
class Captured:
    """The connection goes to the proxy's `port`; `reasons` are those of the rules that led there."""

    port: int
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Untouched:
    """The connection goes where it wanted; `reason` is that of the rule that let it, if a rule did."""

    reason: str = ""


Decision = Captured | Untouched


def inbound(packet: Packet, plan: Plan) -> Decision:
    """What happens to a packet that arrives at the pod."""
    return _walk(packet, plan, Chain.PREROUTING, ()) or Untouched()


def outbound(packet: Packet, plan: Plan) -> Decision:
    """What happens to a packet that a process of the pod sends."""
    return _walk(packet, plan, Chain.OUTPUT, ()) or Untouched()


def _walk(packet: Packet, plan: Plan, chain: Chain, reasons: tuple[str, ...]) -> Decision | None:
    """The decision of a chain; None where it ends without one and the calling chain goes on."""
    for rule in plan.of(chain):
        if not _applies(rule, packet):
            continue
        so_far = (*reasons, rule.reason)
        match rule.verdict:
            case Redirect(port):
                return Captured(port, so_far)
            case Return() if chain is Chain.ISTIO_OUTPUT_DNS:
                return None
            case Return():
                # both own chains are the last rule of their hook: to return is to be let alone
                return Untouched(rule.reason)
            case Zone():
                continue  # which connection a packet belongs to, not where it goes
            case Jump(target):
                decision = _walk(packet, plan, target, so_far)
                if decision is not None:
                    return decision
    return None


def _applies(rule: Rule, packet: Packet) -> bool:
    return all(_matches(match, packet) for match in rule.matches)


def _matches(match: Match, packet: Packet) -> bool:
    match match:
        case Tcp() | ToPort() | ToPorts() | UdpTo() | UdpFrom():
            return _carries(match, packet)
        case Source(network):
            return packet.source in network
        case Destination(network, negated):
            return (packet.destination in network) != negated
        case Enters(interface) | Leaves(interface):
            return packet.interface == interface
        case ByUser(uid, negated):
            return packet.uid is not None and (packet.uid == uid) != negated
        case ByGroup(gid, negated):
            return packet.gid is not None and (packet.gid == gid) != negated


def _carries(match: Tcp | ToPort | ToPorts | UdpTo | UdpFrom, packet: Packet) -> bool:
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
