"""A proxy that a busy machine keeps waiting answers late, and answers."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from tests.traffic import door
from tests.traffic.door import ADDRESS, Door, standing

from weft.model.services import Proxy

CONNECTIONS = 120
"""More than Envoy takes up at once (libevent begins with 32 events, and doubles that when they do not do)."""

OK = b"HTTP/1.1 200 OK late"

# answers by itself, after it kept its worker busy for as many milliseconds as it is asked to
LUA = """
function envoy_on_request(handle)
  local stop = handle:timestamp() + tonumber(handle:headers():get("x-stall"))
  while handle:timestamp() < stop do end
  handle:respond({[":status"] = "200"}, "late")
end
"""


def _stalling(port: int, application: int) -> tuple[Proxy, list[dict[str, Any]]]:
    proxy, objects = door.sidecar(port, application)
    lua = {"@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"}
    lua["default_source_code"] = {"inline_string": LUA}  # type: ignore[assignment]
    patch = {
        "applyTo": "HTTP_FILTER",
        "match": {"context": "SIDECAR_INBOUND"},
        "patch": {"operation": "INSERT_FIRST", "value": {"name": "stall", "typed_config": lua}},
    }
    return proxy, [*objects, door.configured("EnvoyFilter", configPatches=[patch])]


@pytest.fixture
def stalling() -> Iterator[Door]:
    with standing(_stalling) as made:
        yield made


async def answer(reader: asyncio.StreamReader) -> bytes:
    """The first line and the body; empty where the connection ended before."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        return head.split(b"\r\n")[0] + b" " + await reader.readexactly(4)
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


async def test_the_last_answer_on_a_connection_is_written_however_late_it_is(stalling: Door) -> None:
    connections = [await asyncio.open_connection(ADDRESS, stalling.port) for _ in range(CONNECTIONS)]

    def ask(number: int, connection: str, stall: int = 0) -> None:
        lines = ("GET / HTTP/1.1", "Host: app.example", f"Connection: {connection}", f"x-stall: {stall}", "", "")
        connections[number][1].write("\r\n".join(lines).encode())

    try:
        for number in range(CONNECTIONS):
            ask(number, "keep-alive")
            assert await answer(connections[number][0]) == OK
        # while the first keeps the worker busy the others come in, and the second keeps waiting what came with it
        for number in range(CONNECTIONS):
            ask(number, "close", {0: 1000, 1: 1500}.get(number, 0))
            if number == 0:
                await asyncio.sleep(0.1)
        assert [await answer(reader) for reader, _ in connections].count(OK) == CONNECTIONS
    finally:
        for _, writer in connections:
            writer.close()
