"""Real packets through real rules: a pod beside a peer that stands for the rest of the world.

Many packets are under way at once. Nobody listens where packets want to go, so that a refused connection is one
that was left alone; who answers tells which port of the proxy has got it.
"""

import contextlib
import ctypes
import errno
import os
import selectors
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

from weft.adapters import netns
from weft.redirect.capture import Address
from weft.redirect.decide import Packet

POD: Final[dict[str, dict[int, Address]]] = {
    "eth0": {4: IPv4Address("10.9.0.2"), 6: IPv6Address("fd09::2")},
    "net1": {4: IPv4Address("10.8.0.2"), 6: IPv6Address("fd08::2")},
}
PROXY: Final = 1337
AWAY_IPV6: Final = ("fd01::3", "fd00::a", "2001:db8::7", "fd20::5", "2001:db8:1::5")
"""The addresses of the rest of the world; of IPv4 it has all."""
_TCP_PORTS: Final = (15001, 15006, 15053)
_UDP_PORTS: Final = (53, 123)
_SETTLING_SECONDS: Final = 15.0
_FIRST_PORT, _LAST_PORT = 20000, 60000
_IP_TRANSPARENT, _IPV6_TRANSPARENT, _SO_MARK = 19, 75, 36

_SETUP = """
-n {peer} link add eth0 type veth peer name eth0 netns {pod}
-n {peer} link add net1 type veth peer name net1 netns {pod}
"""
_PEER = """
link set lo up
addr add 10.9.0.1/24 dev eth0
addr add 10.8.0.1/24 dev net1
addr add fd09::1/64 dev eth0 nodad
addr add fd08::1/64 dev net1 nodad
link set eth0 up
link set net1 up
route add local default dev lo
"""
# IPv6 answers for addresses that an interface has, not for those that are routed to it
_PEER += "".join(f"addr add {address} dev lo nodad\n" for address in AWAY_IPV6)
_POD = """
link set lo up
addr add 10.9.0.2/24 dev eth0
addr add 10.8.0.2/24 dev net1
addr add fd09::2/64 dev eth0 nodad
addr add fd08::2/64 dev net1 nodad
link set eth0 up
link set net1 up
route add default via 10.9.0.1
route add default via fd09::1
route add 172.20.0.0/16 via 10.8.0.1
route add fd20::/16 via fd08::1
"""


@dataclass
class World:
    """A pod and its peer, by their namespaces' names or paths, with everything that listens."""

    pod: str
    peer: str
    listeners: list[tuple[socket.socket, str]] = field(default_factory=list)
    port: int = _FIRST_PORT

    def fates(self, packets: Sequence[tuple[bool, Packet]]) -> list[str]:
        """What becomes of packets, each inbound (True) or outbound: "untouched", "captured PORT" or "lost"."""
        clients: dict[socket.socket, int] = {}
        fates = ["lost"] * len(packets)
        try:
            for inward, namespace in ((True, self.peer), (False, self.pod)):
                chosen = [(index, packet) for index, (way, packet) in enumerate(packets) if way is inward]
                sent = netns.inside(namespace, partial(self._send, chosen, fates))
                clients |= {client: index for index, client in sent}
            self._settle(clients, fates)
        finally:
            for client in clients:
                client.close()
        return fates

    def _send(self, chosen: Sequence[tuple[int, Packet]], fates: list[str]) -> list[tuple[int, socket.socket]]:
        sent = []
        for index, packet in chosen:
            client = _socket_of(packet)
            # each has a source port of its own: the kernel remembers connections for a while
            self.port = self.port + 1 if self.port < _LAST_PORT else _FIRST_PORT
            bound = packet.uid is None or packet.source.is_loopback or packet.source == IPv6Address("::6")
            client.bind((str(packet.source) if bound else "", self.port))
            code = client.connect_ex((str(packet.destination), packet.port))
            if code == errno.ECONNREFUSED:
                fates[index] = "untouched"
            elif code not in {0, errno.EINPROGRESS}:
                fates[index] = errno.errorcode[code]
            if not packet.tcp:
                client.send(str(index).encode())
            sent.append((index, client))
        return sent

    def _settle(self, clients: dict[socket.socket, int], fates: list[str]) -> None:
        with selectors.DefaultSelector() as selector:
            for listener, name in self.listeners:
                selector.register(listener, selectors.EVENT_READ, name)
            for client in clients:
                if client.type == socket.SOCK_STREAM:
                    selector.register(client, selectors.EVENT_READ)
            deadline = time.monotonic() + _SETTLING_SECONDS
            while "lost" in fates and time.monotonic() < deadline:
                for key, _ in selector.select(0.2):
                    ready = key.fileobj
                    assert isinstance(ready, socket.socket)
                    if key.data is not None:
                        _answer(ready, str(key.data), fates)
                        continue
                    selector.unregister(ready)
                    try:
                        fates[clients[ready]] = ready.recv(100).decode() or "closed"
                    except OSError as error:
                        refused = error.errno == errno.ECONNREFUSED
                        fates[clients[ready]] = "untouched" if refused else errno.errorcode[error.errno or 0]


