"""Nodes."""

from typing import Any

from weft.cluster.apiserver.errors import FieldError, forbidden_field
from weft.cluster.apiserver.validation import scheduling
from weft.cluster.apiserver.validation.rules import cidr

Obj = dict[str, Any]


def node(obj: Obj) -> list[FieldError]:
    """What is wrong with a Node; its taints stand below its metadata in Kubernetes' messages."""
    spec = obj.get("spec") or {}
    found = [*scheduling.taints(spec.get("taints") or (), "metadata.taints")]
    for index, given in enumerate(spec.get("podCIDRs") or ()):
        found += cidr(given, f"spec.podCIDRs[{index}]")
    return found


def changed(obj: Obj, before: Obj) -> list[FieldError]:
    """What was given to a node stays."""
    new, old, found = obj.get("spec") or {}, before.get("spec") or {}, list[FieldError]()
    for field, shown in (("podCIDRs", "podCIDR"), ("providerID", "providerID")):
        if old.get(field) and new.get(field) != old[field]:
            why = f'node updates may not change {shown} except from "" to valid'
            found.append(forbidden_field(f"spec.{field}", why))
    return found
