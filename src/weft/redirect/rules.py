"""The vocabulary of a plan: matches, verdicts, rules. All rules belong to the nat table."""

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network


class Chain(StrEnum):
    """The chains a plan touches: two of the kernel's, and Istio's own in the order that iptables-save prints."""

    PREROUTING = "PREROUTING"
    OUTPUT = "OUTPUT"
    ISTIO_INBOUND = "ISTIO_INBOUND"
    ISTIO_IN_REDIRECT = "ISTIO_IN_REDIRECT"
    ISTIO_OUTPUT = "ISTIO_OUTPUT"
    ISTIO_REDIRECT = "ISTIO_REDIRECT"

    @property
    def is_hook(self) -> bool:
        """Whether the kernel calls this chain itself; other programs have rules there too."""
        return self in {Chain.PREROUTING, Chain.OUTPUT}


OWN_CHAINS = tuple(chain for chain in Chain if not chain.is_hook)


@dataclass(frozen=True, slots=True)
class Tcp:
    """The packet is TCP."""


@dataclass(frozen=True, slots=True)
class ToPort:
    """The packet is TCP and its destination port is (or is not) this one."""

    port: int
    negated: bool = False


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


Match = Tcp | ToPort | Source | Destination | Enters | Leaves | ByUser | ByGroup


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


Verdict = Jump | Return | Redirect


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
