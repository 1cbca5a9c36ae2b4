"""Routes of connections as they apply to one host and port, after VirtualServices are resolved."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import product

from weft.model.routing import Destination, Unresolved
from weft.model.traffic import Tunnel


@dataclass(frozen=True, slots=True)
class StreamMatch:
    """What Envoy is to test on a connection; all must hold, and what is empty always does.

    `server_names` are those asked for by SNI, lower-case, `*.x` for all below `x`. `destinations` and `sources`
    are blocks of addresses (`10.1.0.0/16`): dialled, and the client's own.
    """

    server_names: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


EVERY = StreamMatch()
"""Every connection."""


def disjoint(matches: Sequence[StreamMatch]) -> Iterator[tuple[int, StreamMatch]]:
    """The matches as Envoy can take them, each with its index among those given, of which earlier ones win.

    Envoy refuses two chains with one match, so each is left with what no earlier one has. And Envoy looks at the
    dialled address first and never goes back: once a block is named, whatever else holds for addresses in it must
    name it too, or it would not be found there.
    """
    taken: set[tuple[str, str, str]] = set()
    for index, match in (*enumerate(matches), *_within_named_blocks(matches)):
        parts = (match.server_names or ("",), match.destinations or ("",), match.sources or ("",))
        atoms = list(product(*parts))
        free = [each for each in atoms if each not in taken]
        taken.update(free)
        if len(free) == len(atoms):
            yield index, match
        else:
            for atom in free:
                yield index, StreamMatch(*((part,) if part else () for part in atom))


def _within_named_blocks(matches: Sequence[StreamMatch]) -> Iterator[tuple[int, StreamMatch]]:
    """Matches of wider blocks, or of any address, for each block that some match names; the closest first."""
    blocks = dict.fromkeys(block for match in matches for block in match.destinations)
    found: list[tuple[int, int, StreamMatch]] = []
    for block in blocks:
        for index, match in enumerate(matches):
            # what no chain takes is left to the default one, which is that of every connection
            if match == EVERY or block in match.destinations:
                continue
            around = _prefix_around(block, match.destinations)
            if around is not None:
                found.append((-around, index, replace(match, destinations=(block,))))
    for _, index, match in sorted(found, key=lambda each: each[:2]):
        yield index, match


def _prefix_around(block: str, blocks: tuple[str, ...]) -> int | None:
    """The length of the longest of `blocks` that holds `block`; 0 where any address will do."""
    if not blocks:
        return 0
    inner = ip_network(block)
    wider = (ip_network(each) for each in blocks)
    return max((each.prefixlen for each in wider if _holds(each, inner)), default=None)


def _holds(outer: IPv4Network | IPv6Network, inner: IPv4Network | IPv6Network) -> bool:
    return outer.version == inner.version and outer.prefixlen <= inner.prefixlen and inner[0] in outer


@dataclass(frozen=True, slots=True)
class StreamRoute:
    """Destinations that share the connections of one match.

    The most telling match takes a connection, not the first: Envoy compares the dialled address before the server
    name, longer prefixes and names before shorter ones, and the client's address last. No two routes of a port
    have the same match. `rule` is the VirtualService's `name.namespace`, empty for the service itself. A `tunnel`
    leads through the only destination.
    """

    match: StreamMatch
    destinations: tuple[Destination | Unresolved, ...]
    rule: str = ""
    tunnel: Tunnel | None = None
