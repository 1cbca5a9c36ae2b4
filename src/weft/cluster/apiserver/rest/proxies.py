"""The `proxy` subresource: a client's request passed on to a pod, a Service's endpoint or a node."""

import asyncio
import re
import ssl
from collections.abc import Iterable
from dataclasses import dataclass

import aiohttp
from aiohttp import WSMsgType, web
from multidict import CIMultiDict
from yarl import URL

from weft.cluster.apiserver import errors, proxytargets
from weft.cluster.apiserver.cluster import Cluster
from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.paths import ResourcePath
from weft.cluster.apiserver.proxytargets import Target
from weft.cluster.apiserver.streams import until_either_ends

_PREFIX = re.compile(r"^(/api/v1/(?:namespaces/[^/]+/)?[^/]+/[^/]+/proxy)(/.*)?$")
# Of one connection only (RFC 9110, 7.6.1).
_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# Proofs of who asks are the API server's alone.
_SECRET = frozenset({"authorization", "impersonate-user", "impersonate-group", "impersonate-uid"})
_CONNECT_SECONDS = 10.0
_MESSAGES = 0
"""WebSocket messages may be of any size: they are passed on, not kept."""


@dataclass(frozen=True, slots=True)
class Proxies:
    """Passes requests on. `context` is how kubelets are spoken to; other servers' certificates are not checked."""

    cluster: Cluster
    context: ssl.SSLContext | None

    async def handle(self, request: web.Request, path: ResourcePath, kind: Kind) -> web.StreamResponse:
        """Any method, with its body as it comes."""
        split = _PREFIX.match(request.rel_url.raw_path)
        if split is None:
            raise errors.no_such_path()
        prefix, rest = split[1], split[2] or ""
        if not rest and request.method in {"GET", "HEAD"}:
            query = f"?{request.query_string}" if request.query_string else ""
            return web.Response(status=301, headers={"Location": f"{prefix}/{query}"})
        target = proxytargets.resolve(self.cluster, kind, path.namespace, path.name)
        query = request.rel_url.raw_query_string
        url = URL(f"{target.origin}{rest or '/'}" + (f"?{query}" if query else ""), encoded=True)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
        async with aiohttp.ClientSession(
            timeout=timeout, auto_decompress=False, trust_env=False, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return await self._socket(request, session, target, url)
            return await self._relay(request, session, target, url, prefix)

    def _tls(self, target: Target) -> ssl.SSLContext | bool:
        return self.context if target.kubelet and self.context else False

    async def _relay(
        self, request: web.Request, session: aiohttp.ClientSession, target: Target, url: URL, prefix: str
    ) -> web.StreamResponse:
        try:
            answer = await session.request(
                request.method,
                url,
                headers=_forwarded(request),
                data=request.content if request.can_read_body else None,
                allow_redirects=False,
                ssl=self._tls(target),
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )
        except (aiohttp.ClientError, OSError) as error:
            raise proxytargets.unreachable(error) from None
        async with answer:
            response = web.StreamResponse(status=answer.status, reason=answer.reason)
            response.headers.extend(_kept(answer.headers.items()))
            if place := answer.headers.get("Location"):
                response.headers["Location"] = _moved(place, target, prefix)
            await response.prepare(request)
            if request.method != "HEAD":
                await _copy(request, answer, response)
            return response

    async def _socket(
        self, request: web.Request, session: aiohttp.ClientSession, target: Target, url: URL
    ) -> web.StreamResponse:
        offered = request.headers.get("Sec-WebSocket-Protocol", "")
        protocols = [one.strip() for one in offered.split(",") if one.strip()]
        headers = [(name, value) for name, value in _forwarded(request).items() if not _of_socket(name)]
        try:
            server = await session.ws_connect(
                url, protocols=protocols, headers=headers, ssl=self._tls(target), max_msg_size=_MESSAGES
            )
        except aiohttp.WSServerHandshakeError as error:
            raise errors.StatusError(
                error.status, "ServiceUnavailable", f"upgrade refused: {error.message}"
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise proxytargets.unreachable(error) from None
        async with server:
            client = web.WebSocketResponse(
                protocols=[server.protocol] if server.protocol else (), max_msg_size=_MESSAGES, compress=False
            )
            await client.prepare(request)
            await until_either_ends(_messages(client, server), _messages(server, client))
            await client.close(code=server.close_code or aiohttp.WSCloseCode.OK)
            return client


def _of_socket(name: str) -> bool:
    return name.lower().startswith("sec-websocket-")


def _forwarded(request: web.Request) -> CIMultiDict[str]:
    """The request's headers as the other server gets them."""
    kept = _kept(request.headers.items(), but=_SECRET)
    kept["X-Forwarded-Uri"] = request.path
    kept["X-Forwarded-Host"] = request.host
    kept["X-Forwarded-Proto"] = request.scheme
    kept.popall("Host", None)
    return kept


def _kept(headers: Iterable[tuple[str, str]], but: frozenset[str] = frozenset()) -> CIMultiDict[str]:
    return CIMultiDict(
        (name, value) for name, value in headers if name.lower() not in _HOP and name.lower() not in but
    )


def _moved(place: str, target: Target, prefix: str) -> str:
    """A redirection within the server leads back through the proxy; one to elsewhere stays as it is."""
    if place.startswith(target.origin):
        place = place.removeprefix(target.origin) or "/"
    return f"{prefix}{place}" if place.startswith("/") and not place.startswith("//") else place


async def _copy(request: web.Request, answer: aiohttp.ClientResponse, response: web.StreamResponse) -> None:
    try:
        async for data in answer.content.iter_any():
            await response.write(data)
        await response.write_eof()
    except (aiohttp.ClientError, ConnectionError):
        # the head has been sent: all that can be told is that this is not the whole body
        response.force_close()
        if isinstance(request.transport, asyncio.WriteTransport):
            request.transport.abort()


async def _messages(
    source: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
    sink: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
) -> None:
    async for message in source:
        if message.type is WSMsgType.TEXT:
            await sink.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await sink.send_bytes(message.data)
    await sink.close(code=source.close_code or aiohttp.WSCloseCode.OK)
