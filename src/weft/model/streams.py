"""Routes of connections as they apply to one host and port, after VirtualServices are resolved."""

from dataclasses import dataclass
from itertools import product

from weft.model.routing import Destination, Unresolved


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

Atom = tuple[str, str, str]
"""A match of one server name, one block dialled and one of clients; empty for any."""


def left_of(match: StreamMatch, taken: set[Atom]) -> tuple[StreamMatch, ...]:
    """What of a match is not taken yet, which is taken by that: Envoy refuses two chains with one match.

    A match that keeps all its names and blocks stays as it is; else what is left is given one by one.
    """
    parts = (match.server_names or ("",), match.destinations or ("",), match.sources or ("",))
    atoms = list(product(*parts))
    free = [each for each in atoms if each not in taken]
    taken.update(free)
    if len(free) == len(atoms):
        return (match,)
    return tuple(StreamMatch(*((part,) if part else () for part in atom)) for atom in free)


@dataclass(frozen=True, slots=True)
class StreamRoute:
    """Destinations that share the connections of one match.

    The most telling match takes a connection, not the first: Envoy compares the dialled address before the server
    name, longer prefixes and names before shorter ones, and the client's address last. No two routes of a port
    have the same match. `rule` is the VirtualService's `name.namespace`, empty for the service itself.
    """

    match: StreamMatch
    destinations: tuple[Destination | Unresolved, ...]
    rule: str = ""
