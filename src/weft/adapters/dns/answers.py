"""What a resolver finds out about a name, before it is a message."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class A:
    """A name's IPv4 address."""

    name: str
    ip: str


@dataclass(frozen=True, slots=True)
class Aaaa:
    """A name's IPv6 address."""

    name: str
    ip: str


@dataclass(frozen=True, slots=True)
class Cname:
    """A name that stands for another."""

    name: str
    target: str


@dataclass(frozen=True, slots=True)
class Srv:
    """A service's port and the name of who serves it."""

    name: str
    port: int
    target: str


@dataclass(frozen=True, slots=True)
class Ptr:
    """An address's name."""

    name: str
    target: str


Record = A | Aaaa | Cname | Srv | Ptr


@dataclass(frozen=True, slots=True)
class Found:
    """The name exists; without records it has none of the type that was asked for."""

    records: tuple[Record, ...] = ()
    additional: tuple[A, ...] = ()


@dataclass(frozen=True, slots=True)
class Absent:
    """The name is the resolver's own to know, and it does not exist."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The name is for others to know. `records` lead to it, where the question was for one that stands for it."""

    name: str
    records: tuple[Record, ...] = ()


Answer = Found | Absent | Elsewhere
