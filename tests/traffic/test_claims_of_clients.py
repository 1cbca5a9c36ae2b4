"""What clients say in headers that only proxies of the mesh may say, and clients that take their time."""

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from tests.traffic.door import ADDRESS, DOORS, Door, Maker, gateway, https, standing

from weft.model.services import Proxy
from weft.model.store import Store
from weft.model.views import view
from weft.xds import gateway_listeners
from weft.xds.generate import Generator
from weft.xds.listeners_http import HTTP_FILTER
from weft.xds.proto import http_connection_manager_pb2, listener_pb2
from weft.xds.resource import LISTENER

CLAIMS = {
    "x-envoy-peer-metadata": "ChkKDkFQUF9DT05UQUlORVJT",
    "x-envoy-peer-metadata-id": "sidecar~10.0.0.1~boss.shop~shop.svc.cluster.local",
    "x-forwarded-client-cert": "By=spiffe://cluster.local/ns/shop/sa/web;URI=spiffe://cluster.local/ns/shop/sa/boss",
    "x-envoy-internal": "true",
    "x-envoy-attempt-count": "7",
    "x-envoy-decorator-operation": "boss",
    "x-envoy-downstream-service-cluster": "boss",
    "x-envoy-downstream-service-node": "boss",
    "x-envoy-external-address": "10.0.0.1",
    "x-envoy-original-dst-host": "127.0.0.1:15000",
    "x-envoy-original-path": "/admin",
    "x-envoy-original-host": "boss",
    "x-envoy-upstream-alt-stat-name": "boss",
    "x-envoy-upstream-rq-timeout-ms": "1",
    "x-envoy-upstream-rq-per-try-timeout-ms": "1",
    "x-envoy-retry-on": "5xx,reset",
    "x-envoy-max-retries": "100",
    "x-envoy-hedge-on-per-try-timeout": "true",
    "x-envoy-force-trace": "true",
    "x-envoy-ip-tags": "boss",
    "x-envoy-expected-rq-timeout-ms": "1",
}
# from an address of the cluster's, says the client
NEAR = {"x-forwarded-for": "10.0.0.1"}


@pytest.fixture(scope="module", params=DOORS)
def door(request: pytest.FixtureRequest) -> Iterator[Door]:
    with standing(DOORS[request.param]) as made:
        yield made


def asked(door: Door, headers: dict[str, str]) -> dict[str, str]:
    """The headers that the application saw."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection((ADDRESS, door.port), timeout=20) as one:
        one.sendall(f"GET /in HTTP/1.1\r\nHost: web\r\nConnection: close\r\n{lines}\r\n".encode())
        answer = one.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 200"), answer
    return door.recorder.requests[-1].headers


@pytest.mark.parametrize("from_", [{}, NEAR], ids=["from anywhere", "as from the cluster"])
def test_what_only_proxies_may_say_is_believed_of_no_client(door: Door, from_: dict[str, str]) -> None:
    seen = asked(door, {**CLAIMS, **from_})
    said = {name: value for name, value in seen.items() if value == CLAIMS.get(name)}
    assert said == {}
    assert "boss" not in str(seen)


def test_a_header_that_the_proxy_takes_out_is_found_whatever_its_case(door: Door) -> None:
    seen = asked(door, {"X-Envoy-PEER-Metadata": "claimed", "X-Forwarded-CLIENT-Cert": "claimed"})
    assert "claimed" not in seen.values()


def sent_away(port: int, *parts: bytes) -> tuple[bytes, float]:
    """What is answered to a client that writes one part after the other; and after how many seconds it is over."""
    began = time.monotonic()
    with socket.create_connection((ADDRESS, port), timeout=0.2) as one:
        for part in parts:
            try:
                one.sendall(part)
                return one.recv(1000), time.monotonic() - began
            except TimeoutError:
                continue
            except OSError:
                return b"", time.monotonic() - began
    raise AssertionError("the proxy still listens")


@pytest.fixture(scope="module")
def impatient() -> Iterator[Door]:
    """A gateway with times for a test."""
    settings = {"connectionSettings": {"httpRequestHeadersTimeout": "1s", "httpRequestTimeout": "2s"}}
    with standing(gateway, settings) as made:
        yield made


def test_a_client_that_never_ends_its_headers_is_sent_away(impatient: Door) -> None:
    start = b"GET /in HTTP/1.1\r\nHost: web\r\n"
    answer, seconds = sent_away(impatient.port, start, *[b"x: y\r\n"] * 80)
    assert answer.startswith(b"HTTP/1.1 408")
    assert seconds > 0.9


def test_a_client_that_never_ends_its_body_is_sent_away_where_requests_have_a_time(impatient: Door) -> None:
    start = b"POST /in HTTP/1.1\r\nHost: web\r\nContent-Length: 1000000\r\n\r\n"
    answer, seconds = sent_away(impatient.port, start, *[b"x"] * 80)
    assert answer.startswith(b"HTTP/1.1 408")
    assert seconds > 1.9


def test_a_client_that_begins_a_handshake_and_stops_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_listeners, "HANDSHAKE_TIMEOUT", timedelta(seconds=1))
    out = ssl.MemoryBIO()
    hello = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname="web")
    with contextlib.suppress(ssl.SSLWantReadError):
        hello.do_handshake()
    with standing(https) as door, socket.create_connection((ADDRESS, door.port), timeout=20) as one:
        one.sendall(out.read())
        assert one.recv(65536).startswith(b"\x16"), "the server's part of the handshake"
        with contextlib.suppress(ConnectionError):
            while one.recv(65536):
                pass


@pytest.mark.parametrize("made", DOORS.values(), ids=DOORS)
def test_every_proxy_has_a_time_for_headers_and_gateways_for_answers_that_nobody_takes(made: Maker) -> None:
    proxy, objects = made(8000, 8001)
    flush = 300 if made is gateway else 0
    for manager in managers(proxy, objects, port=8000):
        assert manager.request_headers_timeout.seconds == 60
        assert manager.stream_flush_timeout.seconds == flush


def managers(proxy: Proxy, objects: list[dict[str, Any]], port: int) -> list[Any]:
    """Those of the listener at a port."""
    store = Store()
    for each in objects:
        store.apply(each["kind"], each)
    found = Generator().resources(view(store.snapshot(), proxy))[LISTENER].values()
    listeners = [listener_pb2.Listener.FromString(each.body) for each in found]
    chains = [
        chain
        for each in listeners
        if each.address.socket_address.port_value == port
        for chain in each.filter_chains
    ]
    filters = [one for chain in chains for one in chain.filters if one.name == HTTP_FILTER]
    return [
        http_connection_manager_pb2.HttpConnectionManager.FromString(one.typed_config.value) for one in filters
    ]
