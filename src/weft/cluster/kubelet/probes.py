"""Probes: what each try means (pure), and the tries themselves over plain sockets."""

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

_SHORT_LOOK = 0.25  # seconds between the first tries of a readiness probe


class Role(StrEnum):
    """What a probe decides about."""

    STARTUP = "Startup"
    LIVENESS = "Liveness"
    READINESS = "Readiness"


@dataclass(frozen=True, slots=True)
class Timing:
    """How often and how long to try, in seconds, and how many tries in a row decide."""

    role: Role
    initial_delay: float
    period: float
    timeout: float
    successes: int
    failures: int


@dataclass(frozen=True, slots=True)
class Tally:
    """How the tries have gone: `passing` is what the probe holds to be true, None before it has decided."""

    passing: bool | None = None
    in_a_row: int = 0
    last: bool | None = None
    tries: int = 0


def timing(role: Role, probe: Mapping[str, Any]) -> Timing:
    """A probe's numbers, with the API's defaults where it gives none."""
    return Timing(
        role=role,
        initial_delay=float(probe.get("initialDelaySeconds") or 0),
        period=float(probe.get("periodSeconds") or 10),
        timeout=float(probe.get("timeoutSeconds") or 1),
        successes=int(probe.get("successThreshold") or 1),
        failures=int(probe.get("failureThreshold") or 3),
    )


def after(tally: Tally, good: bool, rule: Timing) -> Tally:  # noqa: FBT001, the result of one try
    """The tally after one more try."""
    in_a_row = tally.in_a_row + 1 if tally.last is good else 1
    enough = rule.successes if good else rule.failures
    decided = replace(tally, in_a_row=in_a_row, last=good, tries=tally.tries + 1)
    return replace(decided, passing=good) if in_a_row >= enough else decided


def pause(tally: Tally, rule: Timing) -> float:
    """How long to wait before the next try, in seconds.

    A container that has never been ready is looked at more often during its first period: it is ready as soon as
    it is, and not up to a period later. Those looks are not failures: they count only at the probe's own pace.
    """
    if rule.role is Role.READINESS and tally.passing is None and tally.tries == 0:
        return min(rule.period, _SHORT_LOOK)
    return rule.period


@dataclass(frozen=True, slots=True)
class Exec:
    """Run a command: exit code 0 is good."""

    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Http:
    """GET a page: 200 to 399 is good."""

    host: str
    port: int
    path: str
    tls: bool
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Tcp:
    """Connect: a connection is good."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Grpc:
    """Ask gRPC's health service: SERVING is good."""

    host: str
    port: int
    service: str


Check = Exec | Http | Tcp | Grpc


def check(handler: Mapping[str, Any], container: Mapping[str, Any], pod_ip: str) -> Check:
    """The check of a probe or a hook; ValueError where it names a port that the container does not."""
    if handler.get("exec"):
        return Exec(tuple(handler["exec"].get("command") or ()))
    if get := handler.get("httpGet"):
        headers = tuple((each["name"], each["value"]) for each in get.get("httpHeaders") or ())
        return Http(
            host=get.get("host") or pod_ip,
            port=_port(get["port"], container),
            path=get.get("path") or "/",
            tls=(get.get("scheme") or "HTTP").upper() == "HTTPS",
            headers=headers,
        )
    if tcp := handler.get("tcpSocket"):
        return Tcp(tcp.get("host") or pod_ip, _port(tcp["port"], container))
    if grpc := handler.get("grpc"):
        return Grpc(pod_ip, int(grpc["port"]), grpc.get("service") or "")
    raise ValueError("a probe needs exec, httpGet, tcpSocket or grpc")


def _port(port: object, container: Mapping[str, Any]) -> int:
    if isinstance(port, int):
        return port
    if str(port).isdigit():
        return int(str(port))
    for each in container.get("ports") or ():
        if each.get("name") == port:
            return int(each["containerPort"])
    raise ValueError(f'port "{port}" is not named by the container')


async def connect(target: Tcp, seconds: float) -> str:
    """Why a TCP connection cannot be made; empty if it can."""
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(target.host, target.port)
    except TimeoutError:
        return f"dial tcp {target.host}:{target.port}: i/o timeout"
    except OSError as error:
        return f"dial tcp {target.host}:{target.port}: connect: {_reason(error)}"
    await _close(writer)
    return ""


async def get(target: Http, seconds: float) -> str:
    """Why a page is not good; empty if it is. Certificates are not checked (configure probes: HTTP probes)."""
    scheme = "https" if target.tls else "http"
    url = f"{scheme}://{target.host}:{target.port}{target.path}"
    try:
        async with asyncio.timeout(seconds):
            status = await _status(target)
    except TimeoutError:
        return f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
    except (OSError, ValueError) as error:
        return f'Get "{url}": dial tcp {target.host}:{target.port}: connect: {_reason(error)}'
    return "" if 200 <= status < 400 else f"HTTP probe failed with statuscode: {status}"


async def _status(target: Http) -> int:
    context = ssl._create_unverified_context() if target.tls else None  # noqa: S323, SLF001, a probe asks for health only
    reader, writer = await asyncio.open_connection(target.host, target.port, ssl=context)
    try:
        headers = {"Host": f"{target.host}:{target.port}", "User-Agent": "kube-probe/1.36", "Accept": "*/*"}
        headers |= dict(target.headers) | {"Connection": "close"}
        lines = [f"GET {target.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        words = (await reader.readline()).split()
        if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
            raise ValueError("malformed HTTP response")
        return int(words[1])
    finally:
        await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(1):
            await writer.wait_closed()


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.errno:
        import os

        return os.strerror(error.errno).lower()
    return str(error)
