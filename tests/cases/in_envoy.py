"""The third engine: the real Envoy as the client's sidecar, in a namespace where every destination is one server.

Each cluster gets one endpoint, an address of the loopback range that tells it apart; the server behind all of them
says which it was asked at, and what it saw.
"""

import json
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse, RemoteDisconnected
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.cases.dialled import APPLICATION, CLOSED, PASSED, RESOLVED, UNKNOWN, dialled
from tests.cases.engine import Case, Request, fqdn
from tests.cases.whereabouts import Whereabouts, found, resolver, service_of
from tests.support import envoy
from tests.support.identities import Authority

from weft.adapters import netns
from weft.xds import encode
from weft.xds.generate import Generator
from weft.xds.proto import endpoint_pb2
from weft.xds.resource import ENDPOINT, SECRET, Resource, Resources

PORT = 9000
"""Where the server is; all that the proxy dials is led to it, but for servers of 127.64.0.0/16."""
CAPTURE = f"""*nat
-A OUTPUT -d 127.64.0.0/16 -j RETURN
-A OUTPUT -p tcp -m owner ! --uid-owner 1337 -j REDIRECT --to-ports 15001
-A OUTPUT -p tcp -m owner --uid-owner 1337 -j DNAT --to-destination :9000
-A OUTPUT -p tcp -d {UNKNOWN} -m owner --uid-owner 1337 -j DNAT --to-destination {UNKNOWN}:{PORT}
COMMIT
"""


@dataclass
class Seen:
    """A request as its destination saw it: `server` is the address that it came to."""

    server: str
    path: str
    headers: dict[str, str]


@dataclass
class Answer:
    """A response; `seen` is what the destination saw, if there was one."""

    status: int
    headers: dict[str, list[str]]
    body: bytes
    seen: Seen | None


@dataclass
class Place:
    """The namespace with its server, which keeps what it saw."""

    namespace: str
    identity: envoy.Identity
    seen: list[Seen] = field(default_factory=list)

    def ask(self, request: Request, address: str, host: str, port: int = 0) -> Answer:
        """Send a request to an address, as an application would; `port` is another than the request's."""
        return netns.inside(self.namespace, lambda: _ask(request, address, host, port or request.port))


class _Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536
    place: Place

    def handle(self) -> None:
        first = self.connection.recv(1, socket.MSG_PEEK)
        if first.isupper():
            super().handle()
        elif first:
            # no HTTP: just say which server this is
            self.wfile.write(f"{self.connection.getsockname()[0]}\n".encode())

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", "0")))
        seen = Seen(
            self.connection.getsockname()[0],
            self.path,
            {name.lower(): ",".join(self.headers.get_all(name, ())) for name in self.headers},
        )
        self.place.seen.append(seen)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.send_header("x-from", "the service")
        self.send_header("x-seen", json.dumps(vars(seen)))
        self.end_headers()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self.do_GET
        raise AttributeError(name)

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def place(name: str = "weft-cases", *, capture: bool = True) -> Iterator[Place]:
    """A namespace in which every service address is led to the sidecar's port, if there is to be one."""
    here = Place(name, Authority().issue("spiffe://cluster.local/ns/default/sa/client"))
    subprocess.run(["ip", "netns", "del", here.namespace], check=False, capture_output=True)
    for line in (
        f"ip netns add {here.namespace}",
        f"ip -n {here.namespace} link set lo up",
        f"ip -n {here.namespace} route add local 0.0.0.0/0 dev lo",
    ):
        subprocess.run(line.split(), check=True, capture_output=True)
    inside = ["nsenter", f"--net=/run/netns/{here.namespace}"]
    if capture:
        subprocess.run([*inside, "iptables-restore"], input=CAPTURE, text=True, check=True, capture_output=True)
    else:
        # as containers have it: the proxy's user may listen at any port
        low = ["sysctl", "-qw", "net.ipv4.ip_unprivileged_port_start=0"]
        subprocess.run([*inside, *low], check=True, capture_output=True)
    handler = type("Server", (_Server,), {"place": here})
    server = netns.inside(here.namespace, lambda: ThreadingHTTPServer(("0.0.0.0", PORT), handler))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield here
    finally:
        server.shutdown()
        server.server_close()
        subprocess.run(["ip", "netns", "del", here.namespace], check=True, capture_output=True)


@dataclass
class Sidecar:
    """The Envoy of a case's client."""

    case: Case
    here: Place
    whereabouts: Whereabouts
    management: envoy.Management
    asked: Request | None = None

    def ask(self, request: Request) -> Answer:
        """Send one request of the case."""
        self.asked = request
        view = self.case.view
        to = dialled(fqdn(request.address, view.proxy.namespace), request.port, request.by, view)
        self.here.seen.clear()
        return self.here.ask(request, to.address, request.address, to.port)

    def destination(self, answer: Answer) -> str:
        """Where the answer came from, as cases write it: `host|port|subset`, or the status that Envoy gave."""
        if answer.seen is None:
            return str(answer.status) if answer.status else CLOSED
        if answer.seen.server in {UNKNOWN, "127.0.0.1"}:
            return PASSED if answer.seen.server == UNKNOWN else APPLICATION
        return self.cluster(answer.seen)

    def cluster(self, seen: Seen) -> str:
        """The destination that a request came to."""
        assert self.asked is not None
        asked, view = self.asked, self.case.view
        host = fqdn(asked.address, view.proxy.namespace)
        to = dialled(host, asked.port, asked.by, view)
        if service_of(host, view.services) is None and seen.server == found(asked.address):
            return RESOLVED
        name = self.whereabouts.cluster(seen.server, to.address, asked.port, host)
        _, port, subset, hostname = name.split("|")
        return f"{hostname}|{port}|{subset}"

    def mirrored(self, count: int) -> Counter[str]:
        """Where copies came to, of the last request; waits until there are `count` of them."""

        def copies() -> list[Seen]:
            return [each for each in self.here.seen if "-shadow" in each.headers["host"]]

        def complete() -> bool:
            return len(copies()) >= count

        envoy.wait_until(complete)
        return Counter(self.cluster(each) for each in copies())


