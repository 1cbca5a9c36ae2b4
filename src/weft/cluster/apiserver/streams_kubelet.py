"""The way to a kubelet's streams: one HTTP/1.1 request that asks for SPDY, and what came of it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ssl import SSLContext
from urllib.parse import urlsplit

from multidict import CIMultiDict

from weft.cluster.apiserver.errors import StatusError

CONNECT_TIMEOUT = 10.0
"""Seconds until a kubelet that does not answer is given up."""
ANSWER_TIMEOUT = 30.0
BUFFER = 256 * 1024
"""Bytes read ahead of a slow reader, per direction."""
_MAX_ERROR = 64 * 1024
_REASONS = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 405: "MethodNotAllowed"}


@dataclass(frozen=True, slots=True)
class KubeletTarget:
    """What to ask of which kubelet: `https://192.168.49.2:10250/exec/NS/POD/CONTAINER?command=…`.

    `ssl` carries the API server's client certificate and the cluster's CA; none for plain http.
    """

    url: str
    ssl: SSLContext | None


@dataclass(frozen=True, slots=True)
class Connection:
    """An upgraded connection to a kubelet, and the headers with which it agreed."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    headers: Mapping[str, str]

    def close(self) -> None:
        """Let go of it; nothing is waited for."""
        self.writer.close()


async def connect(target: KubeletTarget, protocols: Sequence[str]) -> Connection:
    """Upgrade to SPDY, offering stream protocols; a refusal raises `StatusError` in the kubelet's own words."""
    url = urlsplit(target.url)
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            reader, writer = await asyncio.open_connection(url.hostname, port, ssl=target.ssl, limit=BUFFER)
    except (OSError, TimeoutError) as error:
        raise unreachable(url.netloc, error) from None
    try:
        writer.write(_request(url.netloc, f"{url.path}?{url.query}" if url.query else url.path, protocols))
        async with asyncio.timeout(ANSWER_TIMEOUT):
            status, headers = await _answer(reader)
            if status == 101:
                return Connection(reader, writer, headers)
            body = await _error(reader, headers)
    except (OSError, TimeoutError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
        writer.close()
        raise unreachable(url.netloc, error) from None
    except BaseException:
        writer.close()
        raise
    writer.close()
    raise refusal(status, body)


def unreachable(address: str, error: Exception) -> StatusError:
    """The answer when a kubelet cannot be spoken to."""
    why = str(error) or type(error).__name__
    return StatusError(
        500, "InternalError", f"the kubelet at {address} cannot be reached: {why}. Look at `kubectl get nodes`."
    )


def refusal(status: int, body: str) -> StatusError:
    """A kubelet's refusal, in its own words."""
    return StatusError(
        status, _REASONS.get(status, "InternalError"), body.strip() or f"the kubelet answered {status}"
    )


def _request(host: str, path: str, protocols: Sequence[str]) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {host}",
        "Connection: Upgrade",
        "Upgrade: SPDY/3.1",
        "Content-Length: 0",
    ]
    lines += [f"X-Stream-Protocol-Version: {protocol}" for protocol in protocols]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, CIMultiDict[str]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    headers: CIMultiDict[str] = CIMultiDict()
    for line in lines:
        name, _, value = line.partition(":")
        headers.add(name.strip(), value.strip())
    return int(first.split(" ", 2)[1] if first.count(" ") else ""), headers


async def _error(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> str:
    """The text of a refusal; kubelets give its length, or close at its end."""
    length = min(int(headers.get("Content-Length", _MAX_ERROR)), _MAX_ERROR)
    try:
        body = await reader.readexactly(length)
    except asyncio.IncompleteReadError as error:
        body = error.partial
    return body.decode(errors="replace")
