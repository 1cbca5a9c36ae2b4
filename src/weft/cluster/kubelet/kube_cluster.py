"""The cluster as a kubelet needs it, by the Kubernetes API."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import aiohttp

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import CONFIGMAPS, EVENTS, PODS, SECRETS, SERVICES, Kind
from weft.adapters.kube.reflector import Applied, Change, Deleted, Replaced
from weft.cluster.kubelet.objects import CLAIM, VOLUME, ConfigError, Objects, Reference
from weft.cluster.kubelet.station import ClusterError, Issued, Json, Pod
from weft.cluster.kubelet.volumes import Token

_log = logging.getLogger(__name__)
_CLAIMS = Kind("", "v1", CLAIM, "persistentvolumeclaims")
_VOLUMES = Kind("", "v1", VOLUME, "persistentvolumes", namespaced=False)
_CLASSES = Kind("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses", namespaced=False)
_KINDS = {"ConfigMap": CONFIGMAPS, "Secret": SECRETS, CLAIM: _CLAIMS}
_FIRST = 10.0  # seconds for an object's first state to come
_TROUBLE = (ApiError, aiohttp.ClientError, OSError, TimeoutError)


@dataclass(slots=True)
class _Followed:
    task: asyncio.Task[None]
    known: asyncio.Event = field(default_factory=asyncio.Event)
    value: Json | None = None
    callbacks: list[Callable[[], None]] = field(default_factory=list)


class KubeCluster:
    """See `station.Cluster`. Objects that several pods use are followed once."""

    def __init__(self, kube: Kube, clock: Callable[[], float]) -> None:
        self._kube, self._clock = kube, clock
        self._followed: dict[Reference, _Followed] = {}

    async def patch_status(self, pod: Pod, patch: Json) -> None:
        """Merge into the pod's status; a pod that is gone is no error."""
        metadata = pod["metadata"]
        # the uid makes the server refuse it for a later pod of the same name
        body = {"metadata": {"uid": metadata["uid"]}, "status": patch}
        with _told(ignored=(404, 409)):
            await self._kube.patch(PODS, metadata["name"], body, metadata["namespace"], subresource="status")

    async def remove(self, pod: Pod) -> None:
        """Delete the pod's object for good, if it is still the same pod."""
        metadata = pod["metadata"]
        with _told(ignored=(404, 409)):
            await self._kube.delete(PODS, metadata["name"], metadata["namespace"], uid=metadata["uid"], grace=0)

    async def issue(self, pod: Pod, token: Token) -> Issued:
        """A token of the pod's service account, bound to the pod."""
        metadata = pod["metadata"]
        account = pod["spec"].get("serviceAccountName") or "default"
        reference = {"kind": "Pod", "apiVersion": "v1", "name": metadata["name"], "uid": metadata["uid"]}
        spec: Json = {"expirationSeconds": token.seconds, "boundObjectRef": reference}
        if token.audience:
            spec["audiences"] = [token.audience]
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        path = f"/api/v1/namespaces/{metadata['namespace']}/serviceaccounts/{account}/token"
        with _told():
            status = (await self._kube.post(path, body))["status"]
        ends = datetime.fromisoformat(status["expirationTimestamp"]).timestamp()
        return Issued(status["token"], self._clock(), ends)

    async def services(self, namespace: str) -> Sequence[Json]:
        """The services of a namespace."""
        with _told():
            return await self._kube.list(SERVICES, namespace)

    async def runtime_handler(self, name: str) -> str:
        """The handler that a RuntimeClass names; ConfigError where there is no such class."""
        with _told(ignored=(404,)):
            return str((await self._kube.get(_CLASSES, name))["handler"])
        raise ConfigError(f'runtimeclass.node.k8s.io "{name}" not found')

    def follow(self, reference: Reference, changed: Callable[[], None]) -> None:
        """Call `changed` whenever the object appears, changes or goes."""
        if reference not in self._followed:
            task = asyncio.create_task(self._run(reference))
            self._followed[reference] = _Followed(task)
        self._followed[reference].callbacks.append(changed)

    def unfollow(self, reference: Reference, changed: Callable[[], None]) -> None:
        """Stop what `follow` began."""
        followed = self._followed[reference]
        followed.callbacks.remove(changed)
        if not followed.callbacks:
            del self._followed[reference]
            followed.task.cancel()

    async def objects(self, references: frozenset[Reference]) -> Objects:
        """Followed objects as they are now, and with a bound claim its volume."""
        found: dict[Reference, Mapping[str, Any]] = {}
        try:
            async with asyncio.timeout(_FIRST):
                for reference in references:
                    followed = self._followed[reference]
                    await followed.known.wait()
                    if followed.value is not None:
                        found[reference] = followed.value
        except (TimeoutError, KeyError) as error:
            raise ClusterError(f"the API server does not answer about {error or 'objects'}") from error
        claims = [value for reference, value in found.items() if reference.kind == CLAIM]
        for name in {str(claim["spec"].get("volumeName") or "") for claim in claims} - {""}:
            with _told(ignored=(404,)):
                found[Reference(VOLUME, "", name)] = await self._kube.get(_VOLUMES, name)
        return Objects(found)

    async def write_event(self, event: Json, fresh: bool) -> None:  # noqa: FBT001, the recorder's callback
        """Write an event, or count it up. Events are best effort: what fails is dropped."""
        metadata = event["metadata"]
        try:
            if fresh:
                await self._kube.create(EVENTS, event)
            else:
                patch = {"count": event["count"], "lastTimestamp": event["lastTimestamp"]}
                await self._kube.patch(EVENTS, metadata["name"], patch, metadata["namespace"])
        except _TROUBLE as error:
            _log.info("event %s dropped: %s", metadata["name"], error)

    async def _run(self, reference: Reference) -> None:
        changes: AsyncIterator[Change[Json]] = self._kube.reflect(
            _KINDS[reference.kind], namespace=reference.namespace, fields=f"metadata.name={reference.name}"
        )
        async for change in changes:
            followed = self._followed[reference]
            match change:
                case Replaced(objects):
                    value = objects[0] if objects else None
                case Applied(applied):
                    value = applied
                case Deleted():
                    value = None
            # items of a list do not name their kind
            value = None if value is None else {**value, "kind": reference.kind}
            news = followed.known.is_set() and value != followed.value
            followed.value = value
            followed.known.set()
            if news:
                for callback in list(followed.callbacks):
                    callback()


@contextmanager
def _told(ignored: Sequence[int] = ()) -> Iterator[None]:
    """Turn what the API server or the way to it says into ClusterError."""
    try:
        yield
    except ApiError as error:
        if error.code not in ignored:
            raise ClusterError(f"the API server: {error}") from error
    except _TROUBLE as error:
        raise ClusterError(f"the API server cannot be reached: {error}") from error
