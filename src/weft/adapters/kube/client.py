"""A client of one Kubernetes API server: verbs on plain JSON objects, over one pool of connections."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import aiohttp
import msgspec

from weft.adapters.kube.access import Access
from weft.adapters.kube.kinds import Kind

if TYPE_CHECKING:
    from weft.adapters.kube import reflector

T = TypeVar("T")
Json = dict[str, Any]
How = Literal["merge", "strategic", "json", "apply"]

_CONTENT_TYPES: dict[How, str] = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}


class ApiError(Exception):
    """The server's own answer: HTTP code, Kubernetes reason (`NotFound`, `Conflict`…) and message."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message or reason)
        self.code, self.reason, self.message = code, reason, message


class Kube:
    """Use as `async with Kube(access) as kube`. Connection trouble raises aiohttp.ClientError."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            ssl=self.access.ssl_context() if self.access.server.startswith("https") else False, limit=0
        )
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=30, sock_connect=5), trust_env=False
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session:
            await self._session.close()

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Json:
        """One object, or ApiError 404."""
        return await self.call("GET", kind.path(namespace, name))

    async def list(self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "") -> list[Json]:
        """All objects of a kind that match the selectors."""
        answer = await self.call("GET", kind.path(namespace), query=selectors(labels, fields))
        items: list[Json] = answer.get("items") or []
        return items

    async def create(self, kind: Kind, obj: Json, namespace: str = "") -> Json:
        """Create an object; ApiError 409 AlreadyExists if it is there."""
        return await self.call("POST", kind.path(namespace or _namespace(obj)), body=_typed(kind, obj))

    async def replace(self, kind: Kind, obj: Json, *, subresource: str = "") -> Json:
        """Write an object over the revision it carries; ApiError 409 Conflict if it has moved on."""
        path = kind.path(_namespace(obj), obj["metadata"]["name"], subresource)
        return await self.call("PUT", path, body=_typed(kind, obj))

    async def patch(
        self, kind: Kind, name: str, patch: Any, namespace: str = "", *, subresource: str = "", how: How = "merge"
    ) -> Json:
        """Change parts of an object."""
        path = kind.path(namespace, name, subresource)
        return await self.call("PATCH", path, body=patch, content_type=_CONTENT_TYPES[how])

    async def apply(self, kind: Kind, obj: Json, *, manager: str) -> Json:
        """Server-side apply: own exactly the fields that `obj` sets, taking them from others."""
        path = kind.path(_namespace(obj), obj["metadata"]["name"])
        query = {"fieldManager": manager, "force": "true"}
        return await self.call(
            "PATCH", path, body=_typed(kind, obj), query=query, content_type=_CONTENT_TYPES["apply"]
        )

    async def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        version: str = "",
        propagation: str = "Background",
        grace: int | None = None,
    ) -> None:
        """Delete an object, if it is there and (where `uid` is given) still the same one. Grace in seconds.

        With a `version` it has to be that very resourceVersion of it: ApiError 409 if it has moved on.
        """
        options: Json = {"propagationPolicy": propagation}
        named = {"uid": uid, "resourceVersion": version}
        if preconditions := {key: value for key, value in named.items() if value}:
            options["preconditions"] = preconditions
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        try:
            await self.call("DELETE", kind.path(namespace, name), body=options)
        except ApiError as error:
            if error.code != 404 and not (uid and not version and error.code == 409):
                raise

    async def post(self, path: str, body: Json) -> Json:
        """Create something that is no stored object: a token, a binding, a review."""
        return await self.call("POST", path, body=body)

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: dict[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Json:
        """One request, JSON both ways; ApiError for any answer that is not 2xx."""
        data = None if body is None else msgspec.json.encode(body)
        content = await self._request(method, path, query, data, {"Content-Type": content_type})
        result: Json = msgspec.json.decode(content) if content else {}
        return result

    async def fetch(self, path: str, query: dict[str, str] | None = None) -> bytes:
        """The bytes that a path answers, whatever they are; ApiError for any answer that is not 2xx."""
        return await self._request("GET", path, query, None, {})

    async def send(self, method: str, path: str) -> bytes:
        """The bytes that are answered to a request without a body; ApiError for any answer that is not 2xx."""
        return await self._request(method, path, None, None, {})

    def reflect(
        self,
        kind: Kind,
        *,
        decode: type[T] = dict,  # type: ignore[assignment]  # T is dict unless told
        namespace: str = "",
        labels: str = "",
        fields: str = "",
    ) -> "AsyncIterator[reflector.Change[T]]":
        """The state of a kind and its changes, for ever: see `reflector.reflect`."""
        from weft.adapters.kube import reflector

        return reflector.reflect(self, kind, decode=decode, namespace=namespace, labels=labels, fields=fields)

    async def _request(
        self, method: str, path: str, query: dict[str, str] | None, data: bytes | None, headers: dict[str, str]
    ) -> bytes:
        url = self.access.server + path
        async with self._open().request(
            method, url, params=query, data=data, headers=self._headers() | headers
        ) as answer:
            content = await answer.read()
            if answer.status >= 300:
                raise error_of(answer.status, content)
            return content

    async def lines(self, path: str, query: dict[str, str]) -> AsyncIterator[bytes]:
        """A streamed answer, line by line, until the server ends it (a watch, a log)."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        async with self._open().get(
            self.access.server + path, params=query, headers=self._headers(), timeout=timeout
        ) as answer:
            if answer.status >= 300:
                raise error_of(answer.status, await answer.read())
            rest = b""
            async for chunk in answer.content.iter_any():
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    yield line
            if rest:
                yield rest

    def websocket(
        self, path: str, query: Sequence[tuple[str, str]], protocol: str, seconds: float
    ) -> AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]:
        """Open a WebSocket of one subprotocol; nothing may take longer than `seconds`."""
        headers = {key: value for key, value in self._headers().items() if key == "Authorization"}
        timeout = aiohttp.ClientWSTimeout(ws_receive=seconds, ws_close=5)
        url = self.access.server + path
        return self._open().ws_connect(
            url, params=query, headers=headers, protocols=(protocol,), timeout=timeout, max_msg_size=0
        )

    def _headers(self) -> dict[str, str]:
        token = self.access.bearer()
        return {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("Kube is used before `async with`")
        return self._session


def selectors(labels: str, fields: str) -> dict[str, str]:
    """The query of a list or watch: label selector and field selector as kubectl writes them."""
    pairs = {"labelSelector": labels, "fieldSelector": fields}
    return {key: value for key, value in pairs.items() if value}


def error_of(code: int, content: bytes) -> ApiError:
    """The error that a `Status` body tells, or a plain one if the body is something else."""
    try:
        status = json.loads(content)
        return ApiError(status.get("code") or code, status.get("reason", ""), status.get("message", ""))
    except (ValueError, AttributeError):
        return ApiError(code, "", content[:200].decode(errors="replace").strip())


def _namespace(obj: Json) -> str:
    return str(obj["metadata"].get("namespace", ""))


def _typed(kind: Kind, obj: Json) -> Json:
    return {"apiVersion": kind.api_version, "kind": kind.kind} | obj
