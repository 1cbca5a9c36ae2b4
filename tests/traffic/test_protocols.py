"""What applications speak comes through two sidecars and mutual TLS, byte by byte where it must."""

import json
import re
import socket
from collections.abc import Iterator
from datetime import timedelta

import pytest
from tests.traffic.street import (
    ANY,
    COUNTER,
    GREETER,
    KEPT,
    RPC,
    RPC_WEB,
    TRAILED,
    UPGRADED,
    WEB,
    XFCC,
    Street,
    counted,
    running_street,
)

from weft.model.routing import Abort, Destination, HostRoutes, HttpRoute, Retries

H2C = "--http2-prior-knowledge"
IDENTITY = "URI=spiffe://cluster.local/ns/street/sa/client"

WEBSOCKET = """
import asyncio, aiohttp, sys
async def main():
    async with aiohttp.ClientSession() as session, session.ws_connect(f"http://{sys.argv[1]}/ws") as socket:
        for number in range(3):
            await socket.send_str(f"hi {number}")
            print(await socket.receive_str())
        await socket.send_str("x" * 300_000)
        print(len(await socket.receive_str()))
asyncio.run(main())
"""

RPC_CLIENT = """
import grpc, sys
with grpc.insecure_channel(f"{sys.argv[1]}:80") as channel:
    unary = lambda name, body: channel.unary_unary(f"/test.Rpc/{name}")(body, timeout=10).decode()
    print(unary("Say", b"hi"))
    print(sum(int(each) for each in channel.unary_stream("/test.Rpc/Count")(b"1000", timeout=10)))
    talk = channel.stream_stream("/test.Rpc/Talk")(iter([b"a", b"b"]), timeout=10)
    print([each.decode() for each in talk])
    print(unary("FailTwice", sys.argv[2].encode()))
    for status in ("NOT_FOUND", "INVALID_ARGUMENT", "INTERNAL"):
        try:
            unary("Fail", status.encode())
        except grpc.RpcError as error:
            print(error.code().name, error.details())
"""

IDLE = """
import socket, sys, time
import grpc
from threading import Event
more = Event()
def requests():
    yield b"a"
    more.wait()
    yield b"b"
with socket.create_connection((sys.argv[1], 80)) as tcp, grpc.insecure_channel(f"{sys.argv[2]}:80") as channel:
    lines = tcp.makefile("rwb", 0)
    print(lines.readline().decode().strip())
    talk = channel.stream_stream("/test.Rpc/Talk")(requests())
    print(next(talk).decode())
    time.sleep(float(sys.argv[3]))
    lines.write(b"still here\\n")
    print(lines.readline().decode().strip())
    more.set()
    print(next(talk).decode())
"""


@pytest.fixture(scope="module")
def street() -> Iterator[Street]:
    with running_street() as made:
        yield made


def test_http_1_0_is_routed_and_goes_by_mutual_tls(street: Street) -> None:
    seen = street.seen(f"http://{WEB}/old", "--http1.0", "-H", "Host: web")
    nameless = street.seen(f"http://{ANY}/old", "--http1.0", "-H", "Host:")
    assert (seen["path"], seen["version"]) == ("/old", "1.1")
    assert IDENTITY in seen["headers"][XFCC]
    assert IDENTITY in nameless["headers"][XFCC]


def test_the_application_of_an_http_port_gets_http_1_1_whatever_the_client_speaks(street: Street) -> None:
    before = counted(street.at_server, r"http\.inbound_0.0.0.0_8080\.downstream_cx_http2_total")
    seen = street.seen(f"http://{WEB}/", H2C)
    assert seen["version"] == street.seen(f"http://{WEB}/", "--http2")["version"] == "1.1"
    assert IDENTITY in seen["headers"][XFCC]
    # between the sidecars it stayed HTTP/2
    assert counted(street.at_server, r"http\.inbound_0.0.0.0_8080\.downstream_cx_http2_total") == before + 1


