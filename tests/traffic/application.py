"""An application that speaks what applications speak. Prints one line when all its ports listen.

- 8080, HTTP/1.1: says what it saw of a request; `/digest` of a body; `/ws`, a WebSocket that answers `you said …`;
  `/refuses`, which wants no body; `/large`, a body and headers of many kilobytes; `/slow`, a body in two parts;
- 8081: one HTTP/1.1 answer with a trailer;
- 9000: greets before it is spoken to, then echoes lines;
- 9001: reads to the end, then says how much that was;
- 9090: gRPC, unary, streamed, and failing.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import grpc
from aiohttp import WSMsgType, web

LARGE = 200_000
Context = Any


async def seen(request: web.Request) -> web.Response:
    return web.json_response(
        {
            "version": f"{request.version.major}.{request.version.minor}",
            "path": request.path_qs,
            "headers": {name.lower(): value for name, value in request.headers.items()},
        }
    )


async def digest(request: web.Request) -> web.Response:
    found, size = hashlib.sha256(), 0
    async for part in request.content.iter_chunked(65536):
        found.update(part)
        size += len(part)
    return web.json_response({"size": size, "sha256": found.hexdigest(), "expect": request.headers.get("expect")})


async def refuses(_request: web.Request) -> web.Response:
    return web.Response(status=413, text="no")


async def no_continue(request: web.Request) -> None:
    raise web.HTTPExpectationFailed(text=f"not {request.path}")


async def large(_request: web.Request) -> web.Response:
    return web.Response(body=b"x" * LARGE, headers={f"x-large-{number}": "y" * 7000 for number in range(6)})


async def slow(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"first\n")
    await asyncio.sleep(float(request.query["seconds"]))
    await response.write(b"second\n")
    return response


async def websocket(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(f"you said {message.data}")
    return socket


async def trailed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n")
    writer.write(b"2\r\nhi\r\n0\r\nx-sum: 42\r\n\r\n")
    await writer.drain()
    writer.close()


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"hello\n")
    while line := await reader.readline():
        writer.write(b"you said " + line)
        await writer.drain()
    writer.close()


async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    whole = await reader.read(-1)
    writer.write(f"{len(whole)} bytes\n".encode())
    await writer.drain()
    writer.close()


class Rpc:
    """`/test.Rpc/…`: Say, Count (streams as many as asked for), Talk (both ways), Fail and FailTwice."""

    def __init__(self) -> None:
        self.tries: Counter[bytes] = Counter()

    async def say(self, request: bytes, _context: Context) -> bytes:
        return b"heard " + request

    async def count(self, request: bytes, context: Context) -> None:
        for number in range(int(request)):
            await context.write(str(number).encode())

    async def talk(self, requests: AsyncIterator[bytes], context: Context) -> None:
        async for request in requests:
            await context.write(b"heard " + request)

    async def fail(self, request: bytes, context: Context) -> None:
        await context.abort(grpc.StatusCode[request.decode()], "as you asked")

    async def fail_twice(self, request: bytes, context: Context) -> bytes:
        self.tries[request] += 1
        if self.tries[request] < 3:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        return f"try {self.tries[request]}".encode()

    def handlers(self) -> Any:
        return grpc.method_handlers_generic_handler(
            "test.Rpc",
            {
                "Say": grpc.unary_unary_rpc_method_handler(self.say),
                "Count": grpc.unary_stream_rpc_method_handler(self.count),
                "Talk": grpc.stream_stream_rpc_method_handler(self.talk),
                "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
                "FailTwice": grpc.unary_unary_rpc_method_handler(self.fail_twice),
            },
        )


async def main() -> None:
    app = web.Application(client_max_size=1 << 30)
    app.router.add_post("/digest", digest)
    app.router.add_post("/refuses", refuses, expect_handler=no_continue)
    app.router.add_get("/large", large)
    app.router.add_get("/slow", slow)
    app.router.add_get("/ws", websocket)
    app.router.add_route("*", "/{rest:.*}", seen)
    runner = web.AppRunner(app, max_line_size=100_000, max_field_size=100_000)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", 8080).start()
    for port, handler in ((8081, trailed), (9000, greet), (9001, count)):
        await asyncio.start_server(handler, "0.0.0.0", port)
    rpc = grpc.aio.server()
    rpc.add_generic_rpc_handlers((Rpc().handlers(),))
    rpc.add_insecure_port("0.0.0.0:9090")
    await rpc.start()
    print("listening", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
