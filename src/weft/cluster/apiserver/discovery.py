"""What the server says about its own kinds: the old way (a document per version) and the aggregated one.

`/api` and `/apis` answer in the form that Accept asks for: `APIGroupDiscoveryList` (`v2`, or `v2beta1` for kubectl
1.26), or the plain documents that kubectl 1.20 reads, and then `/api/v1` and `/apis/GROUP/VERSION`.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from weft.cluster.apiserver.kinds import Kind

AGGREGATED_GROUP = "apidiscovery.k8s.io"
AggregatedVersion = Literal["v2", "v2beta1"]


@dataclass(frozen=True, slots=True)
class Subresource:
    """What is known of a subresource by its name; an empty `kind` means the parent's own."""

    verbs: tuple[str, ...] = ("get", "patch", "update")
    group: str = ""
    version: str = ""
    kind: str = ""


SUBRESOURCES: dict[str, Subresource] = {
    "approval": Subresource(),
    "attach": Subresource(("create", "get"), "", "v1", "PodAttachOptions"),
    "binding": Subresource(("create",), "", "v1", "Binding"),
    "ephemeralcontainers": Subresource(),
    "eviction": Subresource(("create",), "policy", "v1", "Eviction"),
    "exec": Subresource(("create", "get"), "", "v1", "PodExecOptions"),
    "finalize": Subresource(("update",)),
    "log": Subresource(("get",)),
    "portforward": Subresource(("create", "get"), "", "v1", "PodPortForwardOptions"),
    "proxy": Subresource(("create", "delete", "get", "patch", "update")),
    "resize": Subresource(),
    "scale": Subresource(("get", "patch", "update"), "autoscaling", "v1", "Scale"),
    "status": Subresource(),
    "token": Subresource(("create",), "authentication.k8s.io", "v1", "TokenRequest"),
}


def api_versions() -> dict[str, Any]:
    """The answer to `/api`."""
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def api_group_list(kinds: Iterable[Kind]) -> dict[str, Any]:
    """The answer to `/apis`: every group but the core one, versions in order of preference."""
    groups = [api_group(group, versions) for group, versions in _groups(kinds).items() if group]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def api_group(group: str, versions: Iterable[str]) -> dict[str, Any]:
    """One group as `/apis/GROUP` shows it, `kind` and `apiVersion` left to the caller."""
    named = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"name": group, "versions": named, "preferredVersion": named[0]}


def resource_list(kinds: Iterable[Kind], group: str, version: str) -> dict[str, Any]:
    """The answer to `/api/v1` and `/apis/GROUP/VERSION`, subresources included."""
    rows = [row for kind in kinds if (kind.group, kind.version) == (group, version) for row in _rows(kind)]
    group_version = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": rows}


def aggregated(kinds: Iterable[Kind], *, core: bool, version: AggregatedVersion = "v2") -> dict[str, Any]:
    """Everything below `/api` (`core`) or `/apis` in one document."""
    listed = tuple(kinds)
    items = []
    for group, versions in _groups(listed).items():
        if (group == "") is not core:
            continue
        found = [
            {
                "version": name,
                "freshness": "Current",
                "resources": [_aggregated(k) for k in listed if (k.group, k.version) == (group, name)],
            }
            for name in versions
        ]
        items.append({"metadata": {"name": group} if group else {}, "versions": found})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"{AGGREGATED_GROUP}/{version}",
        "metadata": {},
        "items": items,
    }


def etag(document: dict[str, Any]) -> str:
    """A quoted hash of the content, for `ETag` and `If-None-Match`: kubectl keeps discovery on disk by it."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32].upper()}"'


def _groups(kinds: Iterable[Kind]) -> dict[str, Sequence[str]]:
    """Group → its versions, most preferred first (stable before beta before alpha, then the higher number)."""
    groups: dict[str, set[str]] = {}
    for kind in kinds:
        groups.setdefault(kind.group, set()).add(kind.version)
    return {group: sorted(versions, key=preference, reverse=True) for group, versions in groups.items()}


def preference(version: str) -> tuple[int, int, int, str]:
    """Kubernetes' order of versions: v10, v2, v1, v11beta2, v10beta3, v1alpha1, then others by name."""
    major, _, rest = version.removeprefix("v").partition("beta")
    if rest.isdigit() and major.isdigit():
        return 2, int(major), int(rest), ""
    major, _, rest = version.removeprefix("v").partition("alpha")
    if rest.isdigit() and major.isdigit():
        return 1, int(major), int(rest), ""
    if version.startswith("v") and major.isdigit():
        return 3, int(major), 0, ""
    return 0, 0, 0, version


def _rows(kind: Kind) -> list[dict[str, Any]]:
    row: dict[str, Any] = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        row["shortNames"] = list(kind.short_names)
    if kind.categories:
        row["categories"] = list(kind.categories)
    return [row, *(_subresource_row(kind, name) for name in kind.subresources)]


def _subresource_row(kind: Kind, name: str) -> dict[str, Any]:
    known = SUBRESOURCES.get(name, Subresource())
    row: dict[str, Any] = {
        "name": f"{kind.plural}/{name}",
        "singularName": "",
        "namespaced": kind.namespaced,
        "kind": known.kind or kind.kind,
        "verbs": list(known.verbs),
    }
    if known.kind and (known.group, known.version) != (kind.group, kind.version):
        row |= {"group": known.group, "version": known.version}
    return row


def _aggregated(kind: Kind) -> dict[str, Any]:
    item: dict[str, Any] = {
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        item["shortNames"] = list(kind.short_names)
    if kind.categories:
        item["categories"] = list(kind.categories)
    if kind.subresources:
        item["subresources"] = [_aggregated_subresource(kind, name) for name in kind.subresources]
    return item


def _aggregated_subresource(kind: Kind, name: str) -> dict[str, Any]:
    known = SUBRESOURCES.get(name, Subresource())
    response = (known.group, known.version, known.kind) if known.kind else (kind.group, kind.version, kind.kind)
    return {
        "subresource": name,
        "responseKind": dict(zip(("group", "version", "kind"), response, strict=True)),
        "verbs": list(known.verbs),
    }
