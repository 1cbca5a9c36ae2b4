"""Calling webhooks: JSON over HTTPS, straight to a ready endpoint of the Service."""

import asyncio
import base64
import ssl
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec

from weft.cluster.apiserver import backends
from weft.cluster.apiserver.cluster import Cluster, Obj

_CONTEXTS = 64


class CallError(Exception):
    """The webhook could not be asked."""


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

    async def post(self, target: Target, config: Obj, body: Obj, seconds: int) -> Any:
        """The decoded answer to a review. Raises CallError."""
        prefix = f'{target.says}Post "{target.shown}": '
        try:
            async with asyncio.timeout(seconds):
                return await self._answer(target, config, body)
        except TimeoutError as error:
            raise CallError(f"{prefix}context deadline exceeded") from error
        except (aiohttp.ClientError, OSError) as error:
            raise CallError(f"{prefix}{error}") from error

    async def _answer(self, target: Target, config: Obj, body: Obj) -> Any:
        async with self.session.post(
            target.url,
            data=msgspec.json.encode(body),
            headers={"Content-Type": "application/json", "Accept": "application/json"},
            ssl=self._context(config.get("caBundle", "")),
            server_hostname=target.server_name or None,
            allow_redirects=False,
        ) as answer:
            content = await answer.read()
            if answer.status != 200:
                text = content[:200].decode(errors="replace").strip()
                raise CallError(f"{target.says}the server answered {answer.status}: {text}")
            try:
                return msgspec.json.decode(content)
            except msgspec.DecodeError as error:
                raise CallError(f"the answer is not JSON: {error}") from error

    def _context(self, bundle: str) -> ssl.SSLContext:
        if bundle in self._contexts:
            self._contexts.move_to_end(bundle)
            return self._contexts[bundle]
        try:
            pem = base64.b64decode(bundle).decode() if bundle else None
            context = ssl.create_default_context(cadata=pem)
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
