"""Routes, rules and neighbours written to the kernel itself (rtnetlink(7)), each of them acknowledged.

A pod's start takes some thirty of them; the library that does the rest here needs half a millisecond for each.
"""

import os
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Final, Literal

from weft.underlay.observed import Neighbour, Route, Rule

Verb = Literal["add", "del"]

_KINDS: Final = {
    ("route", "add"): (24, 0xC00),
    ("route", "del"): (25, 0),
    ("neighbour", "add"): (28, 0x500),
    ("neighbour", "del"): (29, 0),
    ("rule", "add"): (32, 0x600),
    ("rule", "del"): (33, 0),
}
"""The message, and its flags: routes are appended to others alike, neighbours replaced, rules there only once."""
_REQUEST: Final = 5
"""NLM_F_REQUEST | NLM_F_ACK"""
_HEADER: Final = struct.Struct("=IHHII")
_ROUTE: Final = struct.Struct("=BBBBBBBBI")
_NEIGHBOUR: Final = struct.Struct("=BxxxiHBB")
_ATTRIBUTE: Final = struct.Struct("=HH")
_ERROR: Final = 2
_SECONDS: Final = 10.0

_DESTINATION, _OUTGOING, _GATEWAY, _PRIORITY, _SOURCE, _TABLE, _VIA = 1, 4, 5, 6, 7, 15, 18
_RULE_TO, _RULE_FROM, _RULE_PRIORITY, _RULE_MARK, _RULE_TABLE, _RULE_MASK, _RULE_PROTOCOL = 1, 2, 6, 10, 15, 16, 21
_NEIGHBOUR_IP, _NEIGHBOUR_MAC, _NEIGHBOUR_PROTOCOL = 1, 2, 12
_SCOPES: Final = {"global": 0, "site": 200, "link": 253, "host": 254, "nowhere": 255}
_ANY_SCOPE: Final = 255
_UNICAST: Final = 1
_ONLINK: Final = 4
_TO_TABLE: Final = 1
_PERMANENT: Final = 128


class Writer:
    """A socket of the namespace that its thread is in when it is made. Close it."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.settimeout(_SECONDS)
        self._number = 0

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    def route(self, verb: Verb, route: Route, index: int) -> None:
        """A unicast route by the link of that number, 0 for none. OSError where the kernel refuses."""
        network = ip_network(route.destination)
        # of whichever scope it is that goes
        scope = _ANY_SCOPE if verb == "del" else _SCOPES.get(route.scope, 0)
        head = _ROUTE.pack(
            _family(route.version),
            network.prefixlen,
            0,
            0,
            min(route.table, 252),
            route.protocol,
            scope,
            _UNICAST if verb == "add" else 0,
            _ONLINK if route.onlink else 0,
        )
        self._write("route", verb, head + b"".join(_of_route(route, network.network_address.packed, index)))

    def rule(self, verb: Verb, rule: Rule) -> None:
        """A rule that leads into a table. OSError where the kernel refuses."""
        to, source = (ip_network(text) if text else None for text in (rule.destination, rule.source))
        lengths = (each.prefixlen if each else 0 for each in (to, source))
        head = _ROUTE.pack(_family(rule.version), *lengths, 0, min(rule.table, 252), 0, 0, _TO_TABLE, 0)
        parts = [
            _number(_RULE_PRIORITY, rule.priority),
            _number(_RULE_TABLE, rule.table),
            _attribute(_RULE_PROTOCOL, bytes((rule.protocol,))),
        ]
        parts += [
            _attribute(kind, each.network_address.packed)
            for kind, each in ((_RULE_TO, to), (_RULE_FROM, source))
            if each
        ]
        parts += [_number(_RULE_MARK, rule.mark), _number(_RULE_MASK, rule.mask)] if rule.mark else []
        self._write("rule", verb, head + b"".join(parts))

    def neighbour(self, verb: Verb, entry: Neighbour, index: int) -> None:
        """A neighbour that stays, on the link of that number. OSError where the kernel refuses."""
        address = ip_address(entry.address)
        head = _NEIGHBOUR.pack(_family(address.version), index, _PERMANENT, 0, 0)
        parts = (
            _attribute(_NEIGHBOUR_IP, address.packed),
            _attribute(_NEIGHBOUR_MAC, bytes.fromhex(entry.mac.replace(":", ""))),
            _attribute(_NEIGHBOUR_PROTOCOL, bytes((entry.protocol,))),
        )
        self._write("neighbour", verb, head + b"".join(parts))

    def _write(self, what: str, verb: Verb, body: bytes) -> None:
        kind, flags = _KINDS[what, verb]
        self._number += 1
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | flags, self._number, 0) + body)
        while True:
            answer = self._socket.recv(1 << 16)
            _, answered, _, number, _ = _HEADER.unpack_from(answer)
            if (answered, number) == (_ERROR, self._number):
                (code,) = struct.unpack_from("=i", answer, _HEADER.size)
                if code:
                    raise OSError(-code, os.strerror(-code))
                return


def _of_route(route: Route, destination: bytes, index: int) -> Iterator[bytes]:
    yield _number(_TABLE, route.table)
    if not route.default:
        yield _attribute(_DESTINATION, destination)
    if index:
        yield _number(_OUTGOING, index)
    if route.via:
        gateway = ip_address(route.via)
        if gateway.version == route.version:
            yield _attribute(_GATEWAY, gateway.packed)
        else:
            yield _attribute(_VIA, struct.pack("=H", _family(gateway.version)) + gateway.packed)
    if route.source:
        yield _attribute(_SOURCE, ip_address(route.source).packed)
    if route.metric:
        yield _number(_PRIORITY, route.metric)


def _family(version: int) -> int:
    return int(socket.AF_INET6 if version == 6 else socket.AF_INET)


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack("=I", value))


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)
