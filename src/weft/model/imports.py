"""Which hosts some proxies see: the lists of a Sidecar's egress listeners."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from weft.base.names import host_matches, hosts_overlap

_ALL: Final = "*"
_OWN: Final = "."
_NOT: Final = "~"


@dataclass(frozen=True, slots=True)
class Pattern:
    """Hosts of one namespace, `*` for all; the host may be a wildcard."""

    namespace: str
    host: str

    def fits(self, host: str, namespace: str) -> bool:
        """Whether a service's host is meant."""
        return self.namespace in {_ALL, namespace} and (self.host == _ALL or host_matches(self.host, host))

    def touches(self, host: str, namespace: str) -> bool:
        """Whether a rule's host, which may be a wildcard itself, has hosts in common with this."""
        return self.namespace in {_ALL, namespace} and hosts_overlap(self.host, host)


@dataclass(frozen=True, slots=True)
class Imports:
    """What is taken in, less what is left out. With `port`, only that port of each service."""

    taken: tuple[Pattern, ...]
    left_out: tuple[Pattern, ...] = ()
    port: int = 0

    def service(self, host: str, namespace: str) -> bool:
        """Whether a service is seen."""
        return any(each.fits(host, namespace) for each in self.taken) and not any(
            each.fits(host, namespace) for each in self.left_out
        )

    def rule(self, hosts: Iterable[str], namespace: str) -> bool:
        """Whether a VirtualService is: one of its hosts has something in common with what is taken in."""
        return any(
            any(each.touches(host, namespace) for each in self.taken)
            and not any(each.fits(host, namespace) for each in self.left_out)
            for host in hosts
        )


def imports(written: Iterable[str], namespace: str, port: int = 0) -> Imports:
    """Read `NAMESPACE/HOST`; `.` is `namespace`, `~/*` nothing. A `~` before a part takes out again."""
    taken: list[Pattern] = []
    left_out: list[Pattern] = []
    for each in written:
        space, _, host = each.partition("/")
        if space == _NOT:
            continue
        excluded = space.startswith(_NOT) or host.startswith(_NOT)
        space, host = space.removeprefix(_NOT), host.removeprefix(_NOT)
        pattern = Pattern(namespace if space == _OWN else space, host.lower())
        (left_out if excluded else taken).append(pattern)
    return Imports(tuple(dict.fromkeys(taken)), tuple(dict.fromkeys(left_out)), port)