@pytest.mark.parametrize(("address", "wire"), [(WEB, "http1"), (UPGRADED, "http2"), (KEPT, "http1")])
def test_sidecars_speak_http2_to_each_other_where_a_rule_upgrades(street: Street, address: str, wire: str) -> None:
    name = rf"http\.inbound_0.0.0.0_8080\.downstream_cx_{wire}_total"
    before = counted(street.at_server, name)
    versions = {street.seen(f"http://{address}/{number}")["version"] for number in range(3)}
    assert versions == {"1.1"}
    # connections of earlier tests may serve
    assert counted(street.at_server, name) > 0
    assert counted(street.at_server, name) >= before


@pytest.mark.parametrize("address", [WEB, UPGRADED, ANY])
def test_a_websocket_talks_both_ways(street: Street, address: str) -> None:
    said = street.python(WEBSOCKET, address)
    assert said == ["you said hi 0", "you said hi 1", "you said hi 2", str(300_000 + len("you said "))]


def test_grpc_calls_and_streams_and_its_statuses_come_through(street: Street) -> None:
    # not yet twice, and the mesh tries twice again by default
    assert street.python(RPC_CLIENT, RPC, "by default") == [
        "heard hi",
        "499500",
        "['heard a', 'heard b']",
        "try 3",
        "NOT_FOUND as you asked",
        "INVALID_ARGUMENT as you asked",
        "INTERNAL as you asked",
    ]


def test_a_rule_says_on_which_statuses_of_grpc_to_try_again(street: Street) -> None:
    to = (Destination("rpc.street.svc.cluster.local", 80, "", 100),)
    once = HostRoutes((HttpRoute(to, retries=Retries(0)),), "rpc.street")
    wanted = HostRoutes((HttpRoute(to, retries=Retries(5, timedelta(seconds=5), "unavailable")),), "rpc.street")
    script = RPC_CLIENT.partition("    for status")[0]
    try:
        street.give_client(*street.services({"rpc": wanted}))
        assert street.python(script, RPC, "by rule")[-1] == "try 3"
        street.give_client(*street.services({"rpc": once}))
        with pytest.raises(AssertionError, match="UNAVAILABLE"):
            street.python(script, RPC, "never")
    finally:
        street.give_client()


def test_a_fault_of_grpc_is_one_to_its_clients(street: Street) -> None:
    to = (Destination("rpc.street.svc.cluster.local", 80, "", 100),)
    routes = HostRoutes((HttpRoute(to, abort=Abort(100, grpc_status=8)),), "rpc.street")
    try:
        street.give_client(*street.services({"rpc": routes}))
        with pytest.raises(AssertionError, match="RESOURCE_EXHAUSTED"):
            street.python(RPC_CLIENT, RPC, "")
    finally:
        street.give_client()


def test_grpc_web_is_turned_into_grpc(street: Street) -> None:
    framed = ("-H", "content-type: application/grpc-web+proto", "--data-binary", "@-", "-D", "-", "--output", "-")
    asked = {"stdin": "\0\0\0\0\2hi"}
    for pod, url in (
        (street.client, f"http://{RPC_WEB}/"),
        (street.outside, f"http://{street.server.address}:9090/"),
    ):
        answer = street.curl(f"{url}test.Rpc/Say", *framed, pod=pod, **asked)
        assert "content-type: application/grpc-web+proto" in answer
        assert "heard hi" in answer
        assert "grpc-status:0" in answer  # a frame of the body: browsers see no trailers


def test_bodies_and_headers_may_be_large(street: Street) -> None:
    size = 8_000_000
    script = """
import hashlib, http.client, sys
body = b"0123456789abcdef" * 500_000
connection = http.client.HTTPConnection(sys.argv[1], timeout=20)
connection.request("POST", "/digest", body, {"x-large": "z" * 50_000})
print(connection.getresponse().read().decode())
print(hashlib.sha256(body).hexdigest())
connection.request("GET", "/large")
answer = connection.getresponse()
print(len(answer.read()), sum(len(value) for name, value in answer.getheaders() if name.startswith("x-large")))
"""
    for address in (WEB, UPGRADED):
        answer, sha256, received = street.python(script, address)
        assert json.loads(answer) == {"size": size, "sha256": sha256, "expect": None}
        assert received == f"200000 {6 * 7000}"


