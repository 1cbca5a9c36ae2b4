"""Calling admission webhooks: `AdmissionReview` v1 over HTTPS, straight to a ready endpoint of the Service."""

import asyncio
import base64
import binascii
import json
import ssl
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec

from weft.cluster.apiserver import errors
from weft.cluster.apiserver.admission.attributes import Attributes
from weft.cluster.apiserver.admission.matching import Hook, hooks
from weft.cluster.apiserver.cluster import Cluster, Obj
from weft.cluster.apiserver.patches import json as json_patch

_CONTEXTS = 64


class CallError(Exception):
    """The webhook could not be asked; `failurePolicy` decides what follows."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a webhook is reached: `url` to connect to, `server_name` for its certificate, `shown` for messages."""

    url: str
    server_name: str
    shown: str


@dataclass(slots=True)
class Webhooks:
    """The caller of webhooks. `session` has no default timeout; each call brings its webhook's."""

    cluster: Cluster
    session: aiohttp.ClientSession
    _contexts: OrderedDict[str, ssl.SSLContext] = field(default_factory=OrderedDict)

    async def mutate(self, attributes: Attributes) -> bool:
        """Let each mutating webhook in turn change `attributes.obj`; says whether one did."""
        changed = False
        for hook in hooks(attributes, self.cluster, "mutating"):
            response = await self._ask(hook, attributes)
            if response and response.get("patch") and attributes.obj is not None:
                attributes.obj = self._patched(hook, attributes.obj, response)
                changed = True
        return changed

    async def validate(self, attributes: Attributes) -> None:
        """Ask all validating webhooks at once; the first refusal, by order of configuration, is raised."""
        calls = [self._ask(hook, attributes) for hook in hooks(attributes, self.cluster, "validating")]
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def _ask(self, hook: Hook, attributes: Attributes) -> Obj | None:
        """The response of a webhook that allows the request; None if it was out of reach and may be."""
        try:
            response = await self._call(hook, attributes)
        except CallError as error:
            if hook.webhook.get("failurePolicy", "Fail") == "Ignore":
                return None
            raise errors.internal(f'failed calling webhook "{hook.name}": {error}') from error
        attributes.call.warnings += [str(warning) for warning in response.get("warnings") or ()]
        if response.get("allowed") is not True:
            raise _denial(hook, response.get("status") or {})
        return response

    def _patched(self, hook: Hook, obj: Obj, response: Obj) -> Obj:
        try:
            operations = json.loads(base64.b64decode(response["patch"]))
            return json_patch.apply(obj, operations)
        except (errors.StatusError, ValueError, binascii.Error, TypeError) as error:
            raise errors.internal(
                f'admission webhook "{hook.name}" sent a patch that cannot be applied: {error}'
            ) from error

    async def _call(self, hook: Hook, attributes: Attributes) -> Obj:
        seconds = int(hook.webhook.get("timeoutSeconds", 10))
        config = hook.webhook.get("clientConfig") or {}
        target = resolve(config, self.cluster, seconds)
        uid = self.cluster.world.uid()
        try:
            async with asyncio.timeout(seconds):
                answer = await self._post(target, config, review(attributes, uid))
        except TimeoutError as error:
            raise CallError(f'failed to call webhook: Post "{target.shown}": context deadline exceeded') from error
        except (aiohttp.ClientError, OSError) as error:
            raise CallError(f'failed to call webhook: Post "{target.shown}": {error}') from error
        response = answer.get("response") if isinstance(answer, dict) else None
        if not isinstance(response, dict) or response.get("uid") != uid:
            raise CallError("webhook response is no AdmissionReview that answers the request's uid")
        return response

    async def _post(self, target: Target, config: Obj, body: Obj) -> Any:
        async with self.session.post(
            target.url,
            data=msgspec.json.encode(body),
            headers={"Content-Type": "application/json", "Accept": "application/json"},
            ssl=self._context(config.get("caBundle", "")),
            server_hostname=target.server_name or None,
            allow_redirects=False,
        ) as answer:
            content = await answer.read()
            if answer.status != 200:
                text = content[:200].decode(errors="replace").strip()
                raise CallError(f"failed to call webhook: the server answered {answer.status}: {text}")
            try:
                return msgspec.json.decode(content)
            except msgspec.DecodeError as error:
                raise CallError(f"the answer is not JSON: {error}") from error

    def _context(self, bundle: str) -> ssl.SSLContext:
        if bundle in self._contexts:
            self._contexts.move_to_end(bundle)
            return self._contexts[bundle]
        try:
            pem = base64.b64decode(bundle).decode() if bundle else None
            context = ssl.create_default_context(cadata=pem)
        except (ValueError, ssl.SSLError) as error:
            raise CallError(f"clientConfig.caBundle holds no usable certificates: {error}") from error
        self._contexts[bundle] = context
        if len(self._contexts) > _CONTEXTS:
            self._contexts.popitem(last=False)
        return context


