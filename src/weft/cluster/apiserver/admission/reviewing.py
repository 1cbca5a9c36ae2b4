"""A request as webhooks and expressions are shown it."""

from weft.cluster.apiserver.admission.attributes import Attributes
from weft.cluster.apiserver.cluster import Obj
from weft.cluster.apiserver.kinds import Kind


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
