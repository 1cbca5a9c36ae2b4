"""The application's probes, asked of real servers."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from tests.processes.agent.conftest import free_ports

from weft.adapters import http
from weft.adapters.grpc_server import Peer, Server
from weft.processes.agent.probing import probe


@contextlib.asynccontextmanager
async def application(status: int) -> AsyncIterator[tuple[int, list[http.Request]]]:
    seen: list[http.Request] = []

    async def answer(request: http.Request) -> http.Response:
        seen.append(request)
        return http.Response(status)

    [port] = free_ports(1)
    server = await http.serve("127.0.0.1", port, answer)
    try:
        yield port, seen
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("status", [200, 302, 404, 500])
async def test_an_http_probe_answers_what_the_application_answers(status: int) -> None:
    async with application(status) as (port, seen):
        headers = [{"name": "x-probe", "value": "yes"}]
        asked = {"httpGet": {"path": "/ok?deep=1", "port": port, "httpHeaders": headers}, "timeoutSeconds": 1}
        assert (await probe(asked, "127.0.0.1")).status == status
    assert (seen[0].method, seen[0].path) == ("GET", "/ok?deep=1")
    assert seen[0].headers["x-probe"] == "yes"
    # from this address a connection is not redirected to the proxy
    assert seen[0].peer == "127.0.0.6"


async def test_an_http_probe_of_nobody_says_why() -> None:
    [port] = free_ports(1)
    answer = await probe({"httpGet": {"port": port}}, "127.0.0.1")
    assert answer.status == 503
    assert f"127.0.0.1:{port}".encode() in answer.body


async def test_a_tcp_probe_needs_a_listener() -> None:
    async with application(200) as (port, _):
        assert (await probe({"tcpSocket": {"port": port}}, "127.0.0.1")).status == 200
    assert (await probe({"tcpSocket": {"port": port}}, "127.0.0.1")).status == 503


@pytest.mark.parametrize(("answer", "status"), [(b"\x08\x01", 200), (b"\x08\x02", 503)])
async def test_a_grpc_probe_asks_the_health_service(answer: bytes, status: int) -> None:
    asked: list[bytes] = []

    async def check(request: bytes, _: Peer) -> bytes:
        asked.append(request)
        return answer

    server = Server()
    server.unary("grpc.health.v1.Health", "Check", check)
    port = server.listen("127.0.0.1:0")
    await server.start()
    try:
        prober: dict[str, Any] = {"grpc": {"port": port, "service": "shop"}, "timeoutSeconds": 2}
        assert (await probe(prober, "127.0.0.1")).status == status
    finally:
        await server.stop()
    assert asked == [b"\x0a\x04shop"]


async def test_a_grpc_probe_of_a_server_without_health_says_so() -> None:
    server = Server()
    port = server.listen("127.0.0.1:0")
    await server.start()
    try:
        answer = await probe({"grpc": {"port": port}}, "127.0.0.1")
    finally:
        await server.stop()
    assert answer.status == 503
    assert grpc.StatusCode.UNIMPLEMENTED.name.encode() in answer.body


async def test_a_port_name_that_no_container_has_is_a_failure_that_says_so() -> None:
    answer = await probe({"httpGet": {"port": "web"}}, "127.0.0.1")
    assert answer.status == 500
    assert b"no container" in answer.body
