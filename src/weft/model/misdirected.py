"""Requests that came by a connection for another host: SNI and Host disagree.

A server of a Gateway says for which names it speaks TLS, and what it asks of clients. A request for a host of
another server must not get by with that: it is answered 421, by which clients that had joined hosts on one
connection open another (RFC 9110, 15.5.20).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from weft.base.names import host_covers

_ANY = "*"


@dataclass(frozen=True, slots=True)
class ServerNames:
    """What a server is asked for by SNI, and what the other servers of its port are; `*` for a server of all."""

    own: tuple[str, ...]
    others: tuple[str, ...]

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """The hosts that are not this server's: what others have more closely, and all that it does not name."""
        if _ANY not in self.own:
            closer = (each for each in self.others if any(host_covers(own, each) for own in self.own))
            return (*sorted(set(closer) - set(self.own)), _ANY)
        return tuple(sorted(set(self.others) - set(self.own)))

    def serves(self, host: str) -> bool:
        """Whether the closest name of a host, a wildcard perhaps, is this server's."""
        return _closest(self.own, host) >= _closest(self.elsewhere, host)


def _closest(names: Iterable[str], host: str) -> tuple[int, bool]:
    """How close the closest of the names is; a whole name is closer than a wildcard of its length."""
    fitting = ((len(each), each == host) for each in names if host_covers(each, host))
    return max(fitting, default=(0, False))