def _answer(listener: socket.socket, name: str, fates: list[str]) -> None:
    """Take what a listener has: it tells its own name, to whoever connected or for the datagram."""
    if listener.type == socket.SOCK_STREAM:
        with listener.accept()[0] as server:
            server.send(name.encode())
        return
    index = int(listener.recv(100))
    if index < len(fates) and fates[index] == "lost":
        fates[index] = name


def _socket_of(packet: Packet) -> socket.socket:
    family = socket.AF_INET if packet.destination.version == 4 else socket.AF_INET6
    with _acting_as(packet.uid or 0, packet.gid or 0):
        client = socket.socket(family, socket.SOCK_STREAM if packet.tcp else socket.SOCK_DGRAM)
    client.settimeout(0)
    if packet.mark:
        client.setsockopt(socket.SOL_SOCKET, _SO_MARK, packet.mark)
    return client


@contextlib.contextmanager
def _acting_as(uid: int, gid: int) -> Iterator[None]:
    """Files that this thread makes, sockets too, belong to somebody else (setfsuid(2) is about one thread)."""
    libc = ctypes.CDLL(None)
    libc.setfsgid(gid)
    libc.setfsuid(uid)
    try:
        yield
    finally:
        libc.setfsuid(os.geteuid())
        libc.setfsgid(os.getegid())


def _listening(family: int, kind: int, port: int) -> socket.socket:
    listener = socket.socket(family, kind)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
    else:
        listener.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)
    listener.bind(("", port))
    listener.settimeout(0)
    if kind == socket.SOCK_STREAM:
        listener.listen(100)
    return listener


def _pod_listeners() -> list[tuple[socket.socket, str]]:
    kinds = [(socket.SOCK_DGRAM, 15053), *((socket.SOCK_STREAM, port) for port in _TCP_PORTS)]
    families = (socket.AF_INET, socket.AF_INET6)
    found = [(_listening(family, kind, port), f"captured {port}") for family in families for kind, port in kinds]
    return found + _udp_listeners()


def _udp_listeners() -> list[tuple[socket.socket, str]]:
    families = (socket.AF_INET, socket.AF_INET6)
    return [
        (_listening(family, socket.SOCK_DGRAM, port), "untouched") for family in families for port in _UDP_PORTS
    ]


def _trust_addresses() -> None:
    # to ask whether an address is taken takes seconds, in which it does not work
    for name in ("all", "default"):
        Path(f"/proc/sys/net/ipv6/conf/{name}/accept_dad").write_text("0", encoding="ascii")


@contextlib.contextmanager
def between(pod: str, peer: str) -> Iterator[World]:
    """A pod and its peer that are there already, as long as somebody listens in both."""
    made = World(pod, peer)
    try:
        made.listeners += netns.inside(pod, _pod_listeners)
        made.listeners += netns.inside(peer, _udp_listeners)
        yield made
    finally:
        for listener, _ in made.listeners:
            listener.close()


@contextlib.contextmanager
def world(name: str) -> Iterator[World]:
    """A pod and its peer in namespaces of their own, gone at the end."""
    made = World(f"{name}-pod", f"{name}-peer")
    try:
        for namespace in (made.pod, made.peer):
            subprocess.run(["ip", "netns", "add", namespace], check=True, timeout=10)
            netns.inside(namespace, _trust_addresses)
        for line in _SETUP.strip().splitlines():
            command = line.format(pod=made.pod, peer=made.peer).split()
            subprocess.run(["ip", *command], check=True, timeout=10)
        for namespace, text in ((made.peer, _PEER), (made.pod, _POD)):
            subprocess.run(["ip", "-n", namespace, "-batch", "-"], input=text, text=True, check=True, timeout=10)
        with between(made.pod, made.peer) as listening:
            yield listening
    finally:
        for namespace in (made.pod, made.peer):
            subprocess.run(["ip", "netns", "del", namespace], check=False, timeout=10)
