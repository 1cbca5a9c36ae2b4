"""The vocabulary of a plan: tables, chains, matches, verdicts, rules."""

from dataclasses import dataclass
from enum import Enum, StrEnum
from ipaddress import IPv4Network


class Table(StrEnum):
    """The kernel's tables that a plan touches: nat redirects; raw comes before it and keeps connections apart."""

    NAT = "nat"
    RAW = "raw"


class Chain(Enum):
    """The chains a plan touches: the kernel's, and Istio's own in the order that iptables-save prints."""

    PREROUTING = (Table.NAT, "PREROUTING")
    OUTPUT = (Table.NAT, "OUTPUT")
    ISTIO_INBOUND = (Table.NAT, "ISTIO_INBOUND")
    ISTIO_IN_REDIRECT = (Table.NAT, "ISTIO_IN_REDIRECT")
    ISTIO_OUTPUT = (Table.NAT, "ISTIO_OUTPUT")
    ISTIO_OUTPUT_DNS = (Table.NAT, "ISTIO_OUTPUT_DNS")
    ISTIO_REDIRECT = (Table.NAT, "ISTIO_REDIRECT")
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

    network: IPv4Network


@dataclass(frozen=True, slots=True)
class Destination:
    """The packet goes to this network, or anywhere else."""

    network: IPv4Network
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


Match = Tcp | ToPort | ToPorts | UdpTo | UdpFrom | Source | Destination | Enters | Leaves | ByUser | ByGroup


@dataclass(frozen=True, slots=True)
class Jump:
    """Go on in another chain; come back when it returns."""

    chain: Chain


@dataclass(frozen=True, slots=True)
class Return:
    """Leave this chain; from a hook's own chain that means: not captured."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """Deliver the connection to this port of the pod itself."""

    port: int


@dataclass(frozen=True, slots=True)
class Zone:
    """Track the connection in this conntrack zone, apart from connections with the same addresses elsewhere."""

    number: int


Verdict = Jump | Return | Redirect | Zone


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule and why it is there."""

    chain: Chain
    matches: tuple[Match, ...]
    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Rules in the order of their chains."""

    rules: tuple[Rule, ...]

    def of(self, chain: Chain) -> tuple[Rule, ...]:
        """The rules of one chain, in order."""
        return tuple(rule for rule in self.rules if rule.chain is chain)
