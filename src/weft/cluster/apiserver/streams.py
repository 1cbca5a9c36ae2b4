"""`kubectl exec`, `attach` and `port-forward`: the client's connection joined to the kubelet's.

The kubelet's end is always SPDY/3.1. The client's is one of three: SPDY (kubectl up to 1.29), whose bytes go
through untouched; WebSocket with channels (`v5.channel.k8s.io`), translated; WebSocket with SPDY inside
(`SPDY/3.1+…`, port forwarding since 1.31), unwrapped.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from aiohttp import ClientError, WSMsgType, web

from weft.cluster.apiserver.errors import StatusError
from weft.cluster.apiserver.streams_channels import CHANNEL_PROTOCOLS, Channels
from weft.cluster.apiserver.streams_kubelet import BUFFER, Connection, KubeletTarget, connect

__all__ = ["KubeletTarget", "handle"]

_PROTOCOL_HEADER = "X-Stream-Protocol-Version"
_TUNNEL = "SPDY/3.1+"
_READ = 64 * 1024
_GOODBYE = 2.0
"""Seconds that a client gets to answer the end of its WebSocket."""


async def handle(request: web.Request, target: KubeletTarget) -> web.StreamResponse:
    """Join a client's upgrade request to a kubelet's stream, until either side ends.

    Raises `StatusError` before anything is upgraded: when the request asks for no known upgrade, when the kubelet
    cannot be reached, and when it refuses.
    """
    match request.headers.get("Upgrade", "").lower():
        case "websocket":
            offered = _listed(request, "Sec-WebSocket-Protocol")
            if tunnel := next((one for one in offered if one.startswith(_TUNNEL)), ""):
                return await _tunnel(request, target, tunnel)
            if channels := next((one for one in CHANNEL_PROTOCOLS if one in offered), ""):
                return await _channels(request, target, channels)
            known = ", ".join((*CHANNEL_PROTOCOLS, f"{_TUNNEL}portforward.k8s.io"))
            raise StatusError(400, "BadRequest", f"no subprotocol of {offered} is known; offer one of {known}")
        case "spdy/3.1":
            return await _spdy(request, target)
        case _:
            raise StatusError(400, "BadRequest", "Upgrade request required: to SPDY/3.1 or to websocket")


def _listed(request: web.Request, header: str) -> list[str]:
    return [one.strip() for line in request.headers.getall(header, []) for one in line.split(",") if one.strip()]


class _Upgraded(web.StreamResponse):
    """An answer of 101, after which the connection is bytes both ways."""

    def __init__(self, headers: dict[str, str]) -> None:
        super().__init__(status=101, headers=headers)
        self.force_close()

    async def take_over(self, request: web.Request) -> asyncio.StreamReader:
        """Send the answer; gives what the client sends from now on."""
        await self.prepare(request)
        reader = asyncio.StreamReader(limit=BUFFER)
        if request.transport is None:
            raise ConnectionResetError("the client has gone")
        reader.set_transport(request.transport)
        # aiohttp hands an upgraded connection's bytes to a parser with these two methods, as it does for WebSocket
        request.protocol.set_parser(_Feed(reader))  # type: ignore[arg-type]  # it is typed for WebSocket alone
        return reader


class _Feed:
    """Puts a connection's bytes into a reader, which pauses the transport when nobody reads."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._reader.feed_data(data)
        return False, b""

    def feed_eof(self) -> None:
        self._reader.feed_eof()


async def _spdy(request: web.Request, target: KubeletTarget) -> web.StreamResponse:
    """SPDY on both sides: agree on what the kubelet agreed to, then carry bytes."""
    kubelet = await connect(target, _listed(request, _PROTOCOL_HEADER))
    try:
        agreed = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1"}
        if protocol := kubelet.headers.get(_PROTOCOL_HEADER):
            agreed[_PROTOCOL_HEADER] = protocol
        response = _Upgraded(agreed)
        client = await response.take_over(request)

        async def down() -> None:
            while data := await kubelet.reader.read(_READ):
                await response.write(data)

        async def up() -> None:
            while data := await client.read(_READ):
                kubelet.writer.write(data)
                await kubelet.writer.drain()

        await until_either_ends(down(), up())
    finally:
        kubelet.close()
    return response


async def _tunnel(request: web.Request, target: KubeletTarget, subprotocol: str) -> web.StreamResponse:
    """SPDY inside WebSocket messages: each message is some bytes of the session, in either direction."""
    kubelet = await connect(target, [subprotocol.removeprefix(_TUNNEL)])
    try:
        socket = await _socket(request, [subprotocol])

        async def down() -> None:
            while data := await kubelet.reader.read(_READ):
                await socket.send_bytes(data)

        async def up() -> None:
            async for message in socket:
                if message.type == WSMsgType.BINARY:
                    kubelet.writer.write(message.data)
                    await kubelet.writer.drain()

        await until_either_ends(down(), up())
        await socket.close()
    finally:
        kubelet.close()
    return socket


async def _channels(request: web.Request, target: KubeletTarget, subprotocol: str) -> web.StreamResponse:
    """Channels of WebSocket messages translated to streams of a SPDY session."""
    kubelet = await connect(target, ["v4.channel.k8s.io"])
    try:
        channels = Channels(request.query)
        socket = await _socket(request, [subprotocol])

        async def send() -> None:
            kubelet.writer.write(channels.to_kubelet())
            await kubelet.writer.drain()

        async def up() -> None:
            async for message in socket:
                if message.type in {WSMsgType.BINARY, WSMsgType.TEXT}:  # Python's client sends text as it is
                    data = message.data
                    channels.from_client(data.encode() if isinstance(data, str) else data)
                    await send()

        await send()
        await until_either_ends(_from_kubelet(kubelet, channels, socket), up())
        await socket.close()
    finally:
        kubelet.close()
    return socket


async def _from_kubelet(kubelet: Connection, channels: Channels, socket: web.WebSocketResponse) -> None:
    while not channels.done:
        data = await kubelet.reader.read(_READ)
        messages = channels.from_kubelet(data) if data else channels.lost()
        for message in messages:
            await socket.send_bytes(message)
        kubelet.writer.write(channels.to_kubelet())
    await kubelet.writer.drain()


async def _socket(request: web.Request, protocols: Sequence[str]) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(protocols=protocols, compress=False, timeout=_GOODBYE)
    await socket.prepare(request)
    return socket


async def until_either_ends(*directions: Coroutine[Any, Any, None]) -> None:
    """Run both directions until one is over; a connection that breaks is an end like any other."""
    tasks = [asyncio.ensure_future(one) for one in directions]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception) and not isinstance(end, OSError | EOFError | ClientError):
            raise end
