"""Sends GET requests at a steady rate to several targets; every other one on a connection that is kept.

Runs inside a pod: `python3 - RATE SECONDS HOST:PORT/NAME…`, each target an address and the Host that is asked for.
It ends earlier when the file comes about that the variable UNTIL names.
Prints one line of JSON: how often each target gave which answer, how many kept connections had been closed
meanwhile (their requests were sent again, as any client does), and what the first and last failures were: when
they were sent and how long they took, in seconds, and what they met.
"""

import asyncio
import collections
import json
import os
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TIMEOUT = 30.0  # seconds: on a machine that has too much to do, an answer is late, but no failure
MOST_TOLD = 24
UNTIL = os.environ.get("UNTIL", "")


class ClosedError(Exception):
    """The server closed the connection before it said anything."""


@dataclass
class Target:
    host: str
    port: int
    name: str
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)
    seen: collections.Counter[str] = field(default_factory=collections.Counter)
    stale: int = 0


@dataclass
class Progress:
    """How far a request has come, for the tale of its failure."""

    phase: str = ""


def parse(text: str) -> Target:
    place, _, name = text.partition("/")
    host, _, port = place.partition(":")
    # names are looked up once: this is about what becomes of requests, not about DNS
    return Target(socket.gethostbyname(host), int(port), name)


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> tuple[int, bytes, bool]:
    """The status, the body, and whether the connection may be kept."""
    writer.write(request)
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        partial = getattr(error, "partial", b"")
        if partial:
            raise
        raise ClosedError(type(error).__name__) from error
    lines = head.decode("latin-1").split("\r\n")
    headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines[1:])}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return int(lines[0].split()[1]), body, headers.get("connection", "").lower() != "close"


async def ask(target: Target, progress: Progress, *, keep: bool) -> str:
    """One request; `200`, or what went wrong."""
    connection = "keep-alive" if keep else "close"
    request = f"GET / HTTP/1.1\r\nHost: {target.name}\r\nConnection: {connection}\r\n\r\n".encode()
    while True:
        kept = bool(keep and target.idle)
        progress.phase = "connecting"
        reader, writer = target.idle.pop() if kept else await asyncio.open_connection(target.host, target.port)
        progress.phase = f"asked from port {writer.get_extra_info('sockname')[1]}"
        try:
            status, body, may_keep = await exchange(reader, writer, request)
        except ClosedError:
            writer.close()
            if not kept:
                raise
            target.stale += 1
            continue
        except BaseException:
            writer.close()
            raise
        if keep and may_keep:
            target.idle.append((reader, writer))
        else:
            writer.close()
        return "200" if status == 200 else f"{status} {body[:120].decode(errors='replace')}"


async def one(target: Target, began: float, failures: list[dict[str, Any]], *, keep: bool) -> None:
    sent, progress = time.monotonic(), Progress()
    try:
        async with asyncio.timeout(TIMEOUT):
            answer = await ask(target, progress, keep=keep)
    except (OSError, ClosedError, asyncio.IncompleteReadError, TimeoutError) as error:
        answer = f"{type(error).__name__} {error}".strip()
    target.seen[answer] += 1
    if answer != "200":
        took = time.monotonic() - sent
        kind = "kept" if keep else "new"
        what = f"{target.name} ({kind}): {answer} {progress.phase}"
        failures.append({"sent": round(sent - began, 3), "took": round(took, 3), "what": what})


async def main(rate: float, seconds: float, targets: list[Target]) -> None:
    failures: list[dict[str, Any]] = []
    began = time.monotonic()
    print(json.dumps({"began": time.time()}), flush=True)
    async with asyncio.TaskGroup() as tasks:
        for number in range(int(rate * seconds)):
            if UNTIL and number % rate < 1 and Path(UNTIL).exists():  # noqa: ASYNC240 -- a look in memory
                break
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            # the target changes with every request, the kind of connection with every round
            target, keep = targets[number % len(targets)], number // len(targets) % 2 == 0
            tasks.create_task(one(target, began, failures, keep=keep))
    seen = {each.name: dict(each.seen) for each in targets}
    print(json.dumps({"seen": seen, "stale": sum(each.stale for each in targets), "failures": _thinned(failures)}))


def _thinned(failures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first and the last of them."""
    half = MOST_TOLD // 2
    return failures if len(failures) <= MOST_TOLD else [*failures[:half], *failures[-half:]]


asyncio.run(main(float(sys.argv[1]), float(sys.argv[2]), [parse(each) for each in sys.argv[3:]]))
