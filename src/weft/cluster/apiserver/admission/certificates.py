"""CertificateSigningRequests: who asked is written by the server, and only approvers approve.

Source: `registry/certificates`, `apis/certificates/validation`, `plugin/pkg/admission/certificates`.
"""

import base64
import binascii
import re
from collections.abc import Iterator

from weft.cluster.apiserver import errors
from weft.cluster.apiserver.actions import Action
from weft.cluster.apiserver.admission.attributes import Attributes
from weft.cluster.apiserver.authorization import Authorization
from weft.cluster.apiserver.cluster import Call, Obj
from weft.cluster.apiserver.errors import FieldError
from weft.cluster.apiserver.users import MASTERS
from weft.pki import signers
from weft.pki.request import RefusedError

_GROUP, _PLURAL = "certificates.k8s.io", "certificatesigningrequests"
_JUDGEMENTS = ("Approved", "Denied")
_SIGNER = re.compile(
    r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+/[A-Za-z0-9]([-A-Za-z0-9._]*)?"
)
_SHORTEST = 600


def concerns(call: Call) -> bool:
    """Whether a request is about a CertificateSigningRequest."""
    return (call.kind.group, call.kind.plural) == (_GROUP, _PLURAL)


def admit(attributes: Attributes, stamp: str) -> None:
    """Write, in place, what the client may not say: who asks, and when a judgement was made."""
    call, obj = attributes.call, attributes.obj
    if obj is None:
        return
    if attributes.operation == "CREATE":
        spec = obj.setdefault("spec", {})
        for name in ("username", "uid", "groups", "extra"):
            spec.pop(name, None)
        info = call.user.info()
        spec |= {name: value for name, value in info.items() if value}
        return
    before = attributes.old or {}
    known = (before.get("status") or {}).get("conditions") or []
    for one in (obj.get("status") or {}).get("conditions") or ():
        one.setdefault("status", "True")
        same: Obj = next((old for old in known if old["type"] == one.get("type")), {})
        if call.subresource == "approval" and one.get("type") in _JUDGEMENTS:
            one["lastUpdateTime"] = one.get("lastUpdateTime") or same.get("lastUpdateTime") or stamp
        if not one.get("lastTransitionTime"):
            one["lastTransitionTime"] = same.get("lastTransitionTime") or stamp


def check(attributes: Attributes, authorization: Authorization) -> None:
    """Refuse a malformed request, and what the user may not do with it."""
    call, obj, old = attributes.call, attributes.obj, attributes.old
    if obj is None:
        return
    found = (
        list(_new(obj)) if attributes.operation == "CREATE" else list(_changed(obj, old or {}, call.subresource))
    )
    if found:
        raise errors.invalid(call.kind, attributes.name, found)
    signer = str(obj["spec"].get("signerName", ""))
    if attributes.operation == "CREATE":
        _no_masters(attributes, signer)
    elif call.subresource == "approval":
        _must(attributes, authorization, "approve", signer)
    elif call.subresource == "status" and _signs(obj, old or {}):
        _must(attributes, authorization, "sign", signer)


def _no_masters(attributes: Attributes, signer: str) -> None:
    request = signers.read(base64.b64decode(str((attributes.obj or {})["spec"]["request"])))
    if signer == signers.CLIENT and MASTERS in signers.organizations(request):
        why = f"use of {signer} signer with {MASTERS} group is not allowed"
        raise errors.forbidden(attributes.call.kind, attributes.name, why)


def _signs(obj: Obj, old: Obj) -> bool:
    new, before = obj.get("status") or {}, old.get("status") or {}
    return new.get("certificate") != before.get("certificate") or _of(new, "Failed") != _of(before, "Failed")


def _must(attributes: Attributes, authorization: Authorization, verb: str, signer: str) -> None:
    names = (signer, f"{signer.partition('/')[0]}/*")
    user = attributes.call.user
    if not any(authorization.allows(user, Action(verb, _GROUP, "signers", name=name)) for name in names):
        why = f'user not permitted to {verb} requests with signerName "{signer}"'
        raise errors.forbidden(attributes.call.kind, attributes.name, why)


def _of(status: Obj, sort: str) -> list[Obj]:
    return [one for one in status.get("conditions") or () if one.get("type") == sort]


def _new(obj: Obj) -> Iterator[FieldError]:
    spec = obj.get("spec") or {}
    try:
        signers.read(base64.b64decode(str(spec.get("request") or ""), validate=True))
    except (RefusedError, binascii.Error) as error:
        yield errors.invalid_value("spec.request", spec.get("request", ""), str(error))
    usages = spec.get("usages") or []
    if not usages:
        yield errors.required("spec.usages")
    for index, usage in enumerate(usages):
        if usage in usages[:index]:
            yield errors.duplicate(f"spec.usages[{index}]", usage)
    signer = spec.get("signerName")
    if signer == "kubernetes.io/legacy-unknown":
        yield errors.invalid_value("spec.signerName", signer, "may not be set to kubernetes.io/legacy-unknown")
    elif not _SIGNER.fullmatch(str(signer or "")):
        why = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        yield errors.invalid_value("spec.signerName", signer or "", why)
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < _SHORTEST:
        why = "may not specify a duration less than 600 seconds (10 minutes)"
        yield errors.invalid_value("spec.expirationSeconds", seconds, why)


def _changed(obj: Obj, before: Obj, subresource: str) -> Iterator[FieldError]:
    status, old = obj.get("status") or {}, before.get("status") or {}
    yield from _sound(status.get("conditions") or [])
    for sort in (*_JUDGEMENTS, "Failed"):
        now, then = _of(status, sort), _of(old, sort)
        change = ""
        if len(now) < len(then):
            change = "remove"
        elif subresource != "approval" and sort in _JUDGEMENTS and now != then:
            change = "add" if len(now) > len(then) else "modify"
        if change:
            why = f'updates may not {change} a condition of type "{sort}"'
            yield errors.forbidden_field("status.conditions", why)
    if old.get("certificate") and status.get("certificate") != old["certificate"]:
        yield errors.forbidden_field("status.certificate", "updates may not modify existing certificate content")
    elif subresource != "status" and status.get("certificate") != old.get("certificate"):
        yield errors.forbidden_field("status.certificate", "updates may not set certificate content")


def _sound(conditions: list[Obj]) -> Iterator[FieldError]:
    seen: list[str] = []
    for index, one in enumerate(conditions):
        where, sort = f"status.conditions[{index}]", str(one.get("type", ""))
        if not sort:
            yield errors.required(f"{where}.type")
        elif sort in seen:
            yield errors.duplicate(f"{where}.type", sort)
        elif sort in _JUDGEMENTS and set(seen) & (set(_JUDGEMENTS) - {sort}):
            why = "Approved and Denied conditions are mutually exclusive"
            yield errors.invalid_value(f"{where}.type", sort, why)
        if sort in (*_JUDGEMENTS, "Failed") and one.get("status") != "True":
            yield errors.unsupported(f"{where}.status", one.get("status", ""), ("True",))
        seen.append(sort)
