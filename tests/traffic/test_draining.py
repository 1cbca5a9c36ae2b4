"""What a change is about ends when the time for draining is over; nothing else does."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import aiohttp
import pytest
from tests.traffic.street import ANY, GREETER, INBOUND, WEB, Street, running_street
from tests.traffic.test_changes import Talk

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
