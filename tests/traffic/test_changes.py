"""A change of the configuration costs nothing that it is not about, and lets what it is about end well."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import aiohttp
import pytest
from tests.support import mesh
from tests.traffic.street import ANY, GREETER, INBOUND, WEB, Street, counted, running_street

from weft.model.routing import Destination, HostRoutes, HttpRoute
from weft.model.services import InboundPort, Protocol
from weft.model.streams import StreamMatch, StreamRoute
from weft.model.view import ServiceView

V1 = StreamRoute(
    StreamMatch(sources=("192.0.2.0/24",)),
    (Destination("counter.street.svc.cluster.local", 80, "", 100),),
    "r.street",
)


@pytest.fixture(scope="module")
def street() -> Iterator[Street]:
    with running_street() as made:
        yield made


@pytest.fixture(autouse=True)
def _as_before(street: Street) -> Iterator[None]:
    yield
    street.give_client()
    street.give_server(INBOUND)


class Talk:
    """A connection to the greeter."""

    def __init__(self, address: str, port: int = 80) -> None:
        self.connection = socket.create_connection((address, port), 10)
        self._lines = self.connection.makefile("rwb", 0)
        if self._lines.readline() != b"hello\n":
            self.close()
            raise ConnectionError

    def says(self, what: bytes) -> bytes:
        self._lines.write(what + b"\n")
        return self._lines.readline().strip()

    def close(self) -> None:
        self._lines.close()
        self.connection.close()


@contextmanager
def talking(street: Street, address: str = GREETER, port: int = 80) -> Iterator[Talk]:
    """A connection that must still work at the end."""
    talk = street.at(street.client, lambda: Talk(address, port))
    try:
        assert talk.says(b"before") == b"you said before"
        yield talk
        assert talk.says(b"after") == b"you said after"
    finally:
        talk.close()


def test_connections_survive_what_is_not_about_them(street: Street) -> None:
    more = mesh.service_view("more", "10.96.7.99", [("tcp", 81, Protocol.TCP)], namespace="street")
    elsewhere = HostRoutes((HttpRoute((Destination("any.street.svc.cluster.local", 80, "", 100),)),), "web.street")

    async def websocket() -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(f"http://{WEB}/ws") as upgraded:
            await upgraded.send_str("before")
            assert await upgraded.receive_str() == "you said before"
            await asyncio.to_thread(change)
            await upgraded.send_str("after")
            assert await upgraded.receive_str() == "you said after"

    def change() -> None:
        street.give_client(*street.services({"web": elsewhere}), more)
        street.give_server((*INBOUND, InboundPort(8082, Protocol.HTTP, "more.street.svc.cluster.local", 80)))
        street.give_server(INBOUND[1:])

    with talking(street):
        street.at(street.client, lambda: asyncio.run(websocket()))
    # only the chains of the ports that came and went were touched
    in_place = counted(street.at_server, r"listener_manager\.listener_in_place_updated")
    assert in_place == counted(street.at_server, r"listener_manager\.listener_modified") >= 2


def test_a_route_of_connections_takes_new_ones_only(street: Street) -> None:
    services = tuple(_with_stream(each) if each.service.name == "greeter" else each for each in street.services())
    with talking(street):
        street.give_client(*services)
        assert street.at(street.client, _count_by_way_of_greeter) == b"5 bytes\n"


def _with_stream(view: ServiceView) -> ServiceView:
    """The greeter, whose new connections go to the counter."""
    to_counter = replace(V1, match=StreamMatch())
    return replace(view, ports=(replace(view.ports[0], streams=(to_counter,)),))


def _count_by_way_of_greeter() -> bytes:
    with socket.create_connection((GREETER, 80), 10) as client, client.makefile("rb") as answer:
        client.sendall(b"count")
        client.shutdown(socket.SHUT_WR)
        return answer.read()


def test_endpoints_that_leave_keep_their_connections(street: Street) -> None:
    with talking(street) as talk:
        ends = [_with_endpoints(each, healthy=False) for each in street.services()]
        street.give_client(*ends)
        assert talk.says(b"ending") == b"you said ending"
        gone = [_with_endpoints(each, healthy=None) for each in street.services()]
        street.give_client(*gone)
        assert talk.says(b"gone") == b"you said gone"
        with pytest.raises(ConnectionError):
            street.at(street.client, lambda: Talk(GREETER))


def test_a_websocket_outlives_its_endpoint(street: Street) -> None:
    async def websocket() -> str:
        async with aiohttp.ClientSession() as session, session.ws_connect(f"http://{WEB}/ws") as upgraded:
            for healthy in (False, None):
                left = (_with_endpoints(each, healthy=healthy, of="web") for each in street.services())
                await asyncio.to_thread(street.give_client, *left)
                await upgraded.send_str("after")
                said = await upgraded.receive_str()
            return said

    assert street.at(street.client, lambda: asyncio.run(websocket())) == "you said after"


def _with_endpoints(view: ServiceView, *, healthy: bool | None, of: str = "greeter") -> ServiceView:
    """A service with an unhealthy endpoint, or without any (None); other services as they are."""
    if view.service.name != of:
        return view
    [port] = view.ports
    left = () if healthy is None else tuple(replace(each, healthy=healthy) for each in port.endpoints)
    return replace(view, ports=(replace(port, endpoints=left),))


@pytest.mark.parametrize("address", [WEB, ANY])
def test_requests_in_flight_end_well_when_their_service_goes_away(street: Street, address: str) -> None:
    name = "web" if address == WEB else "any"
    left = tuple(each for each in street.services() if each.service.name != name)

    async def slow() -> str:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{address}/slow?seconds=1.5") as response,
        ):
            assert await response.content.readline() == b"first\n"
            await asyncio.to_thread(street.give_client, *left)
            return (await response.content.readline()).decode()

    assert street.at(street.client, lambda: asyncio.run(slow())) == "second\n"


def test_connections_outlive_their_service(street: Street) -> None:
    left = tuple(each for each in street.services() if each.service.name != "greeter")
    with talking(street):
        street.give_client(*left)


def test_requests_go_on_while_a_port_changes_what_it_speaks(street: Street) -> None:
    def with_protocol(protocol: Protocol) -> tuple[ServiceView, ...]:
        return tuple(
            replace(
                each,
                service=replace(
                    each.service, ports=tuple(replace(port, protocol=protocol) for port in each.service.ports)
                ),
            )
            if each.service.name == "any"
            else each
            for each in street.services()
        )

    script = """
import sys, urllib.request, time
deadline, bad = time.monotonic() + 2.5, 0
while time.monotonic() < deadline:
    try:
        with urllib.request.urlopen(f"http://{sys.argv[1]}/", timeout=5) as answer:
            bad += answer.status != 200
    except OSError as error:
        bad += 1
        print(error)
    time.sleep(0.005)
print("bad:", bad)
"""
    lines: list[str] = []
    load = threading.Thread(target=lambda: lines.extend(street.python(script, ANY)))
    load.start()
    for protocol in (Protocol.HTTP, Protocol.AUTO, Protocol.TCP, Protocol.AUTO):
        street.give_client(*with_protocol(protocol))
    load.join()
    assert lines == ["bad: 0"]
