"""Connections of our own that show whether traffic is captured, in the network namespace of the calling thread."""

import errno
import select
import socket
import struct
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from weft.redirect.probing import Probe

_SO_ORIGINAL_DST: Final = 80
_IPV6_TRANSPARENT: Final = 75
_IP_TRANSPARENT: Final = 19
_NO_WAY: Final = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH})


class ProbeError(RuntimeError):
    """The probe itself could not be made; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one probe; `failure` is "" where it ended where it must.

    `impossible`: there is no way to its destination, so nothing can escape to it either.
    """

    probe: Probe
    failure: str = ""
    impossible: bool = False


def run(probes: Sequence[Probe], seconds: float) -> tuple[Finding, ...]:
    """Connect, and see where it ends. Listens on the proxy's ports meanwhile: the proxy must not run yet."""
    return tuple(_run(probe, seconds) for probe in probes)


def _run(probe: Probe, seconds: float) -> Finding:
    family = socket.AF_INET if probe.destination.version == 4 else socket.AF_INET6
    deadline = time.monotonic() + seconds
    with ExitStack() as stack:
        listener = stack.enter_context(_listener(family, probe))
        client = stack.enter_context(socket.socket(family))
        client.settimeout(0)
        code = client.connect_ex((str(probe.destination), probe.port))
        if code not in {0, errno.EINPROGRESS}:
            failure = f"cannot connect: {errno.errorcode.get(code, code)}"
            return Finding(probe, failure, impossible=code in _NO_WAY)
        return Finding(probe, _fate(probe, client, listener, deadline))


def _fate(probe: Probe, client: socket.socket, listener: socket.socket, deadline: float) -> str:
    _, writable, _ = select.select([], [client], [], max(0.0, deadline - time.monotonic()))
    if not writable:
        return "no answer"
    if code := client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        return f"not captured: {errno.errorcode.get(code, code)}"
    readable, _, _ = select.select([listener], [], [], max(0.0, deadline - time.monotonic()))
    if not readable:
        return f"somebody else than port {probe.lands_on} has taken the connection"
    with listener.accept()[0] as server:
        return _wrong(probe, server)


def _wrong(probe: Probe, server: socket.socket) -> str:
    original = _original_destination(server, family=server.family)
    wanted = (str(probe.destination), probe.port)
    return "" if original == wanted else f"the proxy would take {original} for the destination"


def _listener(family: socket.AddressFamily, probe: Probe) -> socket.socket:
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if probe.transparent:
            level, option = (
                (socket.IPPROTO_IP, _IP_TRANSPARENT)
                if family == socket.AF_INET
                else (socket.IPPROTO_IPV6, _IPV6_TRANSPARENT)
            )
            listener.setsockopt(level, option, 1)
        listener.bind(("", probe.lands_on))
        listener.listen(1)
    except OSError as error:
        listener.close()
        raise ProbeError(
            f"cannot listen on port {probe.lands_on}: {error.strerror}. Validate before the proxy runs"
            + (", with NET_ADMIN for TPROXY." if probe.transparent else ".")
        ) from error
    return listener


def _original_destination(server: socket.socket, *, family: int) -> tuple[str, int]:
    """What the proxy takes for the destination: that before translation, else that of the socket."""
    try:
        if family == socket.AF_INET:
            raw = server.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, 16)
            return socket.inet_ntop(socket.AF_INET, raw[4:8]), struct.unpack("!H", raw[2:4])[0]
        raw = server.getsockopt(socket.IPPROTO_IPV6, _SO_ORIGINAL_DST, 28)
        return socket.inet_ntop(socket.AF_INET6, raw[8:24]), struct.unpack("!H", raw[2:4])[0]
    except OSError:
        address = server.getsockname()
        return str(address[0]), int(address[1])
