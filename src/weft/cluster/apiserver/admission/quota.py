"""Nothing beyond a namespace's quotas is stored (`plugin/resourcequota`), and their status tells what is used."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from weft.cluster.apiserver import amounts, errors, quotas
from weft.cluster.apiserver.cluster import Call, Cluster, Obj
from weft.cluster.apiserver.scheme import resource_of

_CHANGING = frozenset({("/services", ""), ("/persistentvolumeclaims", ""), ("/pods", "resize")})
"""Updates that may use more than before."""


@dataclass(slots=True)
class QuotaGate:
    """One write at a time passes in namespaces with quotas, so that two cannot both take what is left.

    `touched` gathers the namespaces whose quotas may have become untrue.
    """

    cluster: Cluster
    touched: set[str] = field(default_factory=set)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def touch(self, namespace: str) -> None:
        """Note that something in a namespace was written."""
        if namespace and self.cluster.store.rows(quotas.QUOTAS, namespace):
            self.touched.add(namespace)
            self.wake.set()

    @asynccontextmanager
    async def counted(self, call: Call, obj: Obj, before: Obj | None = None) -> AsyncIterator[None]:
        """Hold the turn while an object is stored; 403 where a quota does not allow it."""
        held = self._concerned(call, obj, before)
        if not held:
            yield
            return
        async with self._turn:
            self._check(call, obj, before, held)
            yield

    def _concerned(self, call: Call, obj: Obj, before: Obj | None) -> list[Obj]:
        """The quotas that count such an object, or want something of it."""
        resource = resource_of(call.kind)
        if not call.namespace:
            return []
        if before is not None and (resource, call.subresource) not in _CHANGING:
            return []
        every = [row.decode() for row in self.cluster.store.rows(quotas.QUOTAS, call.namespace)]
        counted = set(quotas.usage(resource, obj)) if every else set()
        return [one for one in every if resource == "/pods" or counted & set(quotas.hard(one))]

    def _check(self, call: Call, obj: Obj, before: Obj | None, held: list[Obj]) -> None:
        resource, name = resource_of(call.kind), str(obj["metadata"]["name"])
        wanted = quotas.usage(resource, obj)
        old = quotas.usage(resource, before) if before else {}
        more = {key: one.minus(old[key]) if key in old else one for key, one in wanted.items()}
        more = {key: one for key, one in more.items() if one.value > 0}
        for quota in held:
            bounds, title = quotas.hard(quota), quota["metadata"]["name"]
            if not quotas.covers(quota, resource, obj):
                continue
            if resource == "/pods" and (why := quotas.unspecified(quota, obj)):
                raise errors.forbidden(call.kind, name, f"failed quota: {title}: {why}")
            if not set(bounds) & set(more):
                continue
            used = quotas.used(self.cluster, quota)
            after = amounts.added(used, more)
            over = [key for key, bound in bounds.items() if key in more and after[key].value > bound.value]
            if over:
                raise errors.forbidden(
                    call.kind,
                    name,
                    f"exceeded quota: {title}, requested: {amounts.listed(more, over)},"
                    f" used: {amounts.listed(used, over)}, limited: {amounts.listed(bounds, over)}",
                )
