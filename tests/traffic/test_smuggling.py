"""Requests that are two, or none: what attackers write on a connection, and what comes of it in the real Envoy.

`/admin` is denied to everybody, so whoever gets a request for it past the proxy has won. The application takes
only what the standard allows, and tells what was not.
"""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from tests.support.envoy import wait_until
from tests.traffic.door import ADDRESS, DOORS, Door, standing

SMUGGLED = b"GET /admin HTTP/1.1\r\nHost: web\r\n\r\n"
REFUSED, TOO_LARGE = {400}, {431}
CLEAN = {200}
"""Taken, and passed on as one proper request."""
CLOSED, WAITS = -1, 0
"""No answer: the connection is ended, or the proxy wants more."""


def head(*lines: bytes, start: bytes = b"POST /in HTTP/1.1") -> bytes:
    return b"\r\n".join((start, b"Host: web", *lines, b"", b""))


CHUNKED = b"Transfer-Encoding: chunked"
END = b"0\r\n\r\n"
MANY = [b"x-%d: y" % number for number in range(101)]

# what is written, and what may be answered first; after that a request for /admin may be refused
ATTACKS: dict[str, tuple[bytes, set[int]]] = {
    # a length and a coding
    "CL.TE": (head(b"Content-Length: 6", CHUNKED) + END + SMUGGLED, REFUSED),
    "TE.CL": (head(CHUNKED, b"Content-Length: 4") + b"5c\r\n" + SMUGGLED + END, REFUSED),
    "CL.TE in capitals": (head(b"CONTENT-LENGTH: 6", b"TRANSFER-ENCODING: CHUNKED") + END + SMUGGLED, REFUSED),
    "CL.0 with a coding of another name": (
        head(b"Content-Length: 0", b"Transfer-Encoding: x") + SMUGGLED,
        {400, 501},
    ),
    # two lengths, and lengths that are none
    "two lengths": (head(b"Content-Length: 0", b"Content-Length: 40") + SMUGGLED, REFUSED),
    "two lengths in one": (head(b"Content-Length: 0, 40") + SMUGGLED, REFUSED),
    "a length with a sign": (head(b"Content-Length: +0") + SMUGGLED, REFUSED),
    "a length below zero": (head(b"Content-Length: -1") + SMUGGLED, REFUSED),
    "a hexadecimal length": (head(b"Content-Length: 0x0") + SMUGGLED, REFUSED),
    "a length with words": (head(b"Content-Length: 0 zero") + SMUGGLED, REFUSED),
    "an endless length": (head(b"Content-Length: " + b"9" * 40) + SMUGGLED, REFUSED),
    "a length with a space before its colon": (head(b"Content-Length : 33") + SMUGGLED, REFUSED),
    "a length after a tab": (head(b"\tContent-Length: 33") + SMUGGLED, REFUSED),
    "a length in a folded line": (head(b"X: y", b" Content-Length: 33") + SMUGGLED, REFUSED | CLEAN),
    # codings that some take for chunked
    "a coding unknown": (head(b"Transfer-Encoding: xchunked") + END + SMUGGLED, {400, 501}),
    "a coding after another": (head(b"Transfer-Encoding: identity, chunked") + END + SMUGGLED, {400, 501}),
    "a coding before another": (head(b"Transfer-Encoding: chunked, identity") + END + SMUGGLED, {400, 501}),
    "two codings": (head(CHUNKED, b"Transfer-Encoding: identity") + END + SMUGGLED, {400, 501}),
    "a coding with a space before its colon": (head(b"Transfer-Encoding : chunked") + END + SMUGGLED, REFUSED),
    "a coding after a vertical tab": (head(b"Transfer-Encoding: \x0bchunked") + END + SMUGGLED, {400, 501}),
    "a coding in quotes": (head(b'Transfer-Encoding: "chunked"') + END + SMUGGLED, {400, 501}),
    "a coding in a folded line": (
        head(b"Transfer-Encoding:", b" chunked") + END + SMUGGLED,
        REFUSED | CLEAN | {501},
    ),
    # chunks
    "a chunk's extension": (head(CHUNKED) + b"1;a=b\r\nx\r\n" + END, CLEAN | REFUSED),
    "a chunk's extension with a bare line feed": (head(CHUNKED) + b"1;a=b\nx\r\n" + END + SMUGGLED, REFUSED),
    "a chunk's extension with a request": (
        head(CHUNKED) + b"0;\nGET /admin HTTP/1.1\r\nHost: web\r\n\r\n",
        REFUSED,
    ),
    "a chunk's size ended by a line feed": (head(CHUNKED) + b"1\nx\r\n" + END + SMUGGLED, REFUSED),
    "a chunk's size with a prefix": (head(CHUNKED) + b"0x1\r\nx\r\n" + END, REFUSED),
    "a chunk's size below zero": (head(CHUNKED) + b"-1\r\nx\r\n" + END, REFUSED),
    "a chunk's size without end": (head(CHUNKED) + b"f" * 20 + b"\r\nx\r\n" + END, REFUSED),
    "a chunk's size with a space": (head(CHUNKED) + b"1 1\r\nx\r\n" + END, REFUSED | CLEAN),
    "a chunk longer than its size": (head(CHUNKED) + b"1\r\nxyz\r\n" + END, REFUSED | CLEAN),
    "a trailer with a length": (
        head(CHUNKED) + b"0\r\nContent-Length: 33\r\n\r\n" + SMUGGLED,
        CLEAN | REFUSED,
    ),
    # line ends and other bytes
    "bare line feeds": (b"GET /in HTTP/1.1\nHost: web\nX: y\n\n" + SMUGGLED, REFUSED | CLEAN),
    "a bare line feed in a header": (head(b"X: y\nContent-Length: 33") + SMUGGLED, REFUSED | CLEAN),
    "a bare carriage return in a header": (head(b"X: y\rContent-Length: 33") + SMUGGLED, REFUSED | CLEAN),
    "a zero in a value": (head(b"X: a\x00b"), REFUSED),
    "a zero in a name": (head(b"X\x00: a"), REFUSED),
    "a zero in the path": (head(start=b"GET /in\x00/admin HTTP/1.1"), REFUSED),
    "a zero in the host": (b"GET /in HTTP/1.1\r\nHost: web\x00.evil\r\n\r\n", REFUSED),
    "a control character in a value": (head(b"X: a\x01b"), REFUSED),
    "a space in the path": (head(start=b"GET /in /admin HTTP/1.1"), REFUSED),
    "a header without a name": (head(b": y"), REFUSED),
    "a header without a colon": (head(b"X"), REFUSED),
    # start lines and hosts
    "HTTP/0.9": (b"GET /admin\r\n\r\n", {400, CLOSED, WAITS}),
    "HTTP/3.0 in letters": (b"GET /in HTTP/3.0\r\nHost: web\r\n\r\n", {400, 505, CLOSED}),
    "no host": (b"GET /in HTTP/1.1\r\n\r\n", REFUSED),
    "two hosts": (head(b"Host: evil"), REFUSED | CLEAN),
    "a host with a path": (b"GET /in HTTP/1.1\r\nHost: web/admin\r\n\r\n", REFUSED),
    "a whole address with the denied path": (head(start=b"GET http://web/admin HTTP/1.1"), {403}),
    "a path by another way": (head(start=b"GET /in/../%61dmin HTTP/1.1"), {403}),
    "a tunnel": (b"CONNECT web:80 HTTP/1.1\r\nHost: web:80\r\n\r\n" + SMUGGLED, {400, 403, 404}),
    "an upgrade to HTTP/2": (
        head(
            b"Connection: Upgrade, HTTP2-Settings",
            b"Upgrade: h2c",
            b"HTTP2-Settings: AAMAAABk",
            start=b"GET /in HTTP/1.1",
        ),
        {403, 400} | CLEAN,
    ),
    "an upgrade whose server answers 200": (
        head(b"Connection: Upgrade", b"Upgrade: websocket", start=b"GET /in HTTP/1.1") + SMUGGLED,
        {200, 400, 403, CLOSED},
    ),
    "headers that the connection is to drop": (
        head(b"Connection: x-forwarded-for, host", start=b"GET /in HTTP/1.1"),
        CLEAN | REFUSED,
    ),
    # more than anybody needs
    "a header of 61 KiB": (head(b"x-large: " + b"y" * 61 * 1024, start=b"GET /in HTTP/1.1"), TOO_LARGE),
    "headers of 61 KiB together": (
        head(*(b"x-%d: " % number + b"y" * 1000 for number in range(61)), start=b"GET /in HTTP/1.1"),
        TOO_LARGE,
    ),
    "a path of 61 KiB": (head(start=b"GET /in?" + b"y" * 61 * 1024 + b" HTTP/1.1"), TOO_LARGE | {414}),
    "101 headers": (head(*MANY, start=b"GET /in HTTP/1.1"), TOO_LARGE),
    "trailers of 61 KiB": (head(CHUNKED) + b"0\r\nx-large: " + b"y" * 61 * 1024 + b"\r\n\r\n", TOO_LARGE | {400}),
}


