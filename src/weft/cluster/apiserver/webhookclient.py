"""Calling webhooks: JSON over HTTPS, straight to a ready endpoint of the Service."""

import asyncio
import base64
import json
import os
import ssl
from collections import OrderedDict
from dataclasses import dataclass, field

import aiohttp
import msgspec

from weft.cluster.apiserver import backends
from weft.cluster.apiserver.cluster import Cluster, Obj

LARGEST = 16 * 1024 * 1024
"""Bytes of an answer: the largest object as a patch, several times over."""
_SHOWN = 2048
_UNWILLING = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    409: "the server reported a conflict",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: (
        "the server was unable to return a response in the time allotted, but may still be processing the request"
    ),
}
_CONTEXTS = 64


class CallError(Exception):
    """The webhook could not be asked; who asked decides what follows."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a webhook is reached: `url` to connect to, `server_name` for its certificate.

    `shown` is its address in messages, after `says` (such as `failed to call webhook: `).
    """

    url: str
    server_name: str
    shown: str
    says: str = ""


@dataclass(slots=True)
class Caller:
    """The client of all webhooks. `session` has no default timeout; each call brings its webhook's."""

    session: aiohttp.ClientSession
    _contexts: OrderedDict[str, ssl.SSLContext] = field(default_factory=OrderedDict)

    async def post(self, target: Target, config: Obj, body: Obj, seconds: int) -> bytes:
        """The answer to a review. Raises CallError."""
        prefix = f'{target.says}Post "{target.shown}": '
        try:
            async with asyncio.timeout(seconds):
                return await self._answer(target, config, body)
        except TimeoutError as error:
            raise CallError(f"{prefix}context deadline exceeded") from error
        except (aiohttp.ClientError, OSError) as error:
            raise CallError(f"{prefix}{_broken(error)}") from error

    async def _answer(self, target: Target, config: Obj, body: Obj) -> bytes:
        async with self.session.post(
            target.url,
            data=msgspec.json.encode(body),
            headers={"Content-Type": "application/json", "Accept": "application/json"},
            ssl=self._context(config.get("caBundle", "")),
            server_hostname=target.server_name or None,
            allow_redirects=False,
        ) as answer:
            content = await _read(answer)
            if content is None:
                raise CallError(f"{target.says}the answer is longer than {LARGEST} bytes")
            if answer.status != 200:
                raise CallError(f"{target.says}{_unwilling(answer.status, content)}")
            return content

    def _context(self, bundle: str) -> ssl.SSLContext:
        if bundle in self._contexts:
            self._contexts.move_to_end(bundle)
            return self._contexts[bundle]
        try:
            pem = base64.b64decode(bundle).decode() if bundle else None
            context = ssl.create_default_context(cadata=pem)
            # Python 3.13 asks of certificates what people's own authorities do not always write
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        except (ValueError, ssl.SSLError) as error:
            raise CallError(f"clientConfig.caBundle holds no usable certificates: {error}") from error
        self._contexts[bundle] = context
        if len(self._contexts) > _CONTEXTS:
            self._contexts.popitem(last=False)
        return context


def resolve(config: Obj, cluster: Cluster, seconds: int, says: str = "") -> Target:
    """Where the webhook is. A Service is reached at one of its ready endpoints, as if through its address."""
    if url := config.get("url"):
        return Target(str(url), "", str(url), says)
    service = config["service"]
    name, namespace, port = service["name"], service["namespace"], service.get("port", 443)
    host = f"{name}.{namespace}.svc"
    path = "/" + str(service.get("path") or "").lstrip("/")
    shown = f"https://{host}:{port}{path}?timeout={seconds}s"
    found = cluster.core("services", namespace, name)
    if found is None:
        raise CallError(f'{says}Post "{shown}": service "{name}" not found')
    entry = next((item for item in found["spec"].get("ports") or () if item.get("port") == port), None)
    if entry is None:
        raise CallError(f'{says}Post "{shown}": service "{name}" has no port {port}')
    endpoints = backends.ready(cluster, namespace, name, entry.get("name", ""))
    if not endpoints:
        raise CallError(f'{says}Post "{shown}": no endpoints available for service "{name}"')
    address, number = cluster.world.chance.choice(endpoints)
    return Target(f"https://{address}:{number}{path}?timeout={seconds}s", host, shown, says)


async def _read(answer: aiohttp.ClientResponse) -> bytes | None:
    """Read the whole body; None where it is too long to be an answer."""
    parts, size = list[bytes](), 0
    async for part in answer.content.iter_any():
        size += len(part)
        if size > LARGEST:
            return None
        parts.append(part)
    return b"".join(parts)


def _unwilling(code: int, content: bytes) -> str:
    """What an HTTP status means that is not 200 (client-go, `NewGenericServerResponse`)."""
    if code in _UNWILLING:
        return _UNWILLING[code]
    if code >= 500:
        said = json.dumps(content[:_SHOWN].decode(errors="replace").strip() or "unknown", ensure_ascii=False)
        return f"an error on the server ({said}) has prevented the request from succeeding"
    return f"the server responded with the status code {code} but did not return more information"


def _broken(error: Exception) -> str:
    """Why there is no answer, as Go's HTTP client says it."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return f"tls: failed to verify certificate: x509: {error.certificate_error}"
        case aiohttp.ClientConnectorSSLError() | ssl.SSLError():
            return f"remote error: tls: {error}"
        case aiohttp.ClientConnectorError():
            why = error.os_error.errno
            said = os.strerror(why).lower() if why else str(error)
            return f"dial tcp {error.host}:{error.port}: connect: {said}"
        case aiohttp.ServerDisconnectedError():
            return "EOF"
        case aiohttp.ClientPayloadError():
            return "unexpected EOF"
        case _:
            return str(error) or type(error).__name__
