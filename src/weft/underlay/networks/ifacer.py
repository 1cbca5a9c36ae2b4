"""Interfaces of a node that networks stand on: a bond of several, and a VLAN of one or of the bond.

All pods of a network share them, so they are made once and stay; what is there already is taken as it is, if it is
what it is called.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from weft.underlay.observed import Link, Observed

_LONGEST: Final = 15
"""Characters of an interface's name."""
OPTIONS: Final = frozenset(
    {
        "active_slave",
        "ad_select",
        "all_slaves_active",
        "arp_all_targets",
        "arp_interval",
        "arp_validate",
        "downdelay",
        "fail_over_mac",
        "lp_interval",
        "miimon",
        "min_links",
        "num_peer_notif",
        "packets_per_slave",
        "peer_notif_delay",
        "primary_reselect",
        "resend_igmp",
        "tlb_dynamic_lb",
        "updelay",
        "use_carrier",
        "xmit_hash_policy",
    }
)
"""Of a bond, all of them numbers."""


class NoInterfaceError(ValueError):
    """What is asked for cannot be made of what the node has; the message says what would do."""


class _Bond(msgspec.Struct, frozen=True):
    name: str
    mode: int = 0
    options: str = ""


class _Config(msgspec.Struct, frozen=True, rename="camel"):
    interfaces: tuple[str, ...] = ()
    vlan_id: int = msgspec.field(default=0, name="vlanID")
    bond: _Bond | None = None


@dataclass(frozen=True, slots=True)
class Bond:
    """A bond, by the kernel's number of its mode, and its options."""

    name: str
    mode: int
    options: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        return f"link {self.name} type bond mode {self.mode}"


@dataclass(frozen=True, slots=True)
class Joined:
    """An interface that is part of a bond."""

    name: str
    bond: str

    def __str__(self) -> str:
        return f"link {self.name} master {self.bond}"


@dataclass(frozen=True, slots=True)
class Vlan:
    """A VLAN of an interface."""

    name: str
    parent: str
    number: int

    def __str__(self) -> str:
        return f"link {self.name} link {self.parent} type vlan id {self.number}"


@dataclass(frozen=True, slots=True)
class Raised:
    """An interface that is up."""

    name: str

    def __str__(self) -> str:
        return f"link {self.name} up"


Step = Bond | Joined | Vlan | Raised


def missing(config: Mapping[str, Any], node: Observed) -> tuple[Step, ...]:
    """What the node lacks of what a network stands on, in the order in which it is made; NoInterfaceError."""
    try:
        asked = msgspec.convert(config, _Config)
    except msgspec.ValidationError as error:
        raise NoInterfaceError(f"the configuration of plugin ifacer: {error}") from error
    links = {link.name: link for link in node.links}
    for name in asked.interfaces:
        if name not in links:
            raise NoInterfaceError(f"the node has no interface {name}. Name one of {', '.join(_able(node))}.")
    return tuple(_steps(asked, links))


def _steps(asked: _Config, links: Mapping[str, Link]) -> Iterator[Step]:
    base = asked.interfaces[0] if asked.interfaces else ""
    if asked.bond is not None and len(asked.interfaces) > 1:
        base = asked.bond.name
        yield from _bonded(asked.bond, asked.interfaces, links)
    elif len(asked.interfaces) != 1:
        raise NoInterfaceError("interfaces names none, or several without bond. Write one, or add bond.")
    elif not links[base].up:
        yield Raised(base)
    if asked.vlan_id:
        yield from _vlan(base, asked.vlan_id, links)


def _bonded(bond: _Bond, interfaces: Sequence[str], links: Mapping[str, Link]) -> Iterator[Step]:
    held = _known(bond.name, "bond", links)
    if held is None:
        yield Bond(bond.name, bond.mode, _options(bond.options))
    for name in interfaces:
        master = links[name].master
        if master and (held is None or master != held.index):
            other = next((link.name for link in links.values() if link.index == master), str(master))
            raise NoInterfaceError(f"{name} is part of {other} already. Take it out there, or leave it out here.")
        if not master:
            yield Joined(name, bond.name)
    if held is None or not held.up:
        yield Raised(bond.name)


def _vlan(base: str, number: int, links: Mapping[str, Link]) -> Iterator[Step]:
    name = f"{base}.{number}"
    held = _known(name, "vlan", links)
    if held is None:
        yield Vlan(name, base, number)
    elif base in links and held.peer != links[base].index:
        raise NoInterfaceError(f"{name} is a VLAN of another interface than {base}. Remove or rename it.")
    if held is None or not held.up:
        yield Raised(name)


def _known(name: str, kind: str, links: Mapping[str, Link]) -> Link | None:
    if len(name) > _LONGEST:
        raise NoInterfaceError(f"{name} is longer than {_LONGEST} characters. Shorten the interface's name.")
    held = links.get(name)
    if held is not None and held.kind != kind:
        raise NoInterfaceError(
            f"{name} is there, and is a {held.kind or 'device'} instead of a {kind}. Remove or rename it."
        )
    return held


def _options(text: str) -> tuple[tuple[str, int], ...]:
    found: list[tuple[str, int]] = []
    for each in filter(None, (part.strip() for part in text.split(";"))):
        name, _, value = each.partition("=")
        if name not in OPTIONS or not value.isdecimal():
            raise NoInterfaceError(
                f"bond.options: {each!r}. Write NAME=NUMBER; with names {', '.join(sorted(OPTIONS))}."
            )
        found.append((name, int(value)))
    return tuple(found)


def _able(node: Observed) -> list[str]:
    return [link.name for link in node.links if link.name != "lo" and not link.name.startswith("veth")]
