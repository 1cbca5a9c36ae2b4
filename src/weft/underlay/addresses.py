"""Sets of IP addresses as ranges. Nothing is enumerated: a /64 is as cheap as a /30."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Literal, Self

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Version = Literal[4, 6]

_SPACE: Final = 128


class NotAddressesError(ValueError):
    """A text that names no addresses; the message says why and what would."""


@dataclass(frozen=True, slots=True)
class Ranges:
    """A set of addresses of either version. Two equal sets are equal values, whatever they were made of.

    `spans` are (first, last) as places on one line, on which IPv4 comes before IPv6: sorted, apart, not adjacent.
    """

    spans: tuple[tuple[int, int], ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Self:
        """Of `a`, `a-b` and `network/length`, or NotAddressesError."""
        return cls(_joined(_span(text) for text in texts))

    @classmethod
    def of(cls, addresses: Iterable[Address]) -> Self:
        """Of single addresses."""
        return cls(_joined((_place(one), _place(one)) for one in addresses))

    @classmethod
    def network(cls, network: Network) -> Self:
        """All of a network, the first and the last address too."""
        return cls(((_place(network.network_address), _place(network.broadcast_address)),))

    def __or__(self, other: Self) -> Self:
        return type(self)(_joined((*self.spans, *other.spans)))

    def __sub__(self, other: Self) -> Self:
        return type(self)(tuple(_less(self.spans, other.spans)))

    def __and__(self, other: Self) -> Self:
        return self - (self - other)

    def __le__(self, other: Self) -> bool:
        return not self - other

    def __bool__(self) -> bool:
        return bool(self.spans)

    def __contains__(self, address: Address) -> bool:
        place = _place(address)
        at = bisect_right(self.spans, place, key=lambda span: span[0])
        return at > 0 and place <= self.spans[at - 1][1]

    def __iter__(self) -> Iterator[Address]:
        """One after the other, from the lowest: take as many as are wanted, a /64 has no end."""
        for first, last in self.spans:
            for place in range(first, last + 1):
                yield _address(place)

    def __str__(self) -> str:
        return ", ".join(self.texts())

    @property
    def size(self) -> int:
        """How many addresses, which may be more than `len` can say."""
        return sum(last - first + 1 for first, last in self.spans)

    @property
    def versions(self) -> frozenset[Version]:
        """The IP versions in it."""
        return frozenset(4 if _is_v4(first) else 6 for first, _ in self.spans)

    def of_version(self, version: Version) -> Self:
        """Those of one IP version."""
        return type(self)(tuple(span for span in self.spans if _is_v4(span[0]) == (version == 4)))

    def nth(self, number: int) -> Address | None:
        """The address at this place, from 0 in ascending order."""
        if number >= 0:
            for first, last in self.spans:
                if number <= last - first:
                    return _address(first + number)
                number -= last - first + 1
        return None

    def lowest(self) -> Address | None:
        """The first address."""
        return self.nth(0)

    def highest(self) -> Address | None:
        """The last address."""
        return _address(self.spans[-1][1]) if self.spans else None

    def after(self, address: Address) -> Address | None:
        """The first one above an address, which need not be in the set."""
        place = _place(address) + 1
        at = bisect_right(self.spans, place, key=lambda span: span[0])
        if at > 0 and place <= self.spans[at - 1][1]:
            return _address(place)
        return _address(self.spans[at][0]) if at < len(self.spans) else None

    def texts(self) -> tuple[str, ...]:
        """The canonical form: `a` and `a-b`, ascending, IPv4 first."""
        return tuple(
            str(_address(first)) if first == last else f"{_address(first)}-{_address(last)}"
            for first, last in self.spans
        )


NOTHING: Final = Ranges()


def parse_address(text: str) -> Address:
    """One address without a zone, or NotAddressesError."""
    try:
        found = ip_address(text)
    except ValueError:
        raise NotAddressesError(f'"{text}" is no IP address') from None
    if isinstance(found, IPv6Address) and found.scope_id is not None:
        raise NotAddressesError(f'"{text}" has a zone (what follows the %): leave it out')
    return found


def parse_network(text: str) -> Network:
    """A network whose address has no bits of a host, or NotAddressesError."""
    try:
        lenient = ip_network(text, strict=False)
    except ValueError:
        raise NotAddressesError(f'"{text}" is no network: write 10.6.0.0/16 or fd00:6::/64') from None
    written = parse_address(text.partition("/")[0])
    if written != lenient.network_address:
        raise NotAddressesError(f'"{text}" is an address within {lenient}: write the one or the other')
    return lenient


def _span(text: str) -> tuple[int, int]:
    if "/" in text:
        network = parse_network(text)
        return _place(network.network_address), _place(network.broadcast_address)
    first, dash, last = (part.strip() for part in text.partition("-"))
    start, end = parse_address(first), parse_address(last if dash else first)
    if start.version != end.version:
        raise NotAddressesError(f'"{text}" begins in IPv{start.version} and ends in IPv{end.version}')
    if _place(end) < _place(start):
        raise NotAddressesError(f'"{text}" ends before it begins: write {end}-{start}')
    return _place(start), _place(end)


def _joined(spans: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return tuple(found)


def _less(spans: tuple[tuple[int, int], ...], gone: tuple[tuple[int, int], ...]) -> Iterator[tuple[int, int]]:
    at = 0
    for start, last in spans:
        first = start
        while at < len(gone) and gone[at][1] < first:
            at += 1
        here = at
        while here < len(gone) and gone[here][0] <= last:
            if first < gone[here][0]:
                yield first, gone[here][0] - 1
            first = gone[here][1] + 1
            here += 1
        at = max(at, here - 1)
        if first <= last:
            yield first, last


def _place(address: Address) -> int:
    return (address.version << _SPACE) + int(address)


def _is_v4(place: int) -> bool:
    return place >> _SPACE == 4


def _address(place: int) -> Address:
    number = place & ((1 << _SPACE) - 1)
    return IPv4Address(number) if _is_v4(place) else IPv6Address(number)
