"""Deleting objects: grace, finalizers, preconditions, propagation (`registry/generic/registry/store.go`)."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from weft.cluster.apiserver import crds, errors
from weft.cluster.apiserver.admission.attributes import Attributes
from weft.cluster.apiserver.cluster import Call, Cluster, Obj
from weft.cluster.apiserver.store import ConflictError, MissingError, Row
from weft.cluster.apiserver.world import read_stamp, stamp
from weft.cluster.apiserver.writing import Writing

_TRIES = 8
_FINALIZERS = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}


@dataclass(frozen=True, slots=True)
class Options:
    """What `DeleteOptions` ask for. `grace` is in seconds, None where not said."""

    grace: int | None = None
    propagation: str = ""
    uid: str = ""
    revision: str = ""

    @classmethod
    def read(cls, body: Any) -> "Options":
        """From a body or a query turned into one; 400 where it is malformed."""
        given = body if isinstance(body, dict) else {}
        grace = given.get("gracePeriodSeconds")
        if grace is not None and (isinstance(grace, bool) or not isinstance(grace, int) or grace < 0):
            raise errors.bad_request("gracePeriodSeconds must be a whole number of seconds that is not negative")
        propagation = given.get("propagationPolicy") or ("Orphan" if given.get("orphanDependents") is True else "")
        if propagation not in {"", "Background", "Foreground", "Orphan"}:
            known = ("Foreground", "Background", "Orphan", "nil")
            found = errors.unsupported("propagationPolicy", propagation, known)
            raise errors.invalid_options("DeleteOptions", found)
        preconditions = given.get("preconditions") or {}
        if not isinstance(preconditions, dict):
            raise errors.bad_request("preconditions must be an object with uid or resourceVersion")
        return cls(
            grace,
            propagation,
            str(preconditions.get("uid") or ""),
            str(preconditions.get("resourceVersion") or ""),
        )


@dataclass(frozen=True, slots=True)
class Deleting:
    """The verbs delete and deletecollection."""

    cluster: Cluster
    writing: Writing

    async def delete(self, call: Call, options: Options) -> tuple[Obj, bool]:
        """Begin or finish an object's deletion. Returns its state, and whether it is gone."""
        for _ in range(_TRIES):
            row = self.cluster.store.get(call.key())
            if row is None:
                raise errors.not_found(call.kind, call.name)
            obj = await self.writing.conversion.shown(call.kind, row)
            _preconditions(call, obj, options)
            raw_options = {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}
            attributes = Attributes(call, "DELETE", None, obj, raw_options)
            await self.writing.admission.mutate(attributes)
            await self.writing.admission.validate(attributes)
            going = self._marked(call, obj, options)
            if going is None:
                return obj, False
            if call.dry_run:
                return obj, not _waits(call, obj)
            try:
                if not _waits(call, going):
                    return await self.writing.remove(call, going, row), True
                return await self._mark(call, going, row), False
            except ConflictError:
                await self.cluster.store.settled(call.key())
            except MissingError:
                raise errors.not_found(call.kind, call.name) from None
        raise errors.conflict(call.kind, call.name)

    async def _mark(self, call: Call, going: Obj, row: Row) -> Obj:
        conversion = self.writing.conversion
        new = await self.cluster.store.update(call.key(), await conversion.stored(call.kind, going), row.revision)
        self.writing.settled(new)
        return await conversion.shown(call.kind, new)

    def _marked(self, call: Call, obj: Obj, options: Options) -> Obj | None:
        """The object with its deletion marked; None if it is marked and this asks for nothing sooner."""
        meta: Obj = dict(obj["metadata"])
        grace = _grace(call, obj, options)
        now = self.cluster.world.now()
        if meta.get("deletionTimestamp"):
            left = meta.get("deletionGracePeriodSeconds", 0)
            if grace >= left and _waits(call, obj):
                return None
            begun = read_stamp(meta["deletionTimestamp"]) - timedelta(seconds=left)
            meta["deletionTimestamp"] = stamp(begun + timedelta(seconds=grace))
        else:
            meta["deletionTimestamp"] = stamp(now + timedelta(seconds=grace))
            if meta.get("generation"):
                meta["generation"] += 1
            if finalizer := _FINALIZERS.get(options.propagation):
                meta["finalizers"] = sorted({*(meta.get("finalizers") or ()), finalizer})
        meta["deletionGracePeriodSeconds"] = grace
        going = {**obj, "metadata": meta}
        if (call.kind.group, call.kind.plural) == crds.RESOURCE and crds.sound(going):
            going["status"] = dict(going.get("status") or {})
            crds.accept(going, self.cluster.scheme, stamp(now))
        if (call.kind.group, call.kind.plural) == ("", "namespaces"):
            meta.pop("deletionGracePeriodSeconds")
            going["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
        return going


def _grace(call: Call, obj: Obj, options: Options) -> int:
    if (call.kind.group, call.kind.plural) != ("", "pods"):
        return 0
    spec = obj.get("spec") or {}
    ended = (obj.get("status") or {}).get("phase") in {"Succeeded", "Failed"}
    if not spec.get("nodeName") or ended:
        return 0  # no kubelet has to stop it (pod strategy, CheckGracefulDelete)
    grace = int(spec.get("terminationGracePeriodSeconds", 30) if options.grace is None else options.grace)
    return grace if grace >= 0 else 1  # as kubectl was warned when it made the pod


def _waits(call: Call, going: Obj) -> bool:
    meta = going["metadata"]
    if meta.get("finalizers"):
        return True
    if (call.kind.group, call.kind.plural) == ("", "namespaces"):
        return bool((going.get("spec") or {}).get("finalizers"))
    return bool(meta.get("deletionGracePeriodSeconds"))


def _preconditions(call: Call, obj: Obj, options: Options) -> None:
    meta = obj["metadata"]
    if options.uid and options.uid != meta["uid"]:
        raise errors.conflict(
            call.kind,
            call.name,
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({meta['uid']})."
            " The object might have been deleted and then recreated",
        )
    if options.revision and options.revision != meta["resourceVersion"]:
        raise errors.conflict(
            call.kind,
            call.name,
            f"the ResourceVersion in the precondition ({options.revision}) does not match the"
            f" ResourceVersion in record"
            f" ({meta['resourceVersion']}). The object might have been modified",
        )
