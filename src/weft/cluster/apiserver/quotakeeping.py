"""The loop that keeps the status of ResourceQuotas."""

import asyncio
import logging

from weft.cluster.apiserver import amounts, errors, quotas
from weft.cluster.apiserver.cluster import Call, Cluster, Obj
from weft.cluster.apiserver.users import MASTERS, User
from weft.cluster.apiserver.writing import Writing

_log = logging.getLogger(__name__)
_CONTROLLER = User("system:serviceaccount:kube-system:resourcequota-controller", groups=(MASTERS,))
_PAUSE = 0.05
"""Seconds between two counts, so that a burst of pods is counted a few times only."""


async def run(cluster: Cluster, writing: Writing) -> None:
    """Count for ever, whenever something was written beside a quota."""
    gate = writing.admission.quota
    gate.touched |= {row.key.namespace for row in cluster.store.rows(quotas.QUOTAS)}
    while True:
        while gate.touched:
            await _count(cluster, writing, gate.touched.pop())
        gate.wake.clear()
        await gate.wake.wait()
        await asyncio.sleep(_PAUSE)


async def _count(cluster: Cluster, writing: Writing, namespace: str) -> None:
    for row in cluster.store.rows(quotas.QUOTAS, namespace):
        quota = row.decode()
        hard = (quota.get("spec") or {}).get("hard") or {}
        status = {"hard": hard, "used": amounts.written(quotas.used(cluster, quota))}
        if hard and quota.get("status") != status:
            await _write(cluster, writing, quota, status)


async def _write(cluster: Cluster, writing: Writing, quota: Obj, status: Obj) -> None:
    meta = quota["metadata"]
    kind = cluster.scheme.find("", "v1", "resourcequotas")
    if kind is None:
        raise LookupError("resourcequotas are missing from the catalog")
    call = Call(kind, meta["namespace"], meta["name"], _CONTROLLER, "status", manager="weft-apiserver")
    try:
        await writing.update(call, lambda before: {**before, "status": status})
    except errors.StatusError as error:
        _log.info("quota %s/%s is counted later: %s", meta["namespace"], meta["name"], error)