def _denial(hook: Hook, status: Obj) -> errors.StatusError:
    """The refusal as users see it (`webhook/errors/statuserror.go`)."""
    prefix = f'admission webhook "{hook.name}" denied the request'
    why = status.get("message") or status.get("reason")
    message = f"{prefix}: {why}" if why else f"{prefix} without explanation"
    code = int(status.get("code") or 400)
    return errors.StatusError(
        max(code, 400),
        str(status.get("reason") or "BadRequest"),
        message,
        status.get("details") or {},
    )


def review(attributes: Attributes, uid: str) -> Obj:
    """The `AdmissionReview` to send."""
    call = attributes.call
    kind = {"group": call.kind.group, "version": call.kind.version, "kind": call.kind.kind}
    resource = {"group": call.kind.group, "version": call.kind.version, "resource": call.kind.plural}
    below = {"subResource": call.subresource, "requestSubResource": call.subresource} if call.subresource else {}
    request = {
        "uid": uid,
        "kind": kind,
        "resource": resource,
        "requestKind": kind,
        "requestResource": resource,
        **below,
        "name": attributes.name,
        **({"namespace": call.namespace} if call.namespace else {}),
        "operation": attributes.operation,
        "userInfo": call.user.info(),
        "object": attributes.obj,
        "oldObject": attributes.old,
        "dryRun": call.dry_run,
        "options": attributes.options or None,
    }
    return {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}


def resolve(config: Obj, cluster: Cluster, seconds: int) -> Target:
    """Where the webhook is. A Service is reached at one of its ready endpoints, as if through its address."""
    if url := config.get("url"):
        return Target(str(url), "", str(url))
    service = config["service"]
    name, namespace, port = service["name"], service["namespace"], service.get("port", 443)
    host = f"{name}.{namespace}.svc"
    path = "/" + str(service.get("path") or "").lstrip("/")
    shown = f"https://{host}:{port}{path}?timeout={seconds}s"
    found = cluster.core("services", namespace, name)
    if found is None:
        raise CallError(f'failed to call webhook: Post "{shown}": service "{name}" not found')
    entry = next((item for item in found["spec"].get("ports") or () if item.get("port") == port), None)
    if entry is None:
        raise CallError(f'failed to call webhook: Post "{shown}": service "{name}" has no port {port}')
    endpoints = _endpoints(cluster, namespace, name, entry.get("name", ""))
    if not endpoints:
        raise CallError(f'failed to call webhook: Post "{shown}": no endpoints available for service "{name}"')
    address, number = cluster.world.chance.choice(endpoints)
    return Target(f"https://{address}:{number}{path}?timeout={seconds}s", host, shown)


def _endpoints(cluster: Cluster, namespace: str, name: str, port: str) -> list[tuple[str, int]]:
    found = []
    for row in cluster.store.rows("discovery.k8s.io/endpointslices", namespace):
        piece = row.decode()
        if (piece["metadata"].get("labels") or {}).get("kubernetes.io/service-name") != name:
            continue
        ports = [
            item["port"] for item in piece.get("ports") or () if item.get("name", "") == port and item.get("port")
        ]
        for endpoint in piece.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready", True) and ports:
                found += [(address, ports[0]) for address in endpoint.get("addresses") or ()]
    return found
