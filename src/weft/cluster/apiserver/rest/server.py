"""The one handler of every request: who asks, may they, and which part answers."""

import asyncio
import logging
import re
import ssl
from collections.abc import Awaitable
from dataclasses import dataclass, field
from http import HTTPStatus

from aiohttp import web

from weft.cluster.apiserver import cautions, errors, paths, usage
from weft.cluster.apiserver.actions import Action
from weft.cluster.apiserver.admission import connections
from weft.cluster.apiserver.authentication import Authentication
from weft.cluster.apiserver.authorization import Authorization
from weft.cluster.apiserver.cluster import Call, Cluster
from weft.cluster.apiserver.history import StoreError
from weft.cluster.apiserver.impersonation import impersonated
from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.paths import ResourcePath
from weft.cluster.apiserver.rest import bodies, deadlines, metrics
from weft.cluster.apiserver.rest.about import About
from weft.cluster.apiserver.rest.below import Subresources
from weft.cluster.apiserver.rest.connection import malformed, plain
from weft.cluster.apiserver.rest.proxies import Proxies
from weft.cluster.apiserver.rest.resources import Resources, call_of, truth
from weft.cluster.apiserver.rest.usage import Usage
from weft.cluster.apiserver.users import User

_log = logging.getLogger(__name__)
_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_PATH_VERBS = {method: method.lower() for method in (*_VERBS, "OPTIONS")}
_BY_NAME = re.compile(r"^metadata\.name==?([^,!=]+)$")
_STREAMING = frozenset({"exec", "attach", "portforward"})
_LASTING = _STREAMING | {"proxy", "log"}


