"""A gateway, sidecars behind it, and clients outside, each with the real Envoy, in network namespaces."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.cases.edge_in_envoy import certificate
from tests.support import edge_pki, envoy
from tests.support.city import HOST, City, running_city

from weft.model.router import Chain, Requests, RoutedHost, Router, RouterListener, RouterTable
from weft.model.routing import Destination, HostRoutes, HttpRoute
from weft.model.server_tls import SecretName, ServerMode, ServerTls
from weft.model.streams import StreamMatch, StreamRoute
from weft.model.topology import Topology

TLS = ServerTls(ServerMode.SIMPLE, (SecretName("edge"),))
TABLE = "https.443.https.edge.canary"
XFCC = "x-forwarded-client-cert"
GATEWAY = "spiffe://cluster.local/ns/istio-system/sa/edge"

UPGRADED = """
import socket
with socket.create_connection(("127.0.0.1", 8081), timeout=10) as connection:
    lines = connection.makefile("rwb")
    lines.write(b"GET / HTTP/1.1\\r\\nHost: web\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n\\r\\n")
    lines.flush()
    print(lines.readline().decode().strip())
    while lines.readline().strip():
        pass
    lines.write(b"hi\\n")
    lines.flush()
    print(lines.readline().decode(), end="")
"""
SAY = """
import grpc
with grpc.insecure_channel("127.0.0.1:8081", options=[("grpc.default_authority", "rpc")]) as channel:
    print(channel.unary_unary("/test.Echo/Say")(b"hi", timeout=10).decode())
"""
GREETED = """
import socket
with socket.create_connection(("127.0.0.1", 9001), timeout=10) as connection:
    lines = connection.makefile("rwb")
    print(lines.readline().decode(), end="")
    lines.write(b"hi\\n")
    lines.flush()
    print(lines.readline().decode(), end="")
"""
ANNOUNCED = """
import socket
with socket.create_connection(("127.0.0.1", 8081), timeout=10) as connection:
    connection.sendall(b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 80\\r\\nGET / HTTP/1.0\\r\\nHost: web\\r\\n\\r\\n")
    print(connection.makefile("rb").read().decode().splitlines()[-1])
"""


def to(service: str, port: int) -> tuple[HostRoutes, ...]:
    hostname = f"{service}.canary.svc.cluster.local"
    return (HostRoutes((HttpRoute((Destination(hostname, port, "", 100),)),), rule="web.canary"),)


def router(topology: Topology) -> Router:
    hosts = (
        RoutedHost("web", to("canary", 80)),
        RoutedHost("rpc", to("rpc", 9090)),
        RoutedHost("any", to("auto", 7000)),
    )
    greeter = Destination("greeter.canary.svc.cluster.local", 9000, "", 100)
    return Router(
        listeners=(
            RouterListener("", 8081, (Chain(Requests("http.8081")),), by_name=False),
            RouterListener("", 8443, (Chain(Requests(TABLE), StreamMatch(("web",)), TLS),), by_name=True),
            RouterListener("", 9001, (Chain(StreamRoute(StreamMatch(), (greeter,))),), by_name=False),
        ),
        tables=(RouterTable("http.8081", 80, hosts), RouterTable(TABLE, 443, hosts)),
        topology=topology,
    )


@pytest.fixture(scope="module")
def city() -> Iterator[City]:
    with running_city() as made:
        yield made


@pytest.fixture
def gateway(city: City, request: pytest.FixtureRequest) -> Iterator[envoy.Running]:
    """A gateway in the pod outside, where nothing is captured."""
    topology = getattr(request, "param", Topology())
    resources = city.generator.resources(replace(city.view(), router=router(topology)))
    secrets = {"kubernetes://edge": certificate("kubernetes://edge", ("web",))}
    identity = city.authority.issue(GATEWAY)
    started = envoy.started(resources, identity, namespace=city.outside.namespace, secrets=secrets)
    with started as (running, management):
        assert management.rejected == []
        yield running


def seen(city: City, url: str, *options: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(city.curl(url, "--fail", *options, pod=city.outside))
    return found


def test_a_client_by_http2_reaches_an_application_that_speaks_1_1_by_mutual_tls(
    city: City, gateway: envoy.Running
) -> None:
    options = ("--http2", "-k", "--connect-to", "web:443:127.0.0.1:8443", "-w", "%{stderr}%{http_version}")
    found = seen(city, "https://web/path", *options)
    assert (found["version"], found["path"], found["peer"]) == ("HTTP/1.1", "/path", "127.0.0.6")
    assert f"URI={GATEWAY}" in found["headers"][XFCC]
    assert found["headers"]["x-forwarded-proto"] == "https"
    handshakes = gateway.get(f"/stats?filter=^cluster.outbound.80..{HOST}.ssl.handshake$")
    assert int(handshakes.split()[-1]) > 0


def test_a_port_that_says_nothing_is_spoken_to_in_1_1_too(city: City, gateway: envoy.Running) -> None:
    found = seen(city, "http://127.0.0.1:8081/", "--http2-prior-knowledge", "-H", "Host: any")
    assert found["version"] == "HTTP/1.1"
    assert f"URI={GATEWAY}" in found["headers"][XFCC]


def test_web_sockets_pass(city: City, gateway: envoy.Running) -> None:
    upgraded = city.outside.run(sys.executable, "-c", UPGRADED)
    assert upgraded.splitlines() == ["HTTP/1.1 101 Switching Protocols", "you said hi"]


def test_grpc_passes(city: City, gateway: envoy.Running) -> None:
    said = city.outside.run(sys.executable, "-c", SAY)
    assert "heard hi" in said
    assert f"URI={GATEWAY}" in said


def test_a_server_may_speak_first(city: City, gateway: envoy.Running) -> None:
    greeting, answer = city.outside.run(sys.executable, "-c", GREETED).splitlines()
    assert greeting in {"hello from v1", "hello from v2"}
    assert answer == "you said hi"


@pytest.mark.parametrize("gateway", [Topology(proxy_protocol=True)], indirect=True)
def test_the_proxy_protocol_tells_who_the_client_is(city: City, gateway: envoy.Running) -> None:
    found = json.loads(city.outside.run(sys.executable, "-c", ANNOUNCED))
    assert found["headers"]["x-forwarded-for"] == "203.0.113.7"
    with pytest.raises(AssertionError):
        seen(city, "http://127.0.0.1:8081/", "-H", "Host: web")


def test_nobody_outside_claims_an_identity(city: City, gateway: envoy.Running) -> None:
    claimed = "URI=spiffe://cluster.local/ns/canary/sa/admin"
    found = seen(city, "http://127.0.0.1:8081/", "-H", "Host: web", "-H", f"{XFCC}: {claimed}")
    assert "sa/admin" not in found["headers"][XFCC]


def test_the_certificates_of_tests_are_always_the_same() -> None:
    assert edge_pki.clients()["client"].spki == "Ia8RCqPqO5cFzGN0gwzlvaUh2QHFIV+IYEzHg4WEXcA="
