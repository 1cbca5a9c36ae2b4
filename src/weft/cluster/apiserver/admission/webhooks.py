"""Calling admission webhooks: `AdmissionReview` v1 over HTTPS, straight to a ready endpoint of the Service."""

import asyncio
import base64
import binascii
import json
import ssl
from collections import OrderedDict
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import aiohttp
import msgspec

from weft.cluster.apiserver import backends, errors
from weft.cluster.apiserver.admission import answers
from weft.cluster.apiserver.admission.answers import CallError
from weft.cluster.apiserver.admission.attributes import Attributes
from weft.cluster.apiserver.admission.matching import Hook, hooks
from weft.cluster.apiserver.cluster import Cluster, Obj
from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.patches import json as json_patch

_CONTEXTS = 64
_VERSIONS = ("v1", "v1beta1")
HookKey = tuple[str, str]
"""A webhook's configuration and its name."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a webhook is reached: `url` to connect to, `server_name` for its certificate, `shown` for messages."""

    url: str
    server_name: str
    shown: str


@dataclass(slots=True)
class Mutated:
    """What mutating webhooks did. `willing` want to see what others change later, `again` are those who must."""

    changed: bool = False
    willing: set[HookKey] = field(default_factory=set)
    again: set[HookKey] = field(default_factory=set)


@dataclass(slots=True)
class Webhooks:
    """The caller of webhooks. `session` has no default timeout; each call brings its webhook's."""

    cluster: Cluster
    session: aiohttp.ClientSession
    _contexts: OrderedDict[str, ssl.SSLContext] = field(default_factory=OrderedDict)

    async def mutate(self, attributes: Attributes, only: AbstractSet[HookKey] | None = None) -> Mutated:
        """Let each mutating webhook in turn (of `only`, where given) change `attributes.obj`."""
        done = Mutated()
        for hook in hooks(attributes, self.cluster, "mutating"):
            if only is not None and hook.key not in only:
                continue
            response = await self._ask(hook, attributes)
            if response and response.get("patch") and self._changes(hook, attributes, response):
                done.changed = True
                done.again |= done.willing
            if hook.webhook.get("reinvocationPolicy") == "IfNeeded":
                done.willing.add(hook.key)
        return done

    def _changes(self, hook: Hook, attributes: Attributes, response: Obj) -> bool:
        _, before, _ = attributes.shown(hook.kind)
        if before is None:
            why = "admission webhook attempted to modify the object, which is not supported for this operation"
            raise errors.internal(why)
        after = self._patched(hook, before, response)
        if after == before:
            return False
        if attributes.operation != "CONNECT":
            after["apiVersion"] = attributes.call.kind.api_version
        attributes.obj = after
        return True

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
        if attributes.call.dry_run and hook.webhook.get("sideEffects") not in {"None", "NoneOnDryRun"}:
            raise errors.bad_request(f'admission webhook "{hook.name}" does not support dry run')
        seconds = int(hook.webhook.get("timeoutSeconds", 10))
        config = hook.webhook.get("clientConfig") or {}
        target = resolve(config, self.cluster, seconds)
        uid, version = self.cluster.world.uid(), _version(hook)
        try:
            async with asyncio.timeout(seconds):
                answer = await self._post(target, config, review(attributes, uid, hook.kind, version))
        except TimeoutError as error:
            raise CallError(f'failed to call webhook: Post "{target.shown}": context deadline exceeded') from error
        except (aiohttp.ClientError, OSError) as error:
            raise CallError(f'failed to call webhook: Post "{target.shown}": {answers.broken(error)}') from error
        return answers.response(answer, uid, version)

    async def _post(self, target: Target, config: Obj, body: Obj) -> bytes:
        async with self.session.post(
            target.url,
            data=msgspec.json.encode(body),
            headers={"Content-Type": "application/json", "Accept": "application/json"},
            ssl=self._context(config.get("caBundle", "")),
            server_hostname=target.server_name or None,
            allow_redirects=False,
        ) as answer:
            content = await answers.read(answer)
            if answer.status != 200:
                raise CallError(f"failed to call webhook: {answers.unwilling(answer.status, content)}")
            return content

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
        min(max(code, 400), 599),
        str(status.get("reason") or "BadRequest"),
        message,
        status.get("details") or {},
    )


def _version(hook: Hook) -> str:
    """The first version of AdmissionReview that the webhook and this server both know."""
    offered = hook.webhook.get("admissionReviewVersions") or ()
    if version := next((one for one in offered if one in _VERSIONS), ""):
        return version
    raise CallError(f"webhook does not accept known AdmissionReview versions ({', '.join(_VERSIONS)})")


def _described(kind: Kind, name: str) -> tuple[Obj, Obj]:
    plain = {"group": kind.group, "version": kind.version}
    return {**plain, "kind": name}, {**plain, "resource": kind.plural}


def review(attributes: Attributes, uid: str, seen: Kind, version: str = "v1") -> Obj:
    """The `AdmissionReview` to send; the object is shown as the kind's version that the webhook asks for."""
    call = attributes.call
    name, obj, old = attributes.shown(seen)
    kind, resource = _described(seen, name)
    asked_kind, asked_resource = _described(call.kind, name)
    below = {"subResource": call.subresource, "requestSubResource": call.subresource} if call.subresource else {}
    request = {
        "uid": uid,
        "kind": kind,
        "resource": resource,
        "requestKind": asked_kind,
        "requestResource": asked_resource,
        **below,
        "name": attributes.name,
        **({"namespace": call.namespace} if call.namespace else {}),
        "operation": attributes.operation,
        "userInfo": call.user.info(),
        "object": obj,
        "oldObject": old,
        "dryRun": call.dry_run,
        "options": attributes.options or None,
    }
    return {"kind": "AdmissionReview", "apiVersion": f"admission.k8s.io/{version}", "request": request}


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
    endpoints = backends.ready(cluster, namespace, name, entry.get("name", ""))
    if not endpoints:
        raise CallError(f'failed to call webhook: Post "{shown}": no endpoints available for service "{name}"')
    address, number = cluster.world.chance.choice(endpoints)
    return Target(f"https://{address}:{number}{path}?timeout={seconds}s", host, shown)
