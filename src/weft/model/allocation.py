"""Addresses for hosts that have none, so that connections to them can be told apart by where they go.

The status of each ServiceEntry is the record. An address stays for as long as its host does; a new one follows
from the entry's and the host's names, so that two control planes, or a restarted one, choose the same.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from weft.api.service_entry import AllocatedAddress, ServiceEntry
from weft.api.service_entry_checks import allocates

Address = IPv4Address | IPv6Address
Key = tuple[str, str]

RANGES: Final[tuple[IPv4Network | IPv6Network, ...]] = (IPv4Network("240.240.0.0/16"), IPv6Network("2001:2::/48"))
"""Istio's: reserved addresses (RFC 1112), and those for benchmarks (RFC 5180). A host gets one of each."""


def allocation(entries: Iterable[ServiceEntry]) -> Mapping[Key, tuple[AllocatedAddress, ...]]:
    """What `status.addresses` is to be, by the namespace and name of each entry that gets or loses any.

    Where two hold one address, the older entry keeps it; one that a user wrote into a spec is never given away.
    """
    ordered = sorted(entries, key=_precedence)
    taken = {address for each in ordered for address in _written(each)}
    kept: dict[Key, dict[str, list[Address]]] = {}
    for entry in ordered:
        kept[_key(entry)] = _still_good(entry, taken)
    found: dict[Key, tuple[AllocatedAddress, ...]] = {}
    for entry in ordered:
        held = kept[_key(entry)]
        for host in _hosts(entry):
            _complete(entry, host, held.setdefault(host, []), taken)
        wanted = tuple(
            AllocatedAddress(value=str(each), host=host) for host in _hosts(entry) for each in held[host]
        )
        if wanted != (entry.status.addresses or ()):
            found[_key(entry)] = wanted
    return found


def allocated(entry: ServiceEntry, host: str) -> tuple[str, ...]:
    """The addresses that a host of an entry has been given."""
    return tuple(str(each) for written, each in _held(entry) if written == host) if allocates(entry) else ()


def _hosts(entry: ServiceEntry) -> tuple[str, ...]:
    return tuple(each for each in entry.spec.hosts if not each.startswith("*")) if allocates(entry) else ()


def _still_good(entry: ServiceEntry, taken: set[Address]) -> dict[str, list[Address]]:
    """What the entry holds and may keep, by host; from now on it is taken."""
    found: dict[str, list[Address]] = {}
    hosts = set(_hosts(entry))
    for host, address in _held(entry):
        mine = found.setdefault(host, [])
        usable = any(address in each for each in RANGES if each.version == address.version)
        another = any(address.version == each.version for each in mine)
        if host in hosts and usable and not another and address not in taken:
            mine.append(address)
            taken.add(address)
    return found


def _complete(entry: ServiceEntry, host: str, held: list[Address], taken: set[Address]) -> None:
    for network in RANGES:
        if all(each.version != network.version for each in held):
            chosen = next((each for each in _candidates(network, entry, host) if each not in taken), None)
            if chosen is not None:
                held.append(chosen)
                taken.add(chosen)
    held.sort(key=lambda each: each.version)


def _candidates(network: IPv4Network | IPv6Network, entry: ServiceEntry, host: str) -> Iterator[Address]:
    """Addresses of a range in the order in which this host asks for them, without the first and the last one."""
    usable = min(network.num_addresses, 1 << 32) - 2
    meta = entry.metadata
    digest = hashlib.blake2b(f"{meta.namespace}/{meta.name}/{host}".encode(), digest_size=8).digest()
    start = int.from_bytes(digest)
    for step in range(min(usable, 1 << 16)):
        yield network[1 + (start + step) % usable]


def _held(entry: ServiceEntry) -> Iterator[tuple[str, Address]]:
    for each in entry.status.addresses or ():
        address = _parsed(each.value)
        if address is not None:
            yield each.host, address


def _written(entry: ServiceEntry) -> Iterator[Address]:
    return (address for each in entry.spec.addresses if (address := _parsed(each)) is not None)


def _parsed(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _key(entry: ServiceEntry) -> Key:
    return entry.metadata.namespace, entry.metadata.name


def _precedence(entry: ServiceEntry) -> tuple[str, str, str]:
    # one that the server has not stamped yet is the youngest
    return (entry.metadata.creation_timestamp or "9999", *_key(entry))