@dataclass(slots=True)
class Server:
    """Dispatches requests; `app()` is what an aiohttp runner serves."""

    cluster: Cluster
    authentication: Authentication
    authorization: Authorization
    resources: Resources
    below: Subresources
    about: About
    proxies: Proxies
    usage: Usage
    _watches: set[asyncio.Task[object]] = field(default_factory=set)

    def app(self) -> web.Application:
        """The application; it takes every path."""
        app = web.Application(client_max_size=bodies.LARGEST)
        app.router.add_route("*", "/{path:.*}", self.handle)
        app.on_response_prepare.append(_dressed)
        app.on_shutdown.append(self._end_watches)
        app.on_response_prepare.append(bodies.warn)
        return app

    async def _end_watches(self, _app: web.Application) -> None:
        for task in self._watches:
            task.cancel()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, and count it."""
        about, clock = self._about(request), asyncio.get_running_loop().time
        counts, begun, code = self.about.metrics, clock(), 0
        counts.begin(about)
        try:
            response = await self._told(request)
            code = response.status
            return response
        finally:
            counts.end(about, code, clock() - begun)

    def _about(self, request: web.Request) -> metrics.Request:
        path = paths.parse(request.path)
        kind = self.cluster.scheme.find(path.group, path.version, path.plural) if path else None
        if path is None or kind is None:
            return metrics.Request(request.method if request.method in _VERBS else "OTHER")
        verb = {"get": "GET", "create": "POST", "update": "PUT"}.get(
            asked := self._asked(request, path), asked.upper()
        )
        below = path.subresource if path.subresource in kind.subresources else ""
        scope = "resource" if path.name else "namespace" if path.namespace else "cluster"
        if below in _STREAMING or below in {"proxy", "log"}:
            verb = "CONNECT"
        return metrics.Request(verb, kind.group, kind.version, kind.plural, below, scope)

    def _asked(self, request: web.Request, path: ResourcePath) -> str:
        """The verb, as authorizers name it."""
        verb = _VERBS.get(request.method, "get")
        if verb == "get" and not path.name:
            return "watch" if self._watching(request, path) else "list"
        if verb == "delete" and not path.name:
            return "deletecollection"
        return "create" if path.subresource in _STREAMING else verb

    async def _told(self, request: web.Request) -> web.StreamResponse:
        """Whatever goes wrong becomes a Status, never the end of the process."""
        try:
            response = bodies.formed(request, await self._in_time(request))
        except errors.StatusError as error:
            response = bodies.answer(error.status(), error.code)
            if error.retry_after:
                response.headers["Retry-After"] = str(error.retry_after)
            response = bodies.formed(request, response)
        except StoreError as error:
            _log.error("%s %s failed: %s", request.method, request.path, error)
            response = bodies.answer(errors.internal(str(error)).status(), 500)
        except (asyncio.CancelledError, ConnectionError, web.HTTPException):
            raise
        except Exception:  # noqa: BLE001 - a request's trouble must not become the server's
            _log.exception("%s %s failed", request.method, request.path)
            response = bodies.answer(
                errors.internal("the server could not answer; its log says why").status(), 500
            )
        return response

    async def _in_time(self, request: web.Request) -> web.StreamResponse:
        """The answer, or 504 where what shall end takes too long: a client may send its body slowly."""
        if malformed(request.rel_url.raw_path):
            return plain(HTTPStatus.BAD_REQUEST)
        if self._lasts(request):
            return await self._answer(request)
        try:
            async with asyncio.timeout(deadlines.seconds(request.query)) as deadline:
                return await self._answer(request)
        except TimeoutError:
            if not deadline.expired():
                raise
            raise deadlines.passed() from None

    def _lasts(self, request: web.Request) -> bool:
        path = paths.parse(request.path)
        if path is None:
            return False
        return path.subresource in _LASTING or (not path.subresource and self._watching(request, path))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        user = self._user(request)
        path = paths.parse(request.path)
        if path is None or not path.plural:
            self._allow_path(request, user)
            found = self.about.handle(request)
            if found is not None:
                return found
            raise errors.no_such_path()
        return await self._resource(request, path, user)

    def _user(self, request: web.Request) -> User:
        transport = request.transport
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object") if transport else None
        certificate = tls.getpeercert() if tls else None
        encoded = tls.getpeercert(binary_form=True) if tls else None
        proof = request.headers.get("Authorization", "")
        user = self.authentication.user(certificate, proof, encoded or b"")
        if user is None:
            raise errors.StatusError(401, "Unauthorized", "Unauthorized")
        return impersonated(user, list(request.headers.items()), self.authorization)

    def _allow_path(self, request: web.Request, user: User) -> None:
        action = Action(verb=_PATH_VERBS.get(request.method, "get"), path=request.path)
        if not self.authorization.allows(user, action):
            raise errors.StatusError(403, "Forbidden", f"forbidden: {self.authorization.refused(user, action)}")

    async def _resource(self, request: web.Request, path: ResourcePath, user: User) -> web.StreamResponse:
        kind = self.cluster.scheme.find(path.group, path.version, path.plural)
        if kind is None or (path.namespace and not kind.namespaced and kind.plural != "namespaces"):
            raise errors.no_such_path()
        if path.subresource and path.subresource not in kind.subresources:
            raise errors.no_such_path()
        self._allow(request, path, kind, user)
        if path.subresource == "proxy":
            return await self._long(self._proxy(request, path, kind, user))
        call = call_of(request, path, kind, user)
        if kind.namespaced and not path.namespace and (path.name or request.method == "POST"):
            raise errors.no_such_path()
        if kind.verbs == ("create",):
            if request.method != "POST":
                raise errors.method_not_allowed(kind)
            return await self.below.review(request, call)
        if kind.group == usage.GROUP:
            return await self.usage.handle(request, call)
        custom = self.cluster.scheme.custom(kind)
        if why := custom.deprecation if custom else cautions.of_version(kind):
            request[bodies.WARNING] = why
        if call.subresource:
            return await self._below(request, call)
        return await self._verb(request, path, call)

    def _allow(self, request: web.Request, path: ResourcePath, kind: Kind, user: User) -> None:
        verb = self._asked(request, path)
        resource = f"{path.plural}/{path.subresource}" if path.subresource else path.plural
        name, fields = path.name, request.query.get("fieldSelector", "")
        if verb in {"list", "watch"} and not name and (only := _BY_NAME.match(fields)):
            name = only[1]  # who may read one object may follow it (RequestInfoFactory)
        action = Action(verb, path.group, resource, path.namespace, name, fields=fields)
        if not self.authorization.allows(user, action):
            raise errors.forbidden(kind, path.name, self.authorization.refused(user, action))

    async def _proxy(self, request: web.Request, path: ResourcePath, kind: Kind, user: User) -> web.StreamResponse:
        namespace = path.namespace if kind.namespaced else ""
        call = Call(kind, namespace, path.name, user, path.subresource)
        query = [("path", f"/{path.rest}")] if path.rest else []
        await connections.admit(self.resources.writing.admission, call, query)
        return await self.proxies.handle(request, path, kind)

    @staticmethod
    def _watching(request: web.Request, path: ResourcePath) -> bool:
        return path.deprecated_watch or truth(request.query, "watch")

    async def _below(self, request: web.Request, call: Call) -> web.StreamResponse:
        if call.subresource in _STREAMING or call.subresource == "log":
            return await self._long(self.below.handle(request, call))
        return await _whole(self.below.handle(request, call))

    async def _verb(self, request: web.Request, path: ResourcePath, call: Call) -> web.StreamResponse:
        resources = self.resources
        named = bool(call.name)
        match request.method, named:
            case "GET" | "HEAD", _ if self._watching(request, path):
                return await self._long(resources.watch(request, call))
            case "GET" | "HEAD", True:
                return await resources.get(request, call)
            case "GET" | "HEAD", False:
                return await resources.list(request, call)
            case "POST", False:
                return await _whole(resources.create(request, call))
            case "PUT", True:
                return await _whole(resources.update(request, call))
            case "PATCH", True:
                return await _whole(resources.patch(request, call))
            case "DELETE", True:
                return await _whole(resources.delete(request, call))
            case "DELETE", False:
                return await _whole(resources.delete_all(request, call))
            case _:
                raise errors.method_not_allowed(call.kind)

    async def _long(self, work: Awaitable[web.StreamResponse]) -> web.StreamResponse:
        """Run what may last for ever so that the server's end ends it."""
        task = asyncio.current_task()
        if task is None:
            return await work
        self._watches.add(task)
        try:
            return await work
        finally:
            self._watches.discard(task)


async def _whole(work: Awaitable[web.StreamResponse]) -> web.StreamResponse:
    """Finish a write although its client hangs up in the middle."""
    return await asyncio.shield(asyncio.ensure_future(work))


async def _dressed(_request: web.BaseRequest, response: web.StreamResponse) -> None:
    """No answer may be kept by a cache in between, nor tells what the server is made of."""
    response.headers.popall("Server", None)
    response.headers.setdefault("Cache-Control", "no-cache, private")