@dataclass(frozen=True)
class Outcome:
    """What was answered on the attacker's connection."""

    statuses: list[int]


def attacked(door: Door, written: bytes, *, silent: bool = False) -> Outcome:
    """What is answered; `silent` where the proxy may wait for more."""
    received, ended = b"", False
    with socket.create_connection((ADDRESS, door.port), timeout=1 if silent else 20) as one:
        try:
            one.sendall(written)
            while more := one.recv(65536):
                received += more
                one.settimeout(0.7)  # for a second answer
            ended = True
        except TimeoutError:
            pass
        except OSError:
            ended = True
    lines = [line for line in received.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    found = [int(line.split()[1]) for line in lines]
    return Outcome(found or [CLOSED if ended else WAITS])


@pytest.fixture(scope="module", params=DOORS)
def attacks(request: pytest.FixtureRequest) -> Iterator[tuple[Door, dict[str, Outcome]]]:
    """All attacks at once, and what came of each."""
    with standing(DOORS[request.param]) as door, ThreadPoolExecutor(16) as pool:
        asked = {
            name: pool.submit(attacked, door, written, silent=WAITS in allowed)
            for name, (written, allowed) in ATTACKS.items()
        }
        yield door, {name: each.result() for name, each in asked.items()}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_on_the_framing_gets_nothing(attacks: tuple[Door, dict[str, Outcome]], name: str) -> None:
    _, outcomes = attacks
    statuses = outcomes[name].statuses
    assert statuses[0] in ATTACKS[name][1], statuses
    assert set(statuses[1:]) <= {400, 403}, statuses


def test_nothing_improper_and_nothing_denied_came_through(attacks: tuple[Door, dict[str, Outcome]]) -> None:
    door, _ = attacks
    assert door.recorder.improper == []
    assert {each.target.partition("?")[0] for each in door.recorder.requests} <= {"/in"}
    # and the next one's request is its own
    before = len(door.recorder.requests)
    assert attacked(door, head(start=b"GET /next HTTP/1.1")).statuses == [200]
    wait_until(lambda: len(door.recorder.requests) == before + 1)
    assert door.recorder.requests[-1].target == "/next"


def test_a_hundred_headers_of_many_kilobytes_pass(attacks: tuple[Door, dict[str, Outcome]]) -> None:
    door, _ = attacks
    # what the proxy adds counts too
    lines = [b"x-%d: " % number + b"y" * 500 for number in range(90)]
    assert attacked(door, head(*lines, start=b"GET /large HTTP/1.1")).statuses == [200]
