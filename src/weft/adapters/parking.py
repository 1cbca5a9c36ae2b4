"""Holds ports open for a program that is being started again: who connects meanwhile waits and is not refused.

The kernel moves connections that nobody has accepted yet to another listener of the same port when theirs is
closed, if `net.ipv4.tcp_migrate_req` is set in the network namespace (Linux 5.14, ip-sysctl).
"""

import logging
import socket
from collections.abc import Iterable
from pathlib import Path

_MIGRATES = Path("/proc/sys/net/ipv4/tcp_migrate_req")
_WAITING = 4096  # connections that may wait per port

log = logging.getLogger(__name__)


def kernel_migrates() -> bool:
    """Whether this network namespace moves waiting connections; without it, closing would reset them."""
    try:
        return _MIGRATES.read_text().strip() == "1"
    except OSError:
        return False


class Parking:
    """Listens on ports without ever accepting. Close it once their owner listens again."""

    def __init__(self, ports: Iterable[int]) -> None:
        self._sockets: list[socket.socket] = []
        for port in ports:
            try:
                self._sockets.append(_listen(port))
            except OSError as error:
                log.warning("port %d cannot be held while its owner starts again: %s", port, error)

    def close(self) -> None:
        """Hand what waits to whoever else listens on the ports."""
        for each in self._sockets:
            each.close()
        self._sockets.clear()


def _listen(port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind(("0.0.0.0", port))
        made.listen(_WAITING)
    except OSError:
        made.close()
        raise
    return made
