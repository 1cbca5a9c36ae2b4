"""metrics.k8s.io over HTTP: every answer is made of what the kubelets say at that moment."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from weft.cluster.apiserver import errors, tables, usage, versions
from weft.cluster.apiserver.cluster import Call, Cluster, Obj
from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.kubelets import Kubelets
from weft.cluster.apiserver.reading import Selection
from weft.cluster.apiserver.rest import bodies
from weft.cluster.apiserver.scheme import resource_of
from weft.cluster.apiserver.selectors import parse_fields, parse_labels

_log = logging.getLogger(__name__)
_SECONDS = 5.0
"""How long a kubelet may take; a node whose kubelet is silent is left out."""


@dataclass(frozen=True, slots=True)
class Usage:
    """GET of nodes and pods of metrics.k8s.io."""

    cluster: Cluster
    kubelets: Kubelets

    async def handle(self, request: web.Request, call: Call) -> web.Response:
        """One object, or those that the query's selectors mean."""
        if request.method not in {"GET", "HEAD"}:
            raise errors.method_not_allowed(call.kind)
        items = await self._measured(call.kind, self._chosen(request.query, call))
        if call.name and not items:
            raise usage.not_found(call.kind, call.namespace, call.name)
        form = bodies.wanted(request.headers.get("Accept", ""), request.query)
        if form.table:
            now = self.cluster.world.now()
            return bodies.answer(tables.table(call.kind, items, now, None, form.include, form.version))
        if call.name:
            return bodies.answer(items[0])
        head = {"kind": f"{call.kind.kind}List", "apiVersion": call.kind.api_version, "metadata": {}}
        return bodies.answer({**head, "items": items})

    def _chosen(self, query: Mapping[str, str], call: Call) -> list[Obj]:
        """The nodes or pods whose use is wanted."""
        known = self.cluster.scheme.find("", "v1", call.kind.plural)
        if known is None:
            raise errors.no_such_path()
        labels = parse_labels(query.get("labelSelector", ""))
        asked = f"metadata.name={call.name}" if call.name else query.get("fieldSelector", "")
        selection = Selection(known, call.namespace, labels, parse_fields(asked, known.plural))
        rows = self.cluster.store.rows(resource_of(known), call.namespace)
        return [versions.from_stored(known, row.decode()) for row in rows if selection.takes(row)]

    async def _measured(self, kind: Kind, objects: list[Obj]) -> list[Obj]:
        of_nodes = kind.plural == "nodes"
        names = {obj["metadata"]["name"] if of_nodes else obj["spec"].get("nodeName") for obj in objects}
        uses = await self._uses(name for name in names if name)
        return (usage.nodes if of_nodes else usage.pods)(objects, uses, self.cluster.world.now())

    async def _uses(self, nodes: Iterable[str]) -> dict[str, Obj]:
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
            found = await asyncio.gather(*(self._use(session, node) for node in nodes))
        return {name: use for name, use in found if use is not None}

    async def _use(self, session: aiohttp.ClientSession, node: str) -> tuple[str, Obj | None]:
        try:
            target = self.kubelets.of_node(node, "resourceUse")
            async with session.get(target.url, ssl=target.ssl or True) as answer:
                answer.raise_for_status()
                use: Obj = await answer.json()
                return node, use
        except (aiohttp.ClientError, errors.StatusError, OSError, TimeoutError, ValueError) as error:
            _log.info("what node %s uses is not known: %s", node, error or type(error).__name__)
            return node, None
