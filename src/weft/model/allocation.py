"""Addresses for hosts that have none, so that connections to them can be told apart by where they go.

The status of each ServiceEntry is the record. An address stays for as long as its host does; a new one follows
from the entry's and the host's names, so that two control planes, or a restarted one, choose the same.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final

from weft.api.service_entry import AllocatedAddress, ServiceEntry
from weft.api.service_entry_checks import allocates

Key = tuple[str, str]

RANGES: Final[tuple[IPv4Network | IPv6Network, ...]] = (IPv4Network("240.240.0.0/16"), IPv6Network("2001:2::/48"))
"""Istio's: reserved addresses (RFC 1112), and those for benchmarks (RFC 5180). A host gets one of each."""


@dataclass(frozen=True, slots=True)
class _Address:
    """An address as it is written; `usable` if it may be one that was allocated."""

    text: str
    version: int
    usable: bool


def allocation(entries: Iterable[ServiceEntry]) -> Mapping[Key, tuple[AllocatedAddress, ...]]:
    """What `status.addresses` is to be, by the namespace and name of each entry that gets or loses any.

    Where two hold one address, the older entry keeps it; one that a user wrote into a spec is never given away.
    """
    ordered = sorted(entries, key=_precedence)
    taken = {address.text for each in ordered for address in _written(each)}
    kept = [_still_good(entry, taken) for entry in ordered]
    found: dict[Key, tuple[AllocatedAddress, ...]] = {}
    for entry, held in zip(ordered, kept, strict=True):
        hosts = _hosts(entry)
        for host in hosts:
            _complete(entry, host, held.setdefault(host, []), taken)
        wanted = [(host, each.text) for host in hosts for each in held[host]]
        if wanted != [(each.host, each.value) for each in entry.status.addresses or ()]:
            found[_key(entry)] = tuple(AllocatedAddress(value=value, host=host) for host, value in wanted)
    return found


def allocated(entry: ServiceEntry, host: str) -> tuple[str, ...]:
    """The addresses that a host of an entry has been given."""
    return tuple(each.text for written, each in _held(entry) if written == host) if allocates(entry) else ()


def _hosts(entry: ServiceEntry) -> tuple[str, ...]:
    return tuple(each for each in entry.spec.hosts if not each.startswith("*")) if allocates(entry) else ()


def _still_good(entry: ServiceEntry, taken: set[str]) -> dict[str, list[_Address]]:
    """What the entry holds and may keep, by host; from now on it is taken."""
    found: dict[str, list[_Address]] = {}
    hosts = _hosts(entry)
    for host, address in _held(entry):
        mine = found.setdefault(host, [])
        another = any(address.version == each.version for each in mine)
        if host in hosts and address.usable and not another and address.text not in taken:
            mine.append(address)
            taken.add(address.text)
    return found


def _complete(entry: ServiceEntry, host: str, held: list[_Address], taken: set[str]) -> None:
    for network in RANGES:
        if all(each.version != network.version for each in held):
            chosen = next((each for each in _candidates(network, entry, host) if each.text not in taken), None)
            if chosen is not None:
                held.append(chosen)
                taken.add(chosen.text)
    held.sort(key=lambda each: each.version)


def _candidates(network: IPv4Network | IPv6Network, entry: ServiceEntry, host: str) -> Iterator[_Address]:
    """Addresses of a range in the order in which this host asks for them, without the first and the last one."""
    usable = min(network.num_addresses, 1 << 32) - 2
    meta = entry.metadata
    digest = hashlib.blake2b(f"{meta.namespace}/{meta.name}/{host}".encode(), digest_size=8).digest()
    start = int.from_bytes(digest)
    for step in range(min(usable, 1 << 16)):
        yield _Address(str(network[1 + (start + step) % usable]), network.version, usable=True)


def _held(entry: ServiceEntry) -> Iterator[tuple[str, _Address]]:
    for each in entry.status.addresses or ():
        address = _read(each.value)
        if address is not None:
            yield each.host, address


def _written(entry: ServiceEntry) -> Iterator[_Address]:
    return (address for each in entry.spec.addresses if (address := _read(each)) is not None)


@lru_cache(maxsize=1 << 16)
def _read(text: str) -> _Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    usable = any(address in each for each in RANGES if each.version == address.version)
    return _Address(str(address), address.version, usable)


def _key(entry: ServiceEntry) -> Key:
    return entry.metadata.namespace, entry.metadata.name


def _precedence(entry: ServiceEntry) -> tuple[str, str, str]:
    # one that the server has not stamped yet is the youngest
    return (entry.metadata.creation_timestamp or "9999", *_key(entry))
