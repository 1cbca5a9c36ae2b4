"""A Kubernetes API as small as istiod can live with: objects in memory, lists, watches, patches, TokenReviews."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jsonpatch
import yaml
from aiohttp import web

from weft.adapters.kube.kinds import kind_of

Json = dict[str, Any]


class Cluster:
    """`objects` by path. `tokens` maps a token to its user name; every audience asked for is granted.

    `readers` are the user names that may get Secrets, each with a namespace, `served` those that may have them
    served; `asked` are the lists of Secrets.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Json] = {}
        self.tokens: dict[str, str] = {}
        self.readers: set[tuple[str, str]] = set()
        self.served: set[tuple[str, str]] = set()
        self.asked: list[dict[str, str]] = []
        self.watching = 0
        self.history: list[tuple[str, str, Json]] = []  # type, path, object
        self.changed = asyncio.Event()
        self.revision = 0
        self.url = ""

    def put(self, obj: Json) -> Json:
        kind = kind_of(obj)
        metadata = obj["metadata"]
        return self._set(kind.path(metadata.get("namespace", ""), metadata["name"]), obj)

    def remove(self, path: str) -> None:
        self.revision += 1
        gone = self.objects.pop(path)
        gone["metadata"]["resourceVersion"] = str(self.revision)
        self._record("DELETED", path, gone)

    async def until(self, condition: Any, seconds: float = 10) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await self.changed.wait()

    def kubeconfig(self, path: Path) -> Path:
        path.write_text(
            yaml.safe_dump(
                {
                    "current-context": "c",
                    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                    "clusters": [{"name": "c", "cluster": {"server": self.url}}],
                    "users": [{"name": "u", "user": {"token": "istiod"}}],
                }
            )
        )
        return path

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["Cluster"]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}"
        try:
            yield self
        finally:
            await runner.cleanup()

    def _set(self, path: str, obj: Json) -> Json:
        self.revision += 1
        obj = json.loads(json.dumps(obj))
        obj["metadata"]["resourceVersion"] = str(self.revision)
        obj["metadata"].setdefault("uid", path)
        event = "MODIFIED" if path in self.objects else "ADDED"
        self.objects[path] = obj
        self._record(event, path, obj)
        return obj

    def _record(self, event: str, path: str, obj: Json) -> None:
        self.history.append((event, path, obj))
        self.changed.set()
        self.changed = asyncio.Event()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        match request.method:
            case "GET" if request.query.get("watch"):
                return await self._watch(request)
            case "GET" if path in self.objects:
                return web.json_response(self.objects[path])
            case "GET" if path.rpartition("/")[2].islower() and self._is_collection(path):
                self._note(request)
                items = [one for at, one in self.objects.items() if _within(path, at, request)]
                return web.json_response({"metadata": {"resourceVersion": str(self.revision)}, "items": items})
            case "POST" if path.endswith("reviews"):
                review = self._judge if path.endswith("/subjectaccessreviews") else self._review
                return web.json_response(review(await request.json()))
            case "POST":
                body = await request.json()
                at = f"{path}/{body['metadata']['name']}"
                if at in self.objects:
                    return _status(409, "AlreadyExists")
                return web.json_response(self._set(at, body), status=201)
            case "PATCH" if path in self.objects:
                body = await request.json()
                known = self.objects[path]["metadata"]["resourceVersion"]
                if isinstance(body, dict) and (body.get("metadata") or {}).get("resourceVersion", known) != known:
                    return _status(409, "Conflict")
                if request.content_type == "application/json-patch+json":
                    return web.json_response(self._set(path, jsonpatch.apply_patch(self.objects[path], body)))
                return web.json_response(self._set(path, _merged(self.objects[path], body)))
        return _status(404, "NotFound")

    def _is_collection(self, path: str) -> bool:
        in_namespace = path.startswith("/api/v1/namespaces/")
        return path.endswith(("/configmaps", "/secrets", "/pods")) if in_namespace else path.count("/") in {3, 4}

    def _review(self, review: Json) -> Json:
        user = self.tokens.get(review["spec"]["token"])
        audiences = review["spec"]["audiences"]
        good = {"authenticated": True, "user": {"username": user}, "audiences": audiences}
        return review | {"status": good if user else {"authenticated": False, "error": "unknown token"}}

    def _note(self, request: web.Request) -> None:
        if request.path.endswith("/secrets"):
            self.asked.append({"path": request.path, **request.query})

    def _judge(self, review: Json) -> Json:
        asked = review["spec"]["resourceAttributes"]
        assert (asked["verb"], asked["resource"]) == ("get", "secrets")
        having = {"": self.readers, "served": self.served}[asked.get("subresource", "")]
        allowed = (review["spec"]["user"], asked["namespace"]) in having
        return review | {"status": {"allowed": allowed}}

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        self.watching += 1
        try:
            return await self._watched(request)
        finally:
            self.watching -= 1

    async def _watched(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        since, seen = int(request.query["resourceVersion"]), 0
        while True:
            waiting = self.changed
            for event, path, obj in self.history[seen:]:
                if int(obj["metadata"]["resourceVersion"]) > since and _within(request.path, path, request):
                    await answer.write(json.dumps({"type": event, "object": obj}).encode() + b"\n")
            seen = len(self.history)
            await waiting.wait()


def _within(collection: str, path: str, request: web.Request) -> bool:
    """Whether an object's path lies in a collection of all namespaces, and its name is the one asked for."""
    root, _, plural = collection.rpartition("/")
    *_, kind, name = path.split("/")
    wanted = request.query.get("fieldSelector", "").removeprefix("metadata.name=")
    return path.startswith(f"{root}/") and kind == plural and wanted in {"", name}


def _merged(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    base = target if isinstance(target, dict) else {}
    kept = {key: value for key, value in base.items() if key not in patch}
    return kept | {key: _merged(base.get(key), value) for key, value in patch.items() if value is not None}


def _status(code: int, reason: str) -> web.Response:
    return web.json_response({"kind": "Status", "code": code, "reason": reason, "message": reason}, status=code)
