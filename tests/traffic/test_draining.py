"""What a change is about ends when the time for draining is over; nothing else does."""

import asyncio
import contextlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from threading import Event

import aiohttp
import pytest
from tests.support.netns import Pod
from tests.traffic.street import ANY, GREETER, INBOUND, WEB, Street, running_street
from tests.traffic.test_changes import Talk

from weft.model.peer_authentications import PeerMode, PeerModes
from weft.model.services import InboundPort, Protocol

DRAIN = 1.0
"""Seconds. The agent gives 45."""


@pytest.fixture(scope="module")
def street() -> Iterator[Street]:
    with running_street("--drain-time-s", str(int(DRAIN)), "--drain-strategy", "immediate") as made:
        yield made


def test_only_connections_of_what_changed_end_with_the_drain_time(street: Street) -> None:
    async def websockets() -> tuple[str, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"http://{WEB}/ws") as kept,
            session.ws_connect(f"http://{ANY}/ws") as ended,
        ):
            await asyncio.to_thread(change)
            await ended.send_str("draining")
            assert await ended.receive_str() == "you said draining"
            await asyncio.sleep(2 * DRAIN)
            await kept.send_str("after")
            last = await ended.receive(timeout=5)
            return await kept.receive_str(), last.type.name

    def change() -> None:
        # the listener of one service goes, another changes what it speaks; the server gets a port and loses one
        gone = [each for each in street.services() if each.service.name != "any"]
        port = InboundPort(8082, Protocol.HTTP, "more.street.svc.cluster.local", 80)
        street.give_client(*gone)
        street.give_server((*(each for each in INBOUND if each.number != 9001), port))

    talk = street.at(street.client, lambda: Talk(GREETER))
    try:
        kept, ended = street.at(street.client, lambda: asyncio.run(websockets()))
        assert (kept, ended) == ("you said after", "CLOSED")
        assert talk.says(b"after") == b"you said after"
    finally:
        talk.close()


def test_connections_in_plaintext_end_and_those_of_sidecars_last_once_only_mtls_may_come(street: Street) -> None:
    async def websocket(url: str, opened: Event, changed: Event) -> str:
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
            opened.set()
            await asyncio.to_thread(changed.wait, 10)
            await asyncio.sleep(2 * DRAIN)
            with contextlib.suppress(ConnectionError):
                await socket.send_str("after")
            return (await socket.receive(timeout=5)).type.name

    def talk(pod: Pod, url: str) -> tuple[Future[str], Event]:
        opened = Event()
        found = pool.submit(street.at, pod, lambda: asyncio.run(websocket(url, opened, changed)))
        return found, opened

    changed = Event()
    with ThreadPoolExecutor(2) as pool:
        meshed, one = talk(street.client, f"http://{WEB}/ws")
        plain, other = talk(street.outside, f"http://{street.server.address}:8080/ws")
        try:
            assert one.wait(5)
            assert other.wait(5)
            street.give_server(INBOUND, PeerModes(PeerMode.STRICT))
        finally:
            changed.set()
        assert (meshed.result(10), plain.result(10)) == ("TEXT", "CLOSED")
    street.give_server(INBOUND)


def test_connections_of_a_route_that_changes_end_with_the_drain_time(street: Street) -> None:
    street.give_client()
    talk = street.at(street.client, lambda: Talk(GREETER))
    try:
        changed = tuple(
            replace(
                each,
                service=replace(each.service, ports=(replace(each.service.ports[0], protocol=Protocol.AUTO),)),
            )
            if each.service.name == "greeter"
            else each
            for each in street.services()
        )
        street.give_client(*changed)
        assert talk.says(b"draining") == b"you said draining"
        talk.connection.settimeout(3 * DRAIN)
        assert talk.connection.recv(1) == b""
    finally:
        talk.close()
