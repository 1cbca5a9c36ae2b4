"""CustomResourceDefinitions: what they add to the scheme, and the status they get."""

from typing import Any

from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.scheme import CustomVersion, Scheme

Obj = dict[str, Any]
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
"""The finalizer that keeps a definition until its objects are gone."""


def versions(crd: Obj) -> list[CustomVersion]:
    """The served versions of a definition, newest-looking first as the definition orders them."""
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
        )
        for version in spec["versions"]
        if version.get("served")
    ]


def _conflicts(crd: Obj, scheme: Scheme) -> str:
    spec, name = crd["spec"], crd["metadata"]["name"]
    for custom in scheme.customs():
        if custom.crd != name and custom.kind.group == spec["group"] and custom.kind.kind == spec["names"]["kind"]:
            return f'"{spec["names"]["kind"]}" is already in use'
    taken = {(kind.group, kind.plural) for kind in scheme.kinds() if scheme.custom(kind) is None}
    return (
        f'"{spec["names"]["plural"]}" is already in use'
        if (spec["group"], spec["names"]["plural"]) in taken
        else ""
    )


def accept(crd: Obj, scheme: Scheme, stamp: str) -> None:
    """Set the status that says whether the names could be had and the kind is served, in place."""
    spec = crd["spec"]
    refused = _conflicts(crd, scheme)
    status = crd.setdefault("status", {})
    stored = next(version["name"] for version in spec["versions"] if version.get("storage"))
    status["acceptedNames"] = {} if refused else spec["names"]
    status["storedVersions"] = sorted({*(status.get("storedVersions") or ()), stored})
    accepted = ("False", "KindConflict", refused) if refused else ("True", "NoConflicts", "no conflicts found")
    served = (
        ("False", "NotAccepted", "not all names are accepted")
        if refused
        else ("True", "InitialNamesAccepted", "the initial names have been accepted")
    )
    _set(status, "NamesAccepted", accepted, stamp)
    _set(status, "Established", served, stamp)


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
