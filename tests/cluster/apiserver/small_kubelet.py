"""A small kubelet for streams: SPDY from the session under test, and real commands of this machine."""

import asyncio
import json
import os
import pty
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from weft.cluster.apiserver import spdy

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Kubelet:
    """One SPDY connection's server side: what a kubelet does with its streams, on this machine's own commands."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    session: spdy.Session = field(default_factory=lambda: spdy.Session(client=False))
    streams: dict[str, int] = field(default_factory=dict)
    inbound: dict[int, asyncio.Queue[bytes]] = field(default_factory=dict)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def flush(self) -> None:
        self.writer.write(self.session.data_to_send())

    def write(self, stream: int, data: bytes) -> None:
        self.session.send(stream, data)
        self.flush()

    def finish(self, stream: int) -> None:
        self.session.finish(stream)
        self.flush()

    def start(self, work: Coroutine[None, None, None]) -> None:
        self.tasks.add(asyncio.ensure_future(work))

    async def serve(self, opened: Callable[["Kubelet", spdy.Opened], None]) -> None:
        try:
            while data := await self.reader.read(65536):
                for event in self.session.receive(data):
                    match event:
                        case spdy.Opened(stream):
                            self.inbound[stream] = asyncio.Queue()
                            self.session.reply(stream)
                            opened(self, event)
                        case spdy.Data(stream, payload):
                            self.inbound[stream].put_nowait(payload)
                        case spdy.Finished(stream) | spdy.Reset(stream):
                            self.inbound[stream].put_nowait(b"")
                        case _:
                            pass
                self.flush()
        except (ConnectionError, spdy.SpdyError):
            pass
        finally:
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)
            self.writer.close()


def result(code: int) -> bytes:
    if code == 0:
        return b'{"metadata":{},"status":"Success"}'
    causes = [{"reason": "ExitCode", "message": str(code)}]
    message = f"command terminated with non-zero exit code: exit status {code}"
    return json.dumps(
        {
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": "NonZeroExitCode",
            "details": {"causes": causes},
        }
    ).encode()


async def run_piped(kubelet: Kubelet, command: list[str]) -> None:
    names, pipe = kubelet.streams, asyncio.subprocess.PIPE
    stdin = pipe if "stdin" in names else asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, stdin=stdin, stdout=pipe, stderr=pipe)
    assert process.stdout is not None
    assert process.stderr is not None

    async def feed() -> None:
        assert process.stdin is not None
        while data := await kubelet.inbound[names["stdin"]].get():
            process.stdin.write(data)
            await process.stdin.drain()
        process.stdin.close()

    async def copy(source: asyncio.StreamReader, name: str) -> None:
        while data := await source.read(65536):
            if name in names:
                kubelet.write(names[name], data)

    if "stdin" in names:
        kubelet.start(feed())
    try:
        await asyncio.gather(copy(process.stdout, "stdout"), copy(process.stderr, "stderr"))
        finish(kubelet, await process.wait())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def run_in_terminal(kubelet: Kubelet, command: list[str]) -> None:
    master, slave = pty.openpty()
    os.set_blocking(master, False)
    process = await asyncio.create_subprocess_exec(
        *command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def readable() -> None:
        try:
            kubelet.write(kubelet.streams["stdout"], os.read(master, 65536))
        except OSError:  # the terminal's last process has gone
            loop.remove_reader(master)
            ended.set()

    async def feed() -> None:
        while data := await kubelet.inbound[kubelet.streams["stdin"]].get():
            os.write(master, data)

    loop.add_reader(master, readable)
    if "stdin" in kubelet.streams:
        kubelet.start(feed())
    code = await process.wait()
    await asyncio.wait_for(ended.wait(), 5)
    os.close(master)
    finish(kubelet, code)


def finish(kubelet: Kubelet, code: int) -> None:
    for name in ("stdout", "stderr"):
        if name in kubelet.streams:
            kubelet.finish(kubelet.streams[name])
    kubelet.write(kubelet.streams["error"], result(code))
    kubelet.finish(kubelet.streams["error"])
    kubelet.writer.close()


def exec_opener(query: dict[str, list[str]]) -> Callable[[Kubelet, spdy.Opened], None]:
    def on(name: str) -> bool:
        return query.get(name) == ["true"]

    tty = on("tty")
    wanted = {name for name in ("stdin", "stdout", "stderr") if on(name)} | {"error"}
    wanted = (wanted - {"stderr"}) | {"resize"} if tty else wanted

    def opened(kubelet: Kubelet, event: spdy.Opened) -> None:
        kubelet.streams[event.headers["streamtype"]] = event.stream
        if set(kubelet.streams) == wanted:
            kubelet.start((run_in_terminal if tty else run_piped)(kubelet, query["command"]))

    return opened


def forward(kubelet: Kubelet, event: spdy.Opened) -> None:
    async def join() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(event.headers["port"]))

        async def up() -> None:
            while data := await kubelet.inbound[event.stream].get():
                writer.write(data)
            writer.write_eof()

        task = asyncio.ensure_future(up())
        try:
            while data := await reader.read(65536):
                kubelet.write(event.stream, data)
            kubelet.finish(event.stream)
        finally:
            task.cancel()
            writer.close()

    if event.headers["streamtype"] == "data":
        kubelet.start(join())
    else:
        kubelet.finish(event.stream)


async def write_log(writer: asyncio.StreamWriter, *, follow: bool) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nfirst\n")
    while follow and not writer.is_closing():
        await asyncio.sleep(0.05)
        writer.write(b"more\n")
    FOLLOWED.set()
    writer.close()


FOLLOWED = asyncio.Event()
"""Set when a log's reader has gone."""


async def kubelet_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    url = urlsplit(head.split(" ")[1])
    if "command=missing" in url.query:
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 13\r\n\r\nno such thing")
        writer.close()
        return
    if url.path == "/log":
        await write_log(writer, follow="follow=true" in url.query)
        return
    protocol = next(line.split(": ")[1] for line in head.splitlines() if line.lower().startswith("x-stream"))
    protocol = "v4.channel.k8s.io" if "channel" in protocol else protocol
    answer = f"Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: {protocol}\r\n\r\n"
    writer.write(f"HTTP/1.1 101 Switching Protocols\r\n{answer}".encode())
    opener = forward if url.path.startswith("/portForward") else exec_opener(parse_qs(url.query))
    await Kubelet(reader, writer).serve(opener)
