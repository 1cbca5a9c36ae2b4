"""What the server does by itself: old events go, definitions take their objects, load balancers get addresses."""

import asyncio
import logging
from datetime import datetime, timedelta

from weft.cluster.apiserver import crds, errors, quotakeeping
from weft.cluster.apiserver.balancing import Balancing
from weft.cluster.apiserver.cluster import Call, Cluster, Obj
from weft.cluster.apiserver.deleting import Deleting, Options
from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.loadbalancers import Balancers
from weft.cluster.apiserver.scheme import resource_of
from weft.cluster.apiserver.store import CompactedError
from weft.cluster.apiserver.users import MASTERS, User
from weft.cluster.apiserver.world import read_stamp

_log = logging.getLogger(__name__)
EVENT_LIFE = timedelta(hours=1)
_LOOK = 60.0  # seconds between looks at the events
_RETRY = 0.5
_DEFINITIONS = "apiextensions.k8s.io/customresourcedefinitions"
_SERVER = User("system:apiserver", groups=(MASTERS,))


async def run(cluster: Cluster, deleting: Deleting, balancers: Balancers | None) -> None:
    """Keep house for ever. Without `balancers`, Services of type LoadBalancer stay pending."""
    async with asyncio.TaskGroup() as tasks:
        if balancers is not None:
            tasks.create_task(Balancing(cluster, deleting.writing, balancers).run())
        tasks.create_task(quotakeeping.run(cluster, deleting.writing))
        tasks.create_task(_events(cluster, deleting))
        tasks.create_task(_definitions(cluster, deleting))


async def _events(cluster: Cluster, deleting: Deleting) -> None:
    while True:
        await forget_events(cluster, deleting)
        await asyncio.sleep(_LOOK)


async def forget_events(cluster: Cluster, deleting: Deleting) -> None:
    """Delete events that nobody has written to for an hour."""
    kind = cluster.scheme.find("", "v1", "events")
    oldest = cluster.world.now() - EVENT_LIFE
    for row in cluster.store.rows("/events"):
        event = row.decode()
        if kind and _latest(event) < oldest:
            try:
                await deleting.delete(Call(kind, row.key.namespace, row.key.name, _SERVER), Options())
            except errors.StatusError as error:
                _log.info("event %s/%s stays for now: %s", row.key.namespace, row.key.name, error)


def _latest(event: Obj) -> datetime:
    """When the event was last seen; when it was written, where what it says of itself is no time."""
    try:
        repeated = (event.get("series") or {}).get("lastObservedTime")
        return read_stamp(repeated or event.get("lastTimestamp") or event.get("eventTime") or "")
    except (TypeError, ValueError):
        return read_stamp(event["metadata"]["creationTimestamp"])


async def _definitions(cluster: Cluster, deleting: Deleting) -> None:
    """Let definitions go with their objects, each in its own time: the objects of one may have finalizers."""
    going: dict[str, asyncio.Task[None]] = {}
    async with asyncio.TaskGroup() as tasks:
        while True:
            try:
                subscription = await cluster.store.subscribe(_DEFINITIONS, "", cluster.store.revision)
            except CompactedError:
                continue
            try:
                changed = [row.decode() for row in cluster.store.rows(_DEFINITIONS)]
                while True:
                    for crd in changed:
                        name = crd["metadata"]["uid"]
                        if _ends(crd) and (name not in going or going[name].done()):
                            going[name] = tasks.create_task(_clean(cluster, deleting, crd))
                    changes = await subscription.take()
                    gone = [change.row.key for change in changes if change.deleted]
                    for key in gone:
                        if cluster.store.get(key) is None:
                            cluster.scheme.remove_custom(key.name)
                    if gone:
                        await _accept_again(cluster, deleting)
                    changed = [change.row.decode() for change in changes if not change.deleted]
            except CompactedError:
                _log.warning("too many changes of definitions at once; looking at all of them")
            finally:
                cluster.store.unsubscribe(subscription)


def _ends(crd: Obj) -> bool:
    meta = crd["metadata"]
    return bool(meta.get("deletionTimestamp")) and crds.CLEANUP in (meta.get("finalizers") or ())


async def _accept_again(cluster: Cluster, deleting: Deleting) -> None:
    """Names that were taken may be free now."""
    group, plural = crds.RESOURCE
    kind = cluster.scheme.find(group, "v1", plural)
    for row in cluster.store.rows(_DEFINITIONS):
        if kind and not crds.established(row.decode()):
            call = Call(kind, "", row.key.name, _SERVER, manager="weft-apiserver", validation="Ignore")
            try:
                await deleting.writing.update(call, lambda before: before)
            except errors.StatusError as error:
                _log.info("definition %s stays as it is: %s", row.key.name, error)


async def _clean(cluster: Cluster, deleting: Deleting, crd: Obj) -> None:
    """Delete the objects of a definition that goes, then let it go."""
    meta = crd["metadata"]
    for version in crds.versions(crd, served=False):
        if version.kind.version == version.storage_version:  # so that no webhook has to convert them
            await _delete_all(cluster, deleting, version.kind)
    kind = cluster.scheme.find("apiextensions.k8s.io", "v1", "customresourcedefinitions")
    if kind is None:
        return

    def released(before: Obj) -> Obj:
        left = [name for name in before["metadata"].get("finalizers") or () if name != crds.CLEANUP]
        before["metadata"]["finalizers"] = left
        return before

    while cluster.row(kind, "", meta["name"]) is not None:
        try:
            await deleting.writing.update(
                Call(kind, "", meta["name"], _SERVER, manager="weft-apiserver"), released
            )
        except errors.StatusError as error:
            _log.info("definition %s stays for now: %s", meta["name"], error)
            await asyncio.sleep(_RETRY)
        else:
            return


async def _delete_all(cluster: Cluster, deleting: Deleting, kind: Kind) -> None:
    """Delete every object of a custom kind and wait until their finalizers are done."""
    while rows := cluster.store.rows(resource_of(kind)):
        for row in rows:
            try:
                await deleting.delete(Call(kind, row.key.namespace, row.key.name, _SERVER), Options())
            except errors.StatusError as error:
                _log.info("%s %s/%s stays for now: %s", kind.kind, row.key.namespace, row.key.name, error)
        if cluster.store.rows(resource_of(kind)):
            await asyncio.sleep(_RETRY)
