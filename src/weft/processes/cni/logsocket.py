"""The plugin's log, in ours: it runs where nobody reads what it prints, and sends its lines to a socket.

A line is one datagram of UTF-8 to `<run dir>/log.sock`: a level as Istio names them, a space, the text. Datagrams
do not wait: a plugin never stands still for its log.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

log = logging.getLogger("weft.cni.program")

NAME: Final = "log.sock"
LONGEST: Final = 8 * 1024
"""Bytes of a line; the rest is cut off."""

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}


@contextlib.asynccontextmanager
async def serving(folder: Path, level: int) -> AsyncIterator[None]:
    """Take lines from this level on while the context is open. OSError where the socket cannot be made."""
    log.setLevel(level)
    path = folder / NAME
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        # only root, whose folder it is, may tell us things
        before = os.umask(0o177)
        try:
            sock.bind(str(path))
        finally:
            os.umask(before)
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(_Lines, sock=sock)
    except BaseException:
        sock.close()
        raise
    try:
        yield
    finally:
        transport.close()
        path.unlink(missing_ok=True)


class _Lines(asyncio.DatagramProtocol):
    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002 -- a client has no address
        level, text = read(data)
        log.log(level, "%s", text)


def read(data: bytes) -> tuple[int, str]:
    """Level and text of one datagram. A line without a level of ours is told as it is."""
    text = data[:LONGEST].decode(errors="replace")
    name, _, rest = text.partition(" ")
    level, told = (_LEVELS[name], rest) if name in _LEVELS else (logging.INFO, text)
    # one line of the log is one line: nobody writes others' lines
    return level, " ".join(told.split("\n")).strip().replace("\r", " ")
