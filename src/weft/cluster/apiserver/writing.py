"""Creating and updating objects: from what a client sent to what is stored."""

import copy
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from weft.cluster.apiserver import crds, errors, forms, podchanges, strategies
from weft.cluster.apiserver.admission.attributes import Attributes
from weft.cluster.apiserver.admission.chain import Admission
from weft.cluster.apiserver.cluster import Call, Cluster, Obj
from weft.cluster.apiserver.conversion import Conversion
from weft.cluster.apiserver.patches.ownership import Grammar, Writer, track
from weft.cluster.apiserver.store import ConflictError, ExistsError, MissingError, Row

_TRIES = 8
_ELSEWHERE = "the namespace of the provided object does not match the namespace sent on the request"
Change = Callable[[Obj], Obj]


@dataclass(frozen=True, slots=True)
class Writing:
    """The verbs create and update (a patch is an update), with admission and validation."""

    cluster: Cluster
    admission: Admission
    conversion: Conversion

    async def create(self, call: Call, body: Obj, *, owned: bool = False) -> Obj:
        """Store a new object and return it. `owned`: managedFields are set already (server-side apply)."""
        obj = forms.clean(call, forms.typed(copy.deepcopy(body), call.kind), self.cluster.scheme)
        self._named(call, obj)
        meta = obj["metadata"]
        custom = self.cluster.scheme.custom(call.kind)
        if custom is not None and custom.ending:
            why = "create not allowed while custom resource definition is terminating"
            raise errors.StatusError(405, "MethodNotAllowed", why)
        self.admission.namespace(call, meta["name"])
        self._born(obj)
        forms.fill(call.kind, obj, self.cluster.scheme)
        attributes = Attributes(call, "CREATE", obj)
        await self.admission.mutate(attributes)
        obj = attributes.obj or obj
        if call.kind.namespaced and obj["metadata"].get("namespace") != call.namespace:
            raise errors.bad_request(_ELSEWHERE)
        forms.fill(call.kind, obj, self.cluster.scheme)
        strategies.prepare_create(call.kind, obj, self.cluster.scheme, self.cluster.world.stamp())
        forms.check(call, obj, self.cluster.scheme)
        call.warnings += forms.cautions(call.kind, obj, self.cluster.scheme)
        await self.admission.validate(attributes)
        if not owned:
            track(obj, None, self._writer(call), Grammar.of(call.kind, self.cluster.scheme))
        return await self._store_new(call, obj)

    def _named(self, call: Call, obj: Obj) -> None:
        meta = obj["metadata"]
        if call.kind.namespaced:
            if meta.get("namespace", call.namespace) != call.namespace:
                raise errors.bad_request(_ELSEWHERE)
            meta["namespace"] = call.namespace
        else:
            meta.pop("namespace", None)
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = str(meta["generateName"])[:58] + self.cluster.world.suffix()
        elif not meta.get("name"):
            raise errors.invalid(
                call.kind, "", [errors.required("metadata.name", "name or generateName is required")]
            )
        if call.name and meta["name"] != call.name:
            raise errors.bad_request("the name of the object does not match the name on the URL")
        if meta.get("resourceVersion"):
            said = "resourceVersion should not be set on objects to be created"
            raise errors.StatusError(500, "", said)  # as Kubernetes has it, without a reason

    def _born(self, obj: Obj) -> None:
        meta = obj["metadata"]
        for name in (
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "selfLink",
            "generation",
            "resourceVersion",
        ):
            meta.pop(name, None)
        meta["uid"] = self.cluster.world.uid()
        meta["creationTimestamp"] = self.cluster.world.stamp()

    async def _store_new(self, call: Call, obj: Obj) -> Obj:
        name = obj["metadata"]["name"]
        key = call.key()._replace(name=name)
        if self.cluster.store.get(key):
            raise errors.already_exists(call.kind, name)
        async with self.admission.quota.counted(call, obj), self._addressed(call, obj):
            if call.dry_run:
                return obj
            try:
                row = await self.cluster.store.create(key, await self.conversion.stored(call.kind, obj))
            except ExistsError:
                raise errors.already_exists(call.kind, name) from None
        self.settled(row)
        return await self.conversion.shown(call.kind, row)

    @asynccontextmanager
    async def _addressed(self, call: Call, obj: Obj) -> AsyncIterator[None]:
        """Give a Service its addresses; whatever comes of the write, it holds in the end what is stored."""
        if (call.kind.group, call.kind.plural) != ("", "services") or call.subresource:
            yield
            return
        meta, addresses = obj["metadata"], self.cluster.addresses
        try:
            if refused := addresses.allocate(obj):
                raise errors.invalid(call.kind, meta["name"], refused)
            yield
        finally:
            # another write of this Service may be under way, with addresses of its own
            await self.cluster.store.settled(call.key()._replace(name=meta["name"]))
            stored = self.cluster.core("services", meta["namespace"], meta["name"])
            addresses.settle((meta["namespace"], meta["name"]), stored)

    async def update(self, call: Call, change: Change, *, owned: bool = False) -> Obj:
        """Change an object and return it; `change` gets a copy of the present one, in the version of the request.

        Tries again when somebody else wrote meanwhile, unless what `change` returns names the revision it expects.
        """
        for _ in range(_TRIES):
            row = self.cluster.store.get(call.key())
            if row is None:
                raise errors.not_found(call.kind, call.name)
            before = await self.conversion.shown(call.kind, row)
            body = forms.typed(change(copy.deepcopy(before)), call.kind)
            expected = str((body.get("metadata") or {}).get("resourceVersion") or "")
            if expected not in {"", str(row.revision), "0"}:
                # A write of this object may be under way that the client has seen already.
                await self.cluster.store.settled(call.key())
                latest = self.cluster.store.get(call.key())
                if latest is None or str(latest.revision) != expected:
                    raise errors.conflict(call.kind, call.name)
                continue
            obj = await self._prepared(call, body, before, owned=owned)
            if obj == before:
                return before
            try:
                return await self._store_changed(call, obj, row, before)
            except ConflictError:
                await self.cluster.store.settled(call.key())
            except MissingError:
                raise errors.not_found(call.kind, call.name) from None
        raise errors.conflict(call.kind, call.name)

    async def _prepared(self, call: Call, body: Obj, before: Obj, *, owned: bool) -> Obj:
        kind, scheme = call.kind, self.cluster.scheme
        obj = forms.clean(call, forms.typed(body, kind), scheme)
        self._same(call, obj, before)
        if call.subresource in {"", "scale", "ephemeralcontainers", "resize"}:
            forms.fill(kind, obj, scheme)
        strategies.prepare_update(kind, obj, before, call.subresource)
        attributes = Attributes(call, "UPDATE", obj, before)
        await self.admission.mutate(attributes)
        obj = attributes.obj or obj
        self._same(call, obj, before)
        strategies.prepare_update(kind, obj, before, call.subresource)
        obj["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"]
        if (kind.group, kind.plural) == crds.RESOURCE and not call.subresource and crds.sound(obj):
            crds.accept(obj, scheme, self.cluster.world.stamp())
        if call.subresource in {"ephemeralcontainers", "resize"}:
            self._check_part(call, obj, before)
        elif call.subresource not in {"binding", "finalize"}:
            forms.check(call, obj, scheme, before, status=call.subresource == "status")
        if call.subresource == "ephemeralcontainers":
            forms.check_debugging(kind, obj, before)
        if not call.subresource:
            call.warnings += forms.cautions(kind, obj, scheme, before)
        await self.admission.validate(attributes)
        # which node a pod goes to is nothing that its user has changed
        if strategies.counts_generations(kind, scheme) and call.subresource != "binding":
            strategies.count_generation(obj, before)
        if not owned:
            self._track(call, obj, before)
        return obj

    def _check_part(self, call: Call, obj: Obj, before: Obj) -> None:
        if call.subresource == "resize":
            forms.check(call, obj, self.cluster.scheme)
        classes = strategies.qos_class(obj), strategies.qos_class(before)
        if found := podchanges.refused(obj, before, call.subresource, classes):
            raise errors.invalid(call.kind, call.name, found)

    def _track(self, call: Call, obj: Obj, before: Obj) -> None:
        sent = obj["metadata"].pop("managedFields", None)
        old = before["metadata"].get("managedFields")
        if sent and sent != old:
            obj["metadata"]["managedFields"] = sent  # a client that rewrites ownership (kubectl's migration)
            return
        if old is not None:
            obj["metadata"]["managedFields"] = old
        if sent == [] and old:
            obj["metadata"]["managedFields"] = []
        if obj != before:
            track(obj, before, self._writer(call), Grammar.of(call.kind, self.cluster.scheme))

    @staticmethod
    def _same(call: Call, obj: Obj, before: Obj) -> None:
        meta, old = obj["metadata"], before["metadata"]
        if meta.get("name", call.name) != call.name:
            raise errors.bad_request(
                f"the name of the object ({meta['name']}) does not match the name on the URL ({call.name})"
            )
        if meta.get("namespace", call.namespace) != call.namespace:
            raise errors.bad_request(_ELSEWHERE)
        if meta.get("uid", old["uid"]) != old["uid"]:
            raise errors.conflict(
                call.kind,
                call.name,
                f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {old['uid']}",
            )
        meta["name"] = call.name
        if call.namespace:
            meta["namespace"] = call.namespace

    async def _store_changed(self, call: Call, obj: Obj, row: Row, before: Obj) -> Obj:
        async with self.admission.quota.counted(call, obj, before), self._addressed(call, obj):
            if call.dry_run:
                return obj
            stored = await self.conversion.stored(call.kind, obj)
            if _may_go(call, obj):
                gone = await self.cluster.store.delete(call.key(), stored, row.revision)
                self._removed(gone)
                return await self.conversion.shown(call.kind, gone)
            new = await self.cluster.store.update(call.key(), stored, row.revision)
        self.settled(new)
        return await self.conversion.shown(call.kind, new)

    def _writer(self, call: Call) -> Writer:
        below = call.subresource if call.subresource in {"status", "scale"} else ""
        return Writer(call.manager, call.kind.api_version, below, self.cluster.world.stamp())

    def settled(self, row: Row) -> None:
        """What must be true before the client hears of its write."""
        self.admission.quota.touch(row.key.namespace)
        if row.key.resource == "apiextensions.k8s.io/customresourcedefinitions":
            self.serve(row.decode())

    def serve(self, crd: Obj) -> None:
        """Serve what a definition defines, as far as it is established."""
        versions = crds.versions(crd) if crds.established(crd) else []
        self.cluster.scheme.set_custom(crd["metadata"]["name"], versions)

    def _removed(self, row: Row) -> None:
        self.admission.quota.touch(row.key.namespace)
        if row.key.resource == "/services":
            self.cluster.addresses.settle((row.key.namespace, row.key.name), None)
        if row.key.resource == "apiextensions.k8s.io/customresourcedefinitions":
            self.cluster.scheme.remove_custom(row.key.name)

    async def remove(self, call: Call, obj: Obj, row: Row) -> Obj:
        """Take an object out of the store; `obj` is its last state. Raises as the store does."""
        gone = await self.cluster.store.delete(
            call.key(), await self.conversion.stored(call.kind, obj), row.revision
        )
        self._removed(gone)
        return await self.conversion.shown(call.kind, gone)


def _may_go(call: Call, obj: Obj) -> bool:
    """Whether an object that is being deleted has nothing left to wait for."""
    meta = obj["metadata"]
    if not meta.get("deletionTimestamp") or meta.get("finalizers"):
        return False
    match call.kind.group, call.kind.plural:
        case "", "namespaces":
            return not (obj.get("spec") or {}).get("finalizers")
        case "", "pods":
            return bool(meta.get("deletionGracePeriodSeconds") == 0)
        case _:
            return True
