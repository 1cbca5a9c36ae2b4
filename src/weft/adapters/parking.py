"""Holds the ports of a program that may die: who connects until it is back waits and is not refused.

We listen beside the program, in the same `SO_REUSEPORT` group, and a filter has the kernel choose among the
program's sockets as long as there are any. The kernel moves connections that nobody has accepted yet to another
listener of the group when theirs is closed, if `net.ipv4.tcp_migrate_req` is set in the network namespace
(Linux 5.14, ip-sysctl): to us when the program dies, to the program when we close.
"""

import array
import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Iterable
from pathlib import Path

_MIGRATES = Path("/proc/sys/net/ipv4/tcp_migrate_req")
_SOCKETS = Path("/proc/self/net/tcp")
_LISTENING = "0A"
_WAITING = 4096  # connections that may wait per port

_IP_TRANSPARENT = 19  # linux/in.h
_SO_ATTACH_REUSEPORT_CBPF = 51  # asm-generic/socket.h
_LOAD_RANDOM = (0x20, 0xFFFFF038)  # BPF_LD|BPF_W|BPF_ABS, SKF_AD_OFF + SKF_AD_RANDOM (linux/filter.h)
_MODULO = 0x94  # BPF_ALU|BPF_MOD|BPF_K
_RETURN = 0x16  # BPF_RET|BPF_A

log = logging.getLogger(__name__)


def kernel_migrates() -> bool:
    """Whether this network namespace moves waiting connections; without it, closing would reset them."""
    try:
        return _MIGRATES.read_text().strip() == "1"
    except OSError:
        return False


class Parking:
    """Listens on ports without ever accepting: after their owner where it listens, and for it where it does not.

    Close it to hand what waits to the owner.
    """

    def __init__(self, ports: Iterable[int]) -> None:
        self._sockets: dict[int, socket.socket] = {}
        for port in ports:
            try:
                self._sockets[port] = _listen(port)
            except OSError as error:
                log.warning("port %d cannot be held while its owner starts again: %s", port, error)

    @property
    def is_beside_owners(self) -> bool:
        """Whether others listen on every port too."""
        return all(_listeners(port) > 1 for port in self._sockets)

    async def taken(self) -> None:
        """Return once a connection waits here."""
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        sockets = tuple(self._sockets.values())
        for each in sockets:
            loop.add_reader(each, ready.set)
        try:
            await ready.wait()
        finally:
            for each in sockets:
                loop.remove_reader(each)

    def close(self) -> None:
        """Hand what waits to whoever else listens on the ports."""
        for each in self._sockets.values():
            each.close()
        self._sockets.clear()


def _listen(port: int) -> socket.socket:
    owners = _listeners(port)
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # TPROXY hands connections to transparent sockets only; who may not make any has no such connections
        with contextlib.suppress(PermissionError):
            made.setsockopt(socket.SOL_IP, _IP_TRANSPARENT, 1)
        made.bind(("0.0.0.0", port))
        made.listen(_WAITING)
        if owners:
            _prefer_the_first(made, owners)
    except OSError:
        made.close()
        raise
    return made


def _prefer_the_first(made: socket.socket, count: int) -> None:
    """Have the kernel choose one of the first `count` sockets of the group; of all, once there are fewer.

    Sockets are numbered as they began to listen, so ours is the last (socket(7), SO_ATTACH_REUSEPORT_CBPF).
    """
    steps = ((*_LOAD_RANDOM,), (_MODULO, count), (_RETURN, 0))
    code = array.array("B", b"".join(struct.pack("=HBBI", step, 0, 0, value) for step, value in steps))
    address, _ = code.buffer_info()
    made.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, struct.pack("@HP", len(steps), address))


def _listeners(port: int) -> int:
    """How many sockets of the network namespace listen on a port."""
    lines = (line.split(maxsplit=4) for line in _SOCKETS.read_text().splitlines()[1:])
    wanted = f":{port:04X}"
    return sum(state == _LISTENING and local.endswith(wanted) for _, local, _, state, *_ in lines)
