"""The names that a proxy may answer DNS queries for, and the addresses behind them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

KUBERNETES: Final = "Kubernetes"
EXTERNAL: Final = "External"


@dataclass(frozen=True, slots=True)
class Named:
    """One host name with its addresses, as the control plane tells proxies (Istio's NameInfo).

    `shortname` and `namespace` are those of a service of Kubernetes, which has shorter names too; else empty.
    """

    hostname: str
    addresses: tuple[str, ...]
    registry: str = EXTERNAL
    shortname: str = ""
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Located:
    """What is known of a name. `host` is whose addresses these are; another name than asked for stands for it."""

    host: str
    ipv4: tuple[str, ...]
    ipv6: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NameTable:
    """All names as clients in one namespace may write them, in lower case and without the final dot."""

    _hosts: dict[str, Located] = field(default_factory=dict)
    _full: frozenset[str] = frozenset()
    _search: tuple[str, ...] = ()

    @staticmethod
    def of(infos: Iterable[Named], namespace: str, domain: str, search: tuple[str, ...]) -> "NameTable":
        """The table for a client in `namespace` whose resolver completes names by `search`."""
        hosts: dict[str, Located] = {}
        shorter: dict[str, Located] = {}
        for info in infos:
            host = info.hostname.lower().rstrip(".")
            parsed = [ip_address(each) for each in info.addresses]
            located = Located(
                host,
                tuple(str(each) for each in parsed if each.version == 4),
                tuple(str(each) for each in parsed if each.version == 6),
            )
            hosts.setdefault(host, located)
            for name in _short_forms(info, namespace, domain):
                shorter.setdefault(name, located)
        # a full name goes before the short form of another
        return NameTable({**shorter, **hosts}, frozenset(hosts), search)

    def locate(self, name: str) -> Located | None:
        """What is known of a name; None where nothing is.

        A name that a search list has made too long is known too: the client is told at once what it stands for,
        and need not try the rest of the list.
        """
        if (exact := self._hosts.get(name)) is not None:
            return exact
        bases = [
            name.removesuffix(f".{domain}") for domain in self._search if domain and name.endswith(f".{domain}")
        ]
        for base in bases:
            if base in self._full:
                return self._hosts[base]
        for candidate in (name, *bases):
            if (wild := self._wildcard(candidate)) is not None:
                return Located(candidate, wild.ipv4, wild.ipv6)
        return None

    def _wildcard(self, name: str) -> Located | None:
        rest = name
        while "." in rest:
            rest = rest.partition(".")[2]
            if (found := self._hosts.get(f"*.{rest}")) is not None:
                return found
        return None


def _short_forms(info: Named, namespace: str, domain: str) -> Iterator[str]:
    if info.registry != KUBERNETES or not info.shortname:
        return
    name, where = info.shortname.lower(), info.namespace
    if where == namespace:
        yield name
    yield f"{name}.{where}"
    yield f"{name}.{where}.svc"
    yield f"{name}.{where}.svc.{domain}"