@contextmanager
def sidecar(case: Case, here: Place) -> Iterator[Sidecar]:
    """Start the client's Envoy with the resources of the case."""
    resources, whereabouts = _prepared(case)
    with (
        resolver(here.namespace),
        envoy.started(resources, here.identity, namespace=here.namespace, resolver="127.0.0.1") as (_, management),
    ):
        # files of the application are not here, and their secrets are the agent's to hand out
        assert [each for each in management.rejected if each[0] != SECRET] == []
        yield Sidecar(case, here, whereabouts, management)


def again(proxy: Sidecar, case: Case) -> None:
    """Give a running Envoy the resources of another case; it takes a moment until they are in force."""
    resources, proxy.whereabouts = _prepared(case)
    proxy.case = case
    proxy.management.update(resources)


def _prepared(case: Case) -> tuple[Resources, Whereabouts]:
    """The resources with endpoints of our own, and where the clusters lead."""
    resources = Generator().resources(case.view)
    whereabouts = Whereabouts.of(resources)
    return led(resources, whereabouts.told), whereabouts


@contextmanager
def crowd(case: Case, here: Place) -> Iterator[Callable[[str, int], Counter[str]]]:
    """Start the client's Envoy with the endpoints of the case, each an address of the server.

    What it gives counts, by endpoint, where so many requests to a destination come to.
    """
    resources = Generator().resources(case.view)
    assignments, originals = _moved(resources)
    with envoy.started({**resources, ENDPOINT: assignments}, here.identity, namespace=here.namespace) as (_, xds):
        assert xds.rejected == []

        def ask(destination: str, times: int) -> Counter[str]:
            hostname, port, _ = destination.split("|")
            service = next(each.service for each in case.view.services if each.service.hostname == hostname)
            request = Request("GET", "http", service.hostname, int(port), "/", (), (), ())
            answers = (here.ask(request, service.addresses[0], service.hostname) for _ in range(times))
            return Counter(originals[each.seen.server] if each.seen else str(each.status) for each in answers)

        yield ask


def _moved(resources: Resources) -> tuple[dict[str, Resource], dict[str, str]]:
    """The endpoints at addresses of the server, in plaintext; and whose each address is."""
    found: dict[str, Resource] = {}
    originals: dict[str, str] = {}
    for name, resource in resources[ENDPOINT].items():
        assignment = endpoint_pb2.ClusterLoadAssignment.FromString(resource.body)
        for locality in assignment.endpoints:
            for each in locality.lb_endpoints:
                where = each.endpoint.address.socket_address
                loopback = f"127.2.{len(originals) // 200}.{1 + len(originals) % 200}"
                originals[loopback] = where.address
                where.address, where.port_value = loopback, PORT
                each.metadata.Clear()
        found[name] = encode.resource(ENDPOINT, name, assignment)
    return found, originals


def led(resources: Resources, addresses: dict[str, str]) -> Resources:
    """The resources with one endpoint for each cluster that is told; others keep what they have."""
    endpoints = dict(resources[ENDPOINT])
    for name, own in addresses.items():
        where = {"socket_address": {"address": own, "port_value": PORT}}
        endpoint: dict[str, Any] = {"endpoint": {"address": where}}
        assignment = endpoint_pb2.ClusterLoadAssignment(
            cluster_name=name, endpoints=[{"lb_endpoints": [endpoint]}]
        )
        endpoints[name] = encode.resource(ENDPOINT, name, assignment)
    return {**resources, ENDPOINT: endpoints}


def _ask(request: Request, address: str, host: str, port: int) -> Answer:
    connection = HTTPConnection(address, port, timeout=15)
    query = "&".join(f"{name}={value}" for name, value in request.query)
    try:
        connection.putrequest(
            request.method,
            f"{request.path}?{query}" if query else request.path,
            skip_host=True,
            skip_accept_encoding=True,
        )
        headers = dict(request.headers)
        connection.putheader("Host", headers.pop("host", host if request.port == 80 else f"{host}:{request.port}"))
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        response: HTTPResponse = connection.getresponse()
        body = response.read()
        found: dict[str, list[str]] = {}
        for name, value in response.getheaders():
            found.setdefault(name.lower(), []).append(value)
        seen = Seen(**json.loads(found["x-seen"][0])) if "x-seen" in found else None
        return Answer(response.status, found, body, seen)
    except (ConnectionError, RemoteDisconnected):
        return Answer(0, {}, b"", None)
    finally:
        connection.close()
