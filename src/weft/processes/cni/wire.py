"""The socket between the plugin and the node process: a request with a file descriptor in, an answer out."""

import array
import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

from weft.processes.cni import calls

NAME: Final = "pluginevent.sock"

_BACKLOG: Final = 1024
"""Pods of a node that begin at once wait here for the loop."""
_MOVING_SECONDS: Final = 10.0
"""What a request may take to come, and an answer to go."""
_GRACE_SECONDS: Final = 5.0
_CHUNK: Final = 1 << 16
_DESCRIPTORS: Final = 4
"""One is due; of what comes beyond it nothing is kept."""

log = logging.getLogger("weft.cni.wire")

Answer = Callable[[bytes, str], Awaitable[bytes]]
"""What answers a request. Its second argument is the path of the network namespace, "" where none came along."""


@contextlib.asynccontextmanager
async def serving(folder: Path, answer: Answer, name: str = NAME) -> AsyncIterator[None]:
    """Answer requests on the socket `folder/name` while the context is open. OSError where it cannot be made."""
    path = folder / name
    listener = _listen(path)
    own = path.stat().st_ino
    running: set[asyncio.Task[None]] = set()
    accepting = asyncio.create_task(_accept(listener, answer, running), name="cni-accept")
    try:
        yield
    finally:
        # the next of us may listen there already
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == own:
                path.unlink()
        accepting.cancel()
        await asyncio.wait([accepting])
        listener.close()
        if running:
            _, late = await asyncio.wait(running, timeout=_GRACE_SECONDS)
            for task in late:
                task.cancel()


def _listen(path: Path) -> socket.socket:
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        listener.bind(str(fresh))
        fresh.chmod(0o600)
        listener.listen(_BACKLOG)
        fresh.rename(path)
    except BaseException:
        listener.close()
        fresh.unlink(missing_ok=True)
        raise
    return listener


async def _accept(listener: socket.socket, answer: Answer, running: set[asyncio.Task[None]]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        try:
            connection, _ = await loop.sock_accept(listener)
        except OSError as error:
            # out of descriptors, say: those who wait are taken as soon as there are some
            log.error("a call of the plugin cannot be taken: %s", error)  # noqa: TRY400 -- the error says it all
            await asyncio.sleep(0.1)
            continue
        task = asyncio.create_task(_serve(connection, answer))
        running.add(task)
        task.add_done_callback(running.discard)


async def _serve(connection: socket.socket, answer: Answer) -> None:
    """One connection, whatever comes by it: our trouble with it is nobody else's."""
    with connection, contextlib.ExitStack() as opened:
        try:
            if (uid := _uid(connection)) != 0:
                log.warning("a process of user %d calls us; only root may", uid)
                return
            async with asyncio.timeout(_MOVING_SECONDS):
                request, descriptors = await _request(connection, opened)
            # by our number, so that programs that we run find it, too
            namespace = f"/proc/{os.getpid()}/fd/{descriptors[0]}" if descriptors else ""
            text = await answer(request, namespace)
            async with asyncio.timeout(_MOVING_SECONDS):
                await asyncio.get_running_loop().sock_sendall(connection, text)
        except (OSError, TimeoutError, calls.CallError) as error:
            log.warning("a call of the plugin is not answered: %s", error or type(error).__name__)
        except Exception:
            log.exception("a call of the plugin is not answered")


def _uid(connection: socket.socket) -> int:
    # struct ucred: pid, uid, gid (unix(7))
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(uid)


async def _request(connection: socket.socket, opened: contextlib.ExitStack) -> tuple[bytes, list[int]]:
    """All that comes until the other side has no more to say. Descriptors are closed with `opened`."""
    data, descriptors = bytearray(), list[int]()
    while True:
        await _readable(connection)
        try:
            part, found = _receive(connection)
        except BlockingIOError:
            continue
        for descriptor in found:
            opened.callback(os.close, descriptor)
        descriptors += found
        if not part:
            return bytes(data), descriptors
        data += part
        if len(data) > calls.MOST + _CHUNK:
            raise calls.CallError(calls.IO, f"a request is longer than {calls.MOST} bytes")


def _receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    room = socket.CMSG_SPACE(_DESCRIPTORS * array.array("i").itemsize)
    # descriptors that do not fit into the room the kernel closes
    part, ancillary, _, _ = connection.recvmsg(_CHUNK, room, socket.MSG_CMSG_CLOEXEC)
    found = array.array("i")
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(content[: len(content) - len(content) % found.itemsize])
    return part, list(found)


async def _readable(connection: socket.socket) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(connection, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(connection)
