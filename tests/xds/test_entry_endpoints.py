"""Endpoints of ServiceEntries as the real Envoy finds them over time: sockets, and what the DNS says now."""

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.client import HTTPConnection
from typing import Any

import dnslib
import pytest
from tests.cases.in_envoy import Place, place
from tests.support import envoy

from weft.adapters import netns
from weft.model.mesh_config import MeshConfig
from weft.model.services import Proxy
from weft.model.store import Store
from weft.model.views import view
from weft.xds.generate import generate
from weft.xds.resource import Resources

_dns: Any = dnslib  # its parts have no types

HTTP = {"number": 80, "name": "http", "protocol": "HTTP"}


@pytest.fixture(scope="module")
def here() -> Iterator[Place]:
    with place() as made:
        yield made


def resources(host: str, **spec: Any) -> Resources:
    store = Store(mesh=MeshConfig(dns_refresh_rate=timedelta(seconds=3)))
    entry = {"metadata": {"name": "api", "namespace": "shop"}, "spec": {"hosts": [host], "ports": [HTTP], **spec}}
    store.apply("ServiceEntry", entry)
    snapshot = store.snapshot()
    assert not snapshot.problems
    return generate(view(snapshot, Proxy("client", "shop", "10.244.0.99")))


def ask(here: Place, host: str) -> tuple[int, str]:
    """The status that a client gets, and the address of the server behind it."""

    def asked() -> tuple[int, str]:
        connection = HTTPConnection("10.7.7.7", 80, timeout=10)
        try:
            connection.request("GET", "/", headers={"host": host})
            answer = connection.getresponse()
            seen = answer.getheader("x-seen")
            return answer.status, json.loads(seen)["server"] if seen else answer.read().decode()
        finally:
            connection.close()

    return netns.inside(here.namespace, asked)


@contextmanager
def dns(namespace: str, answer: Callable[[str], tuple[str, int]]) -> Iterator[list[str]]:
    """A DNS that answers with an address and its time to live; gives the names that it is asked for."""
    asked: list[str] = []
    server = netns.inside(namespace, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            try:
                query, client = server.recvfrom(4096)
            except TimeoutError:
                continue
            parsed = _dns.DNSRecord.parse(query)
            reply, name = parsed.reply(), str(parsed.q.qname).rstrip(".")
            asked.append(name)
            address, ttl = answer(name)
            if address:
                reply.add_answer(_dns.RR(parsed.q.qname, _dns.QTYPE.A, rdata=_dns.A(address), ttl=ttl))
            else:
                reply.header.rcode = _dns.RCODE.NXDOMAIN
            server.sendto(reply.pack(), client)

    with server:
        server.bind(("127.0.0.1", 53))
        server.settimeout(0.2)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield asked
        finally:
            ended.set()
            thread.join()


class _Greeting(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsocket")


def test_a_socket_on_the_clients_own_machine_answers(here: Place) -> None:
    with envoy.scratch() as folder:
        path = folder / "app.sock"
        with socketserver.ThreadingUnixStreamServer(str(path), _Greeting) as server:
            path.chmod(0o777)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            made = resources("local.example.com", resolution="STATIC", endpoints=[{"address": f"unix://{path}"}])
            with envoy.started(made, here.identity, namespace=here.namespace) as (_, management):
                assert management.rejected == []
                assert ask(here, "local.example.com") == (200, "socket")
            server.shutdown()


def test_envoy_follows_the_dns_as_soon_as_an_answer_is_over(here: Place) -> None:
    now = {"address": "127.9.0.1"}
    made = resources("moving.example.com", resolution="DNS")
    with (
        dns(here.namespace, lambda _: (now["address"], 1)),
        envoy.started(made, here.identity, namespace=here.namespace, resolver="127.0.0.1") as (_, management),
    ):
        assert management.rejected == []
        assert ask(here, "moving.example.com") == (200, "127.9.0.1")
        now["address"] = "127.9.0.2"
        envoy.wait_until(lambda: ask(here, "moving.example.com") == (200, "127.9.0.2"))


def test_a_name_that_is_not_there_answers_503_is_asked_for_as_the_mesh_has_it_and_found_later(here: Place) -> None:
    there = {"address": ""}
    made = resources("late.example.com", resolution="DNS")
    with (
        dns(here.namespace, lambda _: (there["address"], 60)) as asked,
        envoy.started(made, here.identity, namespace=here.namespace, resolver="127.0.0.1") as (_, management),
    ):
        assert management.rejected == []
        assert [ask(here, "late.example.com")[0] for _ in range(20)] == [503] * 20
        assert asked.count("late.example.com") <= 2
        there["address"] = "127.9.0.3"
        envoy.wait_until(lambda: ask(here, "late.example.com") == (200, "127.9.0.3"))


def test_a_host_that_requests_name_is_looked_up_once_and_one_that_is_not_there_answers_503(here: Place) -> None:
    made = resources("*.example.com", resolution="DYNAMIC_DNS")

    def answer(name: str) -> tuple[str, int]:
        return ("127.9.0.4" if name == "there.example.com" else "", 60)

    with (
        dns(here.namespace, answer) as asked,
        envoy.started(made, here.identity, namespace=here.namespace, resolver="127.0.0.1") as (_, management),
    ):
        assert management.rejected == []
        assert [ask(here, "there.example.com") for _ in range(10)] == [(200, "127.9.0.4")] * 10
        assert ask(here, "gone.example.com")[0] == 503
        assert asked.count("there.example.com") == 1