def test_the_application_answers_100_continue_itself(street: Street) -> None:
    def ask(path: str) -> bytes:
        with socket.create_connection((WEB, 80), 10) as client:
            head = f"POST {path} HTTP/1.1\r\nhost: web\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n"
            client.sendall(head.encode())
            said = client.recv(4096)
            if b" 100 " in said:
                client.sendall(b"hi")
                said += client.recv(4096)
            return said

    refused = street.at(street.client, lambda: ask("/refuses"))
    taken = street.at(street.client, lambda: ask("/digest"))
    assert refused.startswith(b"HTTP/1.1 417 ")
    assert taken.startswith(b"HTTP/1.1 100 Continue\r\n")
    assert b'"size": 2' in taken


def test_trailers_come_through(street: Street) -> None:
    def ask() -> bytes:
        with socket.create_connection((TRAILED, 80), 10) as client:
            client.sendall(b"GET / HTTP/1.1\r\nhost: trailed\r\nte: trailers\r\nconnection: close\r\n\r\n")
            return client.makefile("rb").read()

    assert b"\r\nx-sum: 42\r\n" in street.at(street.client, ask).lower()


def test_a_connection_may_be_closed_on_one_side(street: Street) -> None:
    def ask() -> bytes:
        with socket.create_connection((COUNTER, 80), 10) as client:
            client.sendall(b"x" * 100_000)
            client.shutdown(socket.SHUT_WR)
            return client.makefile("rb").read()

    assert street.at(street.client, ask) == b"100000 bytes\n"


def test_streams_may_be_silent_for_longer_than_protocols_are_detected(street: Street) -> None:
    assert street.python(IDLE, GREETER, RPC, "6") == ["hello", "heard a", "you said still here", "heard b"]


def test_applications_see_the_headers_that_proxies_owe_them(street: Street) -> None:
    mine = ("-H", "x-forwarded-for: 192.0.2.7", "-H", "x-forwarded-host: shop.example", "-H", "x-request-id: mine")
    seen = street.seen(f"http://{WEB}/", "-H", "Host: web")["headers"]
    given = street.seen(f"http://{WEB}/", *mine)["headers"]
    assert seen["host"] == "web"
    assert seen["x-forwarded-proto"] == "http"
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", seen["x-request-id"])
    assert seen["x-envoy-attempt-count"] == "1"
    # a sidecar is no hop: what a proxy before it said stays
    assert "x-forwarded-for" not in seen
    assert given["x-forwarded-for"] == "192.0.2.7"
    assert given["x-forwarded-host"] == "shop.example"
    assert given["x-request-id"] == "mine"
    assert not [
        name for name in given if name.startswith(("x-weft", "x-envoy-")) and name != "x-envoy-attempt-count"
    ]


def test_pods_of_a_headless_service_are_reached_by_their_addresses_over_mutual_tls(street: Street) -> None:
    before = counted(street.at_client, r"cluster\.outbound_9000__pods.*\.ssl\.handshake")
    host = ("-H", "Host: web-0.pods.street:8080")
    seen = street.seen(f"http://{street.server.address}:8080/", *host)
    assert IDENTITY in seen["headers"][XFCC]
    assert seen["headers"]["host"] == "web-0.pods.street:8080"

    def greeted() -> str:
        with socket.create_connection((street.server.address, 9000), 10) as client:
            return client.makefile().readline()

    assert street.at(street.client, greeted) == "hello\n"
    assert before == 0
    assert counted(street.at_client, r"cluster\.outbound\|9000\|\|pods.*\.ssl\.handshake") == 1
