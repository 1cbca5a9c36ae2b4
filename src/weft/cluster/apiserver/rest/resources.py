"""The verbs of resources over HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast, get_args

import msgspec
from aiohttp import web

from weft.cluster.apiserver import errors, puts, reading, tables, watching
from weft.cluster.apiserver.cluster import Call, Cluster, Obj, Validation
from weft.cluster.apiserver.deleting import Deleting, Options
from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.patching import Patching
from weft.cluster.apiserver.paths import ResourcePath
from weft.cluster.apiserver.reading import Selection
from weft.cluster.apiserver.rest import bodies
from weft.cluster.apiserver.rest.connection import written
from weft.cluster.apiserver.selectors import parse_fields, parse_labels
from weft.cluster.apiserver.store import Row
from weft.cluster.apiserver.users import User
from weft.cluster.apiserver.watching import WatchOptions
from weft.cluster.apiserver.writing import Writing

_LONGEST_WATCH = 3600.0
_SHORTEST_DEFAULT = 1800.0
_OPTIONS = {"POST": "CreateOptions", "PUT": "UpdateOptions", "PATCH": "PatchOptions", "DELETE": "DeleteOptions"}


def truth(query: Mapping[str, str], name: str) -> bool:
    """Whether a query parameter is set to true."""
    return query.get(name, "") in {"true", "1"}


def number(query: Mapping[str, str], name: str) -> int:
    """A parameter that is a whole number; 0 where it is absent, 400 where it is none."""
    text = query.get(name) or "0"
    if not (text.isascii() and text.isdigit()):
        parsed = f'Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        what = f"invalid resource version: {name}" if name == "resourceVersion" else name
        raise errors.bad_request(f"{what}: {parsed}")
    if len(text) > 18:  # beyond this a number may not be an int64
        raise errors.bad_request(f'strconv.ParseInt: parsing "{text[:100]}": value out of range')
    return int(text)


def _match(query: Mapping[str, str]) -> str:
    """`resourceVersionMatch` of a list, or a refusal (`metainternalversion/validation`)."""
    match = query.get("resourceVersionMatch", "")
    where, found = "resourceVersionMatch", None
    revision = query.get("resourceVersion", "")
    if match and query.get("continue"):
        found = errors.forbidden_field(where, "resourceVersionMatch is forbidden when continue is provided")
    elif match and not revision:
        found = errors.forbidden_field(
            where, "resourceVersionMatch is forbidden unless resourceVersion is provided"
        )
    elif match not in {"", "Exact", "NotOlderThan"}:
        found = errors.unsupported(where, match, ("Exact", "NotOlderThan", ""))
    elif match == "Exact" and revision == "0":
        found = errors.forbidden_field(where, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')
    if found:
        raise errors.invalid_options("ListOptions", found)
    return match


def call_of(request: web.Request, path: ResourcePath, kind: Kind, user: User) -> Call:
    """The request as the inner parts see it."""
    query = request.query
    kind_of_options = _OPTIONS.get(request.method, "GetOptions")
    dry_run = query.getall("dryRun", [])
    if any(item != "All" for item in dry_run):
        raise errors.invalid_options(kind_of_options, errors.unsupported("dryRun", dry_run, ("All",)))
    validation = query.get("fieldValidation") or "Warn"
    if validation not in get_args(Validation):
        known = ("", "Ignore", "Strict", "Warn")
        raise errors.invalid_options(kind_of_options, errors.unsupported("fieldValidation", validation, known))
    agent = request.headers.get("User-Agent", "unknown").partition("/")[0][:128]
    return Call(
        kind=kind,
        namespace=path.namespace if kind.namespaced else "",
        name=path.name,
        user=user,
        subresource=path.subresource,
        dry_run=bool(dry_run),
        manager=query.get("fieldManager") or agent,
        validation=cast("Validation", validation),
        force=truth(query, "force"),
    )


def _partial(row: Row, version: str) -> Obj:
    """Nothing of an object but its metadata."""
    head = {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{version}"}
    return {**head, "metadata": row.decode()["metadata"]}


def _partial_rows(version: str) -> watching.Show:
    async def show(row: Row) -> bytes:
        return msgspec.json.encode(_partial(row, version))

    return show


@dataclass(frozen=True, slots=True)
class Resources:
    """The handlers of everything that is stored."""

    cluster: Cluster
    writing: Writing
    patching: Patching
    deleting: Deleting

    # ---- reading

    async def get(self, request: web.Request, call: Call) -> web.StreamResponse:
        """GET of one object."""
        revision, newest = number(request.query, "resourceVersion"), self.cluster.store.revision
        if revision > newest:
            raise reading.too_large(revision, newest)
        row = reading.get(self.cluster, call.kind, call.namespace, call.name)
        form = bodies.wanted(request.headers.get("Accept", ""), request.query)
        if form.table:
            page = reading.Page([row], row.revision)
            return bodies.answer(await self._table(call.kind, page, form))
        if form.partial:
            return bodies.answer(_partial(row, form.version))
        return bodies.answer(await self._raw(call.kind, row))

    async def _raw(self, kind: Kind, row: Row) -> bytes:
        return (await self.writing.conversion.raw(kind, [row]))[0]

    def selection(self, request: web.Request, call: Call) -> Selection:
        """Which objects the query's selectors mean."""
        custom = self.cluster.scheme.custom(call.kind)
        fields = parse_fields(
            request.query.get("fieldSelector", ""), call.kind.plural, custom.selectable if custom else ()
        )
        return Selection(call.kind, call.namespace, parse_labels(request.query.get("labelSelector", "")), fields)

    async def list(self, request: web.Request, call: Call) -> web.StreamResponse:
        """GET of a collection."""
        query = request.query
        if "sendInitialEvents" in query:
            why = "sendInitialEvents is forbidden for list"
            raise errors.invalid_options("ListOptions", errors.forbidden_field("sendInitialEvents", why))
        selection = self.selection(request, call)
        revision = number(query, "resourceVersion")
        exact = revision if _match(query) == "Exact" else 0
        if revision > self.cluster.store.revision:
            raise reading.too_large(revision, self.cluster.store.revision)
        page = await reading.page(
            self.cluster, selection, limit=number(query, "limit"), more=query.get("continue", ""), exact=exact
        )
        form = bodies.wanted(request.headers.get("Accept", ""), query)
        if form.table:
            return bodies.answer(await self._table(call.kind, page, form))
        if form.partial:
            items = [_partial(row, form.version) for row in page.rows]
            head = {"kind": "PartialObjectMetadataList", "apiVersion": f"meta.k8s.io/{form.version}"}
            return bodies.answer({**head, "metadata": page.metadata(), "items": items})
        return bodies.answer(await self._list_json(call.kind, page))

    async def _list_json(self, kind: Kind, page: reading.Page) -> bytes:
        return reading.list_json(kind, page, await self.writing.conversion.raw(kind, page.rows))

    async def _table(self, kind: Kind, page: reading.Page, form: bodies.Wanted) -> Obj:
        custom = self.cluster.scheme.custom(kind)
        objects = await self.writing.conversion.all_shown(kind, page.rows)
        result = tables.table(
            kind, objects, self.cluster.world.now(), custom.columns if custom else None, form.include, form.version
        )
        result["metadata"] = page.metadata()
        return result

    async def watch(self, request: web.Request, call: Call) -> web.StreamResponse:
        """GET with `watch=true`: a stream of events."""
        query = request.query
        selection = self.selection(request, call)
        if call.name:
            exact = parse_fields(f"metadata.name={call.name}", call.kind.plural)
            selection = Selection(call.kind, call.namespace, selection.labels, exact)
        since = number(query, "resourceVersion")
        initial = truth(query, "sendInitialEvents")
        if initial and query.get("resourceVersionMatch") != "NotOlderThan":
            found = errors.forbidden_field(
                "resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            )
            raise errors.invalid_options("ListOptions", found)
        if query.get("resourceVersionMatch") and "sendInitialEvents" not in query:
            why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            raise errors.invalid_options("ListOptions", errors.forbidden_field("resourceVersionMatch", why))
        seconds = number(query, "timeoutSeconds") or self._pace()
        options = WatchOptions(
            since=since or None,
            initial=initial,
            bookmarks=truth(query, "allowWatchBookmarks"),
            seconds=min(seconds, _LONGEST_WATCH),
        )
        form = bodies.wanted(request.headers.get("Accept", ""), query)
        show = self._table_rows(call.kind, form) if form.table else partial(self._raw, call.kind)
        if form.partial:
            show = _partial_rows(form.version)
        response = web.StreamResponse(
            headers={"Content-Type": "application/json", "Cache-Control": "no-cache, private"}
        )
        await response.prepare(request)
        try:
            async for lines in watching.watch(self.cluster, selection, options, show):
                await written(request, response, lines)
            await response.write_eof()
        except errors.StatusError as error:
            await response.write(watching.failure(error))  # the HTTP status has been sent long ago
        except ConnectionResetError:
            pass  # the client has gone; nobody is left to tell
        return response

    def _pace(self) -> float:
        # watches end at different moments, so that clients do not all come back at once
        return _SHORTEST_DEFAULT * (1 + self.cluster.world.chance.random())

    def _table_rows(self, kind: Kind, form: bodies.Wanted) -> watching.Show:
        headed = False

        async def show(row: Row) -> bytes:
            nonlocal headed
            table = await self._table(kind, reading.Page([row], row.revision), form)
            if headed:
                table["columnDefinitions"] = []  # kubectl keeps those of the first event
            headed = True
            return msgspec.json.encode(table)

        return show

    # ---- writing

    @staticmethod
    async def _body(request: web.Request, call: Call) -> Any:
        raw, media = await bodies.read(request), bodies.media_type(request)
        body = bodies.parse(raw, media, call.kind.kind)
        if call.validation != "Ignore" and "fieldValidation" in request.query:
            call.repeated = bodies.repeated(raw, media)
        return body

    async def create(self, request: web.Request, call: Call) -> web.StreamResponse:
        """POST to a collection."""
        body = await self._body(request, call)
        obj = await self.writing.create(call, body)
        return bodies.answer(obj, 201, call.warnings)

    async def update(self, request: web.Request, call: Call) -> web.StreamResponse:
        """PUT of one object, which creates it where Kubernetes allows that."""
        body = await self._body(request, call)
        if not isinstance(body, dict):
            raise errors.bad_request("the object provided is unrecognized (must be of type Object)")
        meta = body.get("metadata")
        revision = str((meta.get("resourceVersion") if isinstance(meta, dict) else "") or "0")
        if revision == "0" and reading.missing(self.cluster, call) and puts.may_create(call):
            puts.check_create(call, self.writing.admission.authorization)
            return bodies.answer(await self.writing.create(call, body), 201, call.warnings)
        if revision == "0" and not reading.missing(self.cluster, call):
            puts.need_revision(call, self.cluster.scheme)
        obj = await self.writing.update(call, lambda _: body)
        return bodies.answer(obj, 200, call.warnings)

    async def patch(self, request: web.Request, call: Call) -> web.StreamResponse:
        """PATCH of one object."""
        media = bodies.media_type(request)
        if "force" in request.query and not media.endswith("yaml"):
            why = "may not be specified for non-apply patch"
            raise errors.invalid_options("PatchOptions", errors.forbidden_field("force", why))
        patch = bodies.parse(await bodies.read(request), media)
        if media.endswith("yaml") and "fieldManager" not in request.query:
            call.manager = ""
        obj, created = await self.patching.patch(call, media, patch)
        return bodies.answer(obj, 201 if created else 200, call.warnings)

    async def options(self, request: web.Request, call: Call) -> Options:
        """The DeleteOptions of a body or the query."""
        raw = await bodies.read(request)
        given: Any = bodies.parse(raw, bodies.media_type(request)) if raw else {}
        if not isinstance(given, dict):
            raise errors.bad_request("DeleteOptions must be an object")
        query = request.query
        if "gracePeriodSeconds" in query:
            given["gracePeriodSeconds"] = number(query, "gracePeriodSeconds")
        if "propagationPolicy" in query:
            given["propagationPolicy"] = query["propagationPolicy"]
        if given.get("dryRun"):
            call.dry_run = True
        return Options.read(given)

    async def delete(self, request: web.Request, call: Call) -> web.StreamResponse:
        """DELETE of one object."""
        options = await self.options(request, call)
        obj, gone = await self.deleting.delete(call, options)
        if not gone or (call.kind.group, call.kind.plural) == ("", "pods"):
            return bodies.answer(obj, 200, call.warnings)
        kind = call.kind
        details = {"name": call.name, "group": kind.group, "kind": kind.plural, "uid": obj["metadata"]["uid"]}
        if not kind.group:
            del details["group"]
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return bodies.answer(status, 200, call.warnings)

    async def delete_all(self, request: web.Request, call: Call) -> web.StreamResponse:
        """DELETE of a collection: each object by itself; those that went meanwhile do not matter."""
        options = await self.options(request, call)
        page = await reading.page(self.cluster, self.selection(request, call))
        for row in page.rows:
            one = Call(call.kind, row.key.namespace, row.key.name, call.user, dry_run=call.dry_run)
            try:
                await self.deleting.delete(one, options)
            except errors.StatusError as error:
                if error.code != 404:
                    raise
        return bodies.answer(await self._list_json(call.kind, page), 200, call.warnings)
