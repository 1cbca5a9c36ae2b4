"""Calling admission webhooks: `AdmissionReview` v1 over HTTPS, straight to a ready endpoint of the Service."""

import asyncio
import base64
import binascii
import json
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from weft.cluster.apiserver import errors
from weft.cluster.apiserver.admission import answers
from weft.cluster.apiserver.admission.attributes import Attributes
from weft.cluster.apiserver.admission.conditions import Conditions, ConditionsError
from weft.cluster.apiserver.admission.matching import Hook, hooks
from weft.cluster.apiserver.admission.reviewing import review
from weft.cluster.apiserver.cluster import Cluster, Obj
from weft.cluster.apiserver.conversion import Conversion
from weft.cluster.apiserver.patches import json as json_patch
from weft.cluster.apiserver.webhookclient import Caller, CallError, resolve

_VERSIONS = ("v1", "v1beta1")
HookKey = tuple[str, str]
"""A webhook's configuration and its name."""


@dataclass(slots=True)
class Mutated:
    """What mutating webhooks did. `willing` want to see what others change later, `again` are those who must."""

    changed: bool = False
    willing: set[HookKey] = field(default_factory=set)
    again: set[HookKey] = field(default_factory=set)


@dataclass(slots=True)
class Webhooks:
    """The webhooks that admission asks."""

    cluster: Cluster
    caller: Caller
    conversion: Conversion

    async def mutate(self, attributes: Attributes, only: AbstractSet[HookKey] | None = None) -> Mutated:
        """Let each mutating webhook in turn (of `only`, where given) change `attributes.obj`."""
        done = Mutated()
        for hook in hooks(attributes, self.cluster, "mutating"):
            if only is not None and hook.key not in only:
                continue
            await self.conversion.show(attributes, hook.kind)
            if not self._meant(hook, attributes):
                continue
            response = await self._ask(hook, attributes)
            if response and response.get("patch") and await self._changes(hook, attributes, response):
                done.changed = True
                done.again |= done.willing
            if hook.webhook.get("reinvocationPolicy") == "IfNeeded":
                done.willing.add(hook.key)
        return done

    async def _changes(self, hook: Hook, attributes: Attributes, response: Obj) -> bool:
        _, before, _ = attributes.shown(hook.kind)
        if before is None:
            why = "admission webhook attempted to modify the object, which is not supported for this operation"
            raise errors.internal(why)
        after = self._patched(hook, before, response)
        if after == before:
            return False
        own = attributes.call.kind
        if attributes.operation != "CONNECT":
            after = await self.conversion.between(own, after) or after
        attributes.obj = after
        return True

    async def validate(self, attributes: Attributes) -> None:
        """Ask all validating webhooks at once; the first refusal, by order of configuration, is raised."""
        found = hooks(attributes, self.cluster, "validating")
        for hook in found:
            await self.conversion.show(attributes, hook.kind)
        meant = [hook for hook in found if self._meant(hook, attributes)]
        calls = [self._ask(hook, attributes) for hook in meant]
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    def _meant(self, hook: Hook, attributes: Attributes) -> bool:
        """Whether the webhook's match conditions hold. An error of one decides by the webhook's failurePolicy."""
        given = hook.webhook.get("matchConditions")
        if not given:
            return True
        try:
            return Conditions(self.cluster, attributes, hook.kind).hold(given)
        except ConditionsError as error:
            if hook.webhook.get("failurePolicy", "Fail") == "Ignore":
                return False
            raise errors.forbidden(attributes.call.kind, attributes.name, str(error)) from error

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
        target = resolve(config, self.cluster, seconds, "failed to call webhook: ")
        uid, version = self.cluster.world.uid(), _version(hook)
        body = review(attributes, uid, hook.kind, version)
        return answers.response(await self.caller.post(target, config, body, seconds), uid, version)


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
