"""CustomResourceDefinitions: what they add to the scheme, and the status they get."""

from typing import Any

from weft.cluster.apiserver.cel.rules import has_rules
from weft.cluster.apiserver.discovery import preference
from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.scheme import CustomVersion, Scheme

Obj = dict[str, Any]
RESOURCE = ("apiextensions.k8s.io", "customresourcedefinitions")
APPROVED = "api-approved.kubernetes.io"
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
"""The finalizer that keeps a definition until its objects are gone."""


def versions(crd: Obj, *, served: bool = True) -> list[CustomVersion]:
    """The versions of a definition, as the definition orders them; the served ones, or all."""
    spec = crd["spec"]
    names = spec["names"]
    storage = next(version["name"] for version in spec["versions"] if version.get("storage"))
    return [
        CustomVersion(
            kind=Kind(
                group=spec["group"],
                version=version["name"],
                kind=names["kind"],
                plural=names["plural"],
                singular=names.get("singular", names["kind"].lower()),
                short_names=tuple(names.get("shortNames") or ()),
                categories=tuple(names.get("categories") or ()),
                namespaced=spec["scope"] == "Namespaced",
                subresources=tuple(sorted(version.get("subresources") or {})),
            ),
            crd=crd["metadata"]["name"],
            storage_version=storage,
            schema=(version.get("schema") or {}).get("openAPIV3Schema") or {},
            columns=tuple(version.get("additionalPrinterColumns") or ()),
            subresources=version.get("subresources") or {},
            selectable=tuple(item["jsonPath"].lstrip(".") for item in version.get("selectableFields") or ()),
            ruled=has_rules((version.get("schema") or {}).get("openAPIV3Schema") or {}),
            conversion=spec.get("conversion") or {},
            list_kind=names.get("listKind") or f"{names['kind']}List",
            deprecation=_deprecation(spec, version),
            ending=bool(crd["metadata"].get("deletionTimestamp")),
        )
        for version in spec["versions"]
        if version.get("served") or not served
    ]


def _deprecation(spec: Obj, version: Obj) -> str:
    if not version.get("deprecated"):
        return ""
    if version.get("deprecationWarning") is not None:
        return str(version["deprecationWarning"])
    group, kind, own = spec["group"], spec["names"]["kind"], version["name"]
    newer = [
        one["name"]
        for one in spec["versions"]
        if one.get("served") and not one.get("deprecated") and preference(one["name"]) > preference(own)
    ]
    instead = f"; use {group}/{max(newer, key=preference)} {kind}" if newer else ""
    return f"{group}/{own} {kind} is deprecated{instead}"


def _conflicts(crd: Obj, scheme: Scheme) -> tuple[Obj, str, str]:
    """The names that could be had, and of the last that could not, reason and sentence.

    Source: `apiextensions-apiserver/pkg/controller/status/naming_controller.go`.
    """
    spec, own = crd["spec"], crd["metadata"]["name"]
    others = [one for one in scheme.customs() if one.crd != own and one.kind.group == spec["group"]]
    built_in = [kind for kind in scheme.kinds() if kind.group == spec["group"] and scheme.custom(kind) is None]
    known = [*(one.kind for one in others), *built_in]
    resources = {name for kind in known for name in (kind.plural, kind.singular, *kind.short_names)}
    kinds = {kind.kind for kind in known} | {one.list_kind for one in others}
    names, accepted, reason, why = spec["names"], {}, "", ""
    for name, taken in (
        ("plural", resources),
        ("singular", resources),
        ("shortNames", resources),
        ("kind", kinds),
        ("listKind", kinds),
    ):
        value = names.get(name)
        held = next((one for one in (value if name == "shortNames" else [value]) or () if one in taken), None)
        if held is None and value:
            accepted[name] = value
        elif held is not None:
            reason, why = f"{name[0].upper()}{name[1:]}Conflict", f'"{held}" is already in use'
    if names.get("categories"):
        accepted["categories"] = names["categories"]
    return accepted, reason, why


def accept(crd: Obj, scheme: Scheme, stamp: str) -> None:
    """Set the status that says whether the names could be had and the kind is served, in place."""
    status = crd.setdefault("status", {})
    accepted, reason, why = _conflicts(crd, scheme)
    status["acceptedNames"] = accepted
    stored = next(version["name"] for version in crd["spec"]["versions"] if version.get("storage"))
    before = status.get("storedVersions") or []
    status["storedVersions"] = before if stored in before else [*before, stored]
    named = ("False", reason, why) if reason else ("True", "NoConflicts", "no conflicts found")
    _set(status, "NamesAccepted", named, stamp)
    if not reason:
        told = ("True", "InitialNamesAccepted", "the initial names have been accepted")
        _set(status, "Established", told, stamp)
    elif not established(crd):
        _set(status, "Established", ("False", "NotAccepted", "not all names are accepted"), stamp)
    _approval(crd, status, stamp)
    if crd["metadata"].get("deletionTimestamp"):
        told = ("True", "InstanceDeletionInProgress", "CustomResource deletion is in progress")
        _set(status, "Terminating", told, stamp)


def _approval(crd: Obj, status: Obj, stamp: str) -> None:
    """Whether a kind in a group of the community's has been approved (`apiapproval_controller.go`)."""
    if not protected(crd["spec"]["group"]):
        return
    said = (crd["metadata"].get("annotations") or {}).get(APPROVED, "")
    if said.startswith("unapproved"):
        told = ("False", "UnapprovedAnnotation", f'not approved: "{said}"')
    elif said:
        told = ("True", "ApprovedAnnotation", f"approved in {said}")
    else:
        told = ("False", "MissingAnnotation", f'protected groups must have approval annotation "{APPROVED}"')
    _set(status, "KubernetesAPIApprovalPolicyConformant", told, stamp)


def protected(group: str) -> bool:
    """Whether the group is the community's own."""
    return group.endswith((".k8s.io", ".kubernetes.io")) or group in {"k8s.io", "kubernetes.io"}


def _set(status: Obj, name: str, outcome: tuple[str, str, str], stamp: str) -> None:
    conditions = status.setdefault("conditions", [])
    new = {
        "type": name,
        "status": outcome[0],
        "reason": outcome[1],
        "message": outcome[2],
        "lastTransitionTime": stamp,
    }
    for index, old in enumerate(conditions):
        if old["type"] == name:
            same = old["status"] == outcome[0]
            conditions[index] = {**new, "lastTransitionTime": old["lastTransitionTime"]} if same else new
            return
    conditions.append(new)


def sound(crd: Obj) -> bool:
    """Whether the definition has what `versions` and `accept` read; validation says what else is wrong."""
    spec = crd.get("spec") or {}
    names = spec.get("names") or {}
    named = all(
        isinstance(value, str) and value for value in (spec.get("group"), names.get("plural"), names.get("kind"))
    )
    versions = spec.get("versions") or ()
    if not all(version.get("name") for version in versions):
        return False
    return named and sum(bool(version.get("storage")) for version in versions) == 1


def established(crd: Obj) -> bool:
    """Whether the kinds of the definition are served."""
    conditions = (crd.get("status") or {}).get("conditions") or ()
    return any(item["type"] == "Established" and item["status"] == "True" for item in conditions)
