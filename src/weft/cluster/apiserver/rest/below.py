"""Subresources over HTTP."""

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from weft.cluster.apiserver import errors, logs, reading, reviews, streams, subresources, tables
from weft.cluster.apiserver.admission import connections, noderestriction
from weft.cluster.apiserver.authorization import Authorization
from weft.cluster.apiserver.cluster import Call, Cluster, Obj
from weft.cluster.apiserver.deleting import Options
from weft.cluster.apiserver.evictions import Evictions
from weft.cluster.apiserver.kubelets import Kubelets
from weft.cluster.apiserver.patches import json as json_patch
from weft.cluster.apiserver.patches import merge
from weft.cluster.apiserver.patching import JSON
from weft.cluster.apiserver.rest import bodies
from weft.cluster.apiserver.rest.resources import Resources
from weft.cluster.apiserver.tokens import Tokens

_STREAMS = {"log": "containerLogs", "exec": "exec", "attach": "attach", "portforward": "portForward"}


@dataclass(frozen=True, slots=True)
class Subresources:
    """The handlers of what is below an object, and of reviews."""

    cluster: Cluster
    resources: Resources
    tokens: Tokens
    authorization: Authorization
    kubelets: Kubelets
    evictions: Evictions

    async def handle(self, request: web.Request, call: Call) -> web.StreamResponse:
        """Any method on a subresource that the kind has."""
        match request.method, call.subresource:
            case "GET", "status" | "ephemeralcontainers" | "resize" | "approval":
                return await self.resources.get(request, call)
            case "PUT", "status" | "ephemeralcontainers" | "resize" | "approval":
                return await self.resources.update(request, call)
            case "PATCH", "status" | "ephemeralcontainers" | "resize" | "approval":
                return await self.resources.patch(request, call)
            case _, "scale":
                return await self._scale(request, call)
            case "PUT" | "POST", "finalize":
                return await self._finalize(request, call)
            case "POST", "binding":
                return await self._bind(request, call)
            case "POST", "eviction":
                return await self._evict(request, call)
            case "POST", "token":
                return await self._token(request, call)
            case _:
                return await self._stream(request, call)

    async def _stream(self, request: web.Request, call: Call) -> web.StreamResponse:
        """What the pod's kubelet answers."""
        verb = _STREAMS.get(call.subresource)
        if verb is None or request.method not in {"GET", "POST"}:
            raise errors.method_not_allowed(call.kind)
        query = request.query
        pod = await self._object(call)
        if call.subresource != "log":
            await connections.admit(self.resources.writing.admission, call, query.items())
        target = self.kubelets.target(pod, verb, query.get("container", ""), query.items())
        return await (logs.relay if call.subresource == "log" else streams.handle)(request, target)

    async def _object(self, call: Call) -> Obj:
        row = reading.get(self.cluster, call.kind, call.namespace, call.name)
        return await self.resources.writing.conversion.shown(call.kind, row)

    async def _body(self, request: web.Request) -> Obj:
        body: Any = bodies.parse(await bodies.read(request), bodies.media_type(request))
        if not isinstance(body, dict):
            raise errors.bad_request("the body must be an object")
        for name in ("metadata", "spec", "target"):
            if not isinstance(body.get(name) or {}, dict):
                raise errors.bad_request(f"{name} must be an object")
        return body

    async def _scale(self, request: web.Request, call: Call) -> web.StreamResponse:
        kind = call.kind
        if request.method == "GET":
            scale = subresources.scale_of(kind, await self._object(call), self.cluster)
            form = bodies.wanted(request.headers.get("Accept", ""), request.query)
            if not form.table:
                return bodies.answer(scale)
            now = self.cluster.world.now()
            return bodies.answer(tables.table(subresources.SCALE, [scale], now, None, form.include, form.version))
        media = bodies.media_type(request)
        patch: Any = bodies.parse(await bodies.read(request), media)
        if request.method == "PUT":
            change = subresources.scaled(kind, self.cluster, lambda _: patch)
        elif request.method == "PATCH" and media == JSON:
            change = subresources.scaled(kind, self.cluster, lambda scale: json_patch.apply(scale, patch))
        elif request.method == "PATCH":
            change = subresources.scaled(kind, self.cluster, lambda scale: merge.merge(scale, patch))
        else:
            raise errors.method_not_allowed(kind)
        obj = await self.resources.writing.update(call, change)
        return bodies.answer(subresources.scale_of(kind, obj, self.cluster), 200, call.warnings)

    async def _finalize(self, request: web.Request, call: Call) -> web.StreamResponse:
        body = await self._body(request)
        obj = await self.resources.writing.update(call, subresources.finalized(body))
        return bodies.answer(obj)

    async def _bind(self, request: web.Request, call: Call) -> web.StreamResponse:
        change = subresources.bound(await self._body(request), call.name, self.cluster.world.stamp())
        await self.resources.writing.update(call, change)
        return bodies.answer({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}, 201)

    async def _evict(self, request: web.Request, call: Call) -> web.StreamResponse:
        body = await self._body(request)
        if (body.get("metadata") or {}).get("name", call.name) != call.name:
            raise errors.bad_request("name in URL does not match name in Eviction object")
        given = body.get("deleteOptions")
        one = Call(call.kind, call.namespace, call.name, call.user)
        one.dry_run = call.dry_run or bool(isinstance(given, dict) and given.get("dryRun"))
        await self.evictions.evict(one, Options.read(given))
        return bodies.answer({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}, 201)

    async def _token(self, request: web.Request, call: Call) -> web.StreamResponse:
        body = await self._body(request)
        noderestriction.check_token(self.cluster, call, body)
        return bodies.answer(self.tokens.issue(await self._object(call), body), 201)

    async def review(self, request: web.Request, call: Call) -> web.StreamResponse:
        """POST of something that is answered at once and never stored."""
        body = await self._body(request)
        body = {**body, "apiVersion": call.kind.api_version, "kind": call.kind.kind}
        if call.kind.plural == "tokenreviews":
            return bodies.answer(reviews.token_review(body, self.tokens), 201)
        if call.kind.plural == "bindings":
            return await self._bind_by_name(body, call)
        return bodies.answer(reviews.REVIEWS[call.kind.plural](body, call, self.authorization), 201)

    async def _bind_by_name(self, body: Obj, call: Call) -> web.StreamResponse:
        pods = self.cluster.scheme.find("", "v1", "pods")
        name = str((body.get("metadata") or {}).get("name", ""))
        if pods is None or not name:
            raise errors.bad_request("metadata.name must name the pod to bind")
        one = Call(pods, call.namespace, name, call.user, subresource="binding", manager=call.manager)
        await self.resources.writing.update(one, subresources.bound(body, name, self.cluster.world.stamp()))
        return bodies.answer({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}, 201)
