"""What the cluster is told of the authority, kept true: the root in every namespace, the webhooks' caBundle."""

import asyncio
import base64
import logging
from collections.abc import Callable
from typing import Any

import aiohttp

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import CONFIGMAPS, MUTATINGWEBHOOKS, NAMESPACES, VALIDATINGWEBHOOKS, Kind
from weft.adapters.kube.reflector import Applied, Deleted, Replaced

ROOT = "istio-ca-root-cert"
KEY = "root-cert.pem"
_WEBHOOKS_OF = {"sidecar-injector", "istiod"}
_RETRY = 5.0

log = logging.getLogger("weft.trust")

Json = dict[str, Any]


class Trust:
    """Runs for ever. `roots` gives the PEM of now; `service` in `namespace` is what our webhooks are called by."""

    def __init__(self, kube: Kube, roots: Callable[[], str], *, service: str, namespace: str) -> None:
        self._kube, self._roots = kube, roots
        self._webhooks: dict[tuple[Kind, str], Json] = {}
        self._webhooks_due = asyncio.Event()
        self._service, self._namespace = service, namespace
        self._namespaces: set[str] = set()
        self._published: dict[str, str | None] = {}
        self._due: set[str] = set()
        self._wake = asyncio.Event()

    def changed(self) -> None:
        """The roots are others: bring them everywhere."""
        self._look_at(self._namespaces)
        self._webhooks_due.set()

    @property
    def is_everywhere(self) -> bool:
        """Whether all namespaces and webhooks have the roots of now."""
        roots = self._roots()
        known = all(self._published.get(namespace) == roots for namespace in self._namespaces)
        return known and not any(self._patch(one) for one in self._webhooks.values())

    async def run(self) -> None:
        """Watch and repair."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_namespaces())
            tasks.create_task(self._follow_roots())
            tasks.create_task(self._publish())
            tasks.create_task(self._repair())
            for kind in (MUTATINGWEBHOOKS, VALIDATINGWEBHOOKS):
                tasks.create_task(self._follow_webhooks(kind))

    # -- the root certificate, in a ConfigMap of every namespace --------------------------------------------------

    async def _follow_namespaces(self) -> None:
        changes: Any = self._kube.reflect(NAMESPACES)
        async for change in changes:
            match change:
                case Replaced(objects):
                    self._namespaces = {_name(one) for one in objects if _is_active(one)}
                    self._look_at(self._namespaces)
                case Applied(one) if _is_active(one):
                    self._namespaces.add(_name(one))
                    self._look_at({_name(one)})
                case Applied(one) | Deleted(one):
                    self._namespaces.discard(_name(one))

    async def _follow_roots(self) -> None:
        changes: Any = self._kube.reflect(CONFIGMAPS, fields=f"metadata.name={ROOT}")
        async for change in changes:
            match change:
                case Replaced(objects):
                    self._published = {_namespace(one): _root(one) for one in objects if _name(one) == ROOT}
                    self._look_at(self._namespaces)
                case Applied(one) if _name(one) == ROOT:
                    self._published[_namespace(one)] = _root(one)
                    self._look_at({_namespace(one)})
                case Deleted(one) if _name(one) == ROOT:
                    self._published.pop(_namespace(one), None)
                    self._look_at({_namespace(one)})

    def _look_at(self, namespaces: set[str]) -> None:
        self._due |= namespaces
        self._wake.set()

    async def _publish(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            due, self._due = self._due & self._namespaces, set()
            for namespace in sorted(due):
                roots = self._roots()
                if self._published.get(namespace) == roots:
                    continue
                try:
                    await self._write(namespace, roots)
                except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                    if not _is_going(error):
                        log.warning("cannot write the root certificate into namespace %s: %s", namespace, error)
                        asyncio.get_running_loop().call_later(_RETRY, self._look_at, {namespace})

    async def _write(self, namespace: str, roots: str) -> None:
        data = {"data": {KEY: roots}}
        if namespace in self._published:
            await self._kube.patch(CONFIGMAPS, ROOT, data, namespace)
        else:
            metadata = {"name": ROOT, "namespace": namespace, "labels": {"istio.io/config": "true"}}
            try:
                await self._kube.create(CONFIGMAPS, {"metadata": metadata, **data}, namespace)
            except ApiError as error:
                if error.code != 409 or error.reason != "AlreadyExists":
                    raise
                await self._kube.patch(CONFIGMAPS, ROOT, data, namespace)
        self._published[namespace] = roots

    # -- caBundle of the webhooks that call us --------------------------------------------------------------------

    async def _follow_webhooks(self, kind: Kind) -> None:
        changes: Any = self._kube.reflect(kind)
        async for change in changes:
            match change:
                case Replaced(objects):
                    known = {key: one for key, one in self._webhooks.items() if key[0] != kind}
                    self._webhooks = known | {(kind, _name(one)): one for one in objects}
                case Applied(one):
                    self._webhooks[kind, _name(one)] = one
                case Deleted(one):
                    self._webhooks.pop((kind, _name(one)), None)
            self._webhooks_due.set()

    async def _repair(self) -> None:
        while True:
            await self._webhooks_due.wait()
            self._webhooks_due.clear()
            for (kind, name), configuration in list(self._webhooks.items()):
                if patch := self._patch(configuration):
                    await self._give(kind, name, patch)

    async def _give(self, kind: Kind, name: str, patch: list[Json]) -> None:
        try:
            given: Json = await self._kube.patch(kind, name, patch, how="json")
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            if not _is_going(error):
                log.warning("cannot give %s %s our root certificate: %s", kind.kind, name, error)
                asyncio.get_running_loop().call_later(_RETRY, self._webhooks_due.set)
        else:
            log.info("gave %s %s our root certificate", kind.kind, name)
            if (kind, name) in self._webhooks:
                self._webhooks[kind, name] = given

    def _patch(self, configuration: Json) -> list[Json]:
        """A JSON patch that sets caBundle where it is not ours, empty if there is nothing to do."""
        bundle = base64.b64encode(self._roots().encode()).decode()
        if (configuration["metadata"].get("labels") or {}).get("app") not in _WEBHOOKS_OF:
            return []
        patch: list[Json] = []
        for index, webhook in enumerate(configuration.get("webhooks") or ()):
            target = webhook.get("clientConfig") or {}
            service = target.get("service") or {}
            ours = (service.get("namespace"), service.get("name")) == (self._namespace, self._service)
            if ours and target.get("caBundle") != bundle:
                # the test keeps a concurrent reordering from giving our bundle to another webhook
                patch += [
                    {"op": "test", "path": f"/webhooks/{index}/name", "value": webhook["name"]},
                    {"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": bundle},
                ]
        return patch


def _is_going(error: Exception) -> bool:
    """Whether the object, or the namespace around it, is on its way out: nothing to repair then."""
    if not isinstance(error, ApiError):
        return False
    return error.code == 404 or (error.code == 403 and "being terminated" in error.message)


def _is_active(namespace: Json) -> bool:
    return (namespace.get("status") or {}).get("phase") != "Terminating"


def _name(obj: Json) -> str:
    return str(obj["metadata"]["name"])


def _namespace(obj: Json) -> str:
    return str(obj["metadata"].get("namespace", ""))


def _root(config_map: Json) -> str | None:
    return (config_map.get("data") or {}).get(KEY)
