"""Addresses of Services of type LoadBalancer: given out of a range of the nodes' own network.

What a cloud's controller would do. The nodes answer for the addresses (`network/`); here they are only assigned.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

Obj = dict[str, Any]
Owner = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Range:
    """The addresses from `first` to `last`, both included."""

    first: IPv4Address
    last: IPv4Address

    @classmethod
    def read(cls, text: str) -> "Range":
        """Read `192.168.49.200-192.168.49.250`; ValueError where it is none."""
        first, _, last = text.partition("-")
        found = cls(IPv4Address(first.strip()), IPv4Address((last or first).strip()))
        if found.last < found.first:
            raise ValueError(f"{text!r} ends before it begins")
        return found

    def __contains__(self, address: IPv4Address) -> bool:
        return self.first <= address <= self.last

    def __iter__(self) -> Iterator[IPv4Address]:
        return map(IPv4Address, range(int(self.first), int(self.last) + 1))

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class Give:
    """The Service shall have this address."""

    address: IPv4Address


@dataclass(frozen=True, slots=True)
class Lack:
    """The Service waits, and why."""

    reason: str


@dataclass(slots=True)
class Balancers:
    """Who holds which address."""

    range: Range
    _held: dict[IPv4Address, Owner] = field(default_factory=dict)

    def forget(self, owner: Owner) -> bool:
        """Take back what a Service holds; says whether that was anything."""
        before = len(self._held)
        self._held = {address: holder for address, holder in self._held.items() if holder != owner}
        return len(self._held) < before

    def decide(self, service: Obj) -> Give | Lack | None:
        """What a Service that `concerns` us shall get; None where it has it."""
        meta, spec = service["metadata"], service["spec"]
        owner = (meta["namespace"], meta["name"])
        shown = [entry.get("ip") for entry in _ingress(service)]
        asked = spec.get("loadBalancerIP") or ""
        if asked:
            address = _address(asked)
            if address is None or address not in self.range:
                return Lack(f"the address {asked} is not in the range of this cluster, {self.range}")
        else:
            current = _address(shown[0]) if shown else None
            ours = current is not None and current in self.range and self._held.get(current, owner) == owner
            address = current if ours else self._free(owner)
        if address is None:
            return Lack(f"no address is free in {self.range}: delete a Service of type LoadBalancer")
        if self._held.get(address, owner) != owner:
            holder = "/".join(self._held[address])
            return Lack(f"the address {address} is held by the Service {holder}")
        self.forget(owner)
        self._held[address] = owner
        return None if shown == [str(address)] else Give(address)

    def _free(self, owner: Owner) -> IPv4Address | None:
        return next((address for address in self.range if self._held.get(address, owner) == owner), None)


def _address(text: Any) -> IPv4Address | None:
    try:
        return IPv4Address(text)
    except ValueError:
        return None


def _ingress(service: Obj) -> list[Obj]:
    return ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []


def concerns(service: Obj) -> bool:
    """Whether the Service wants an address, and from nobody else (`loadBalancerClass`)."""
    spec = service["spec"]
    going = service["metadata"].get("deletionTimestamp")
    return spec.get("type") == "LoadBalancer" and not spec.get("loadBalancerClass") and not going


def status(address: IPv4Address) -> Obj:
    """The status that says so."""
    return {"loadBalancer": {"ingress": [{"ip": str(address), "ipMode": "VIP"}]}}
