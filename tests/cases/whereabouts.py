"""Where the destinations of a case are in its namespace, and which cluster led to one of them.

Every address is the namespace's own and one server answers at all of them. Clusters that are told their endpoints
are told an address of their own; those that ask the DNS find one for each name.
"""

import socket
import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dnslib

from weft.adapters import netns
from weft.base.names import host_matches
from weft.model.services import Service
from weft.model.view import ServiceView, View
from weft.xds.proto import cluster_pb2
from weft.xds.resource import CLUSTER, Resources

_dns: Any = dnslib  # its parts have no types

OUTSIDE = "10.9.9.9"
"""What the DNS says of a host that has no address in the mesh."""


def service_of(host: str, services: Iterable[ServiceView]) -> ServiceView | None:
    """The service that a client means by a host: of this name or address, or the closest wildcard."""
    services = tuple(services)
    at = next((each for each in services if host in each.service.addresses), None)
    if at is not None:
        return at
    fitting = [each for each in services if host_matches(each.service.hostname, host)]
    exact = (each for each in fitting if each.service.hostname == host)
    return next(iter((*exact, *sorted(fitting, key=lambda each: -len(each.service.hostname)))), None)


def dialled(service: Service, seen: View) -> str:
    """The address that a client dials for a service."""
    given = service.dialled(answered=("DNS_CAPTURE", "true") in seen.proxy.metadata)
    single = next((each for each in given if "/" not in each), "")
    return single or next((each.replace("0/", "7/").partition("/")[0] for each in given), OUTSIDE)


def found(name: str) -> str:
    """The address that the namespace's DNS has for a name."""
    number = zlib.crc32(name.encode()) % 65_000
    return f"127.2.{number // 255}.{1 + number % 255}"


@dataclass
class Whereabouts:
    """The clusters of a proxy by where they lead: `told` are the addresses of those that are told."""

    told: dict[str, str] = field(default_factory=dict)
    places: dict[str, set[str]] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, resources: Resources) -> "Whereabouts":
        made = cls()
        names = sorted(name for name in resources[CLUSTER] if name.startswith("outbound|"))
        for number, name in enumerate(names):
            cluster = cluster_pb2.Cluster.FromString(resources[CLUSTER][name].body)
            if cluster.type == cluster_pb2.Cluster.EDS:
                made.told[name] = f"127.1.{number // 200}.{1 + number % 200}"
            elif cluster.HasField("load_assignment"):
                made.places[name] = {
                    host if host[0].isdigit() else found(host)
                    for locality in cluster.load_assignment.endpoints
                    for each in locality.lb_endpoints
                    for host in (each.endpoint.address.socket_address.address,)
                }
            else:
                made.open.append(name)
        return made

    def cluster(self, server: str, address: str, port: int, host: str) -> str:
        """The cluster that led to a server for a client that dialled an address for `host`; empty if none did."""
        named = [name for name, address in self.told.items() if address == server]
        named += [name for name, places in self.places.items() if server in places]
        if server in {address, found(host)}:
            named += self.open
        # several hosts may lead to one place: then the one that was asked for is meant

        def fits(name: str) -> tuple[bool, bool]:
            _, number, _, pattern = name.split("|")
            return number == str(port), host_matches(pattern, host)

        return max(named, key=fits, default="")


@contextmanager
def resolver(namespace: str) -> Iterator[None]:
    """Answer DNS queries in a namespace: every name has an address."""
    server = netns.inside(namespace, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with server:
        server.bind(("127.0.0.1", 53))
        server.settimeout(0.2)
        ended = threading.Event()
        thread = threading.Thread(target=_answer, args=(server, ended), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _answer(server: socket.socket, ended: threading.Event) -> None:
    while not ended.is_set():
        try:
            query, client = server.recvfrom(4096)
        except TimeoutError:
            continue
        asked = _dns.DNSRecord.parse(query)
        answer = asked.reply()
        name = str(asked.q.qname).rstrip(".")
        if asked.q.qtype == _dns.QTYPE.A and not name.startswith("nobody."):
            answer.add_answer(_dns.RR(asked.q.qname, _dns.QTYPE.A, rdata=_dns.A(found(name)), ttl=60))
        server.sendto(answer.pack(), client)
