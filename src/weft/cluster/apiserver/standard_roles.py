"""The roles and bindings of every cluster, from `roles.yaml`: made where missing, completed where rules lack."""

import asyncio
from collections.abc import Iterable, Iterator
from importlib.resources import files
from typing import Any

import yaml

from weft.cluster.apiserver import errors, rules
from weft.cluster.apiserver.cluster import Call, Cluster, Obj
from weft.cluster.apiserver.users import MASTERS, User
from weft.cluster.apiserver.writing import Writing

_RBAC = "rbac.authorization.k8s.io"
_UPDATES = "rbac.authorization.kubernetes.io/autoupdate"
_SERVER = User("system:apiserver", groups=(MASTERS,))


def _metadata(name: str, labels: dict[str, str]) -> Obj:
    return {
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults", **labels},
        "annotations": {_UPDATES: "true"},
    }


def _subject(text: str) -> Obj:
    kind, *rest = text.split("/", 2)
    if kind == "ServiceAccount":
        return {"kind": kind, "namespace": rest[0], "name": rest[1]}
    return {"kind": kind, "apiGroup": _RBAC, "name": rest[0]}


def _role(entry: dict[str, Any]) -> Obj:
    labels = {f"{_RBAC}/aggregate-to-{entry['part_of']}": "true"} if "part_of" in entry else {}
    role: Obj = {"metadata": _metadata(entry["name"], labels), "rules": entry.get("rules", [])}
    if "sums" in entry:
        selector = {"matchLabels": {f"{_RBAC}/aggregate-to-{entry['sums']}": "true"}}
        role["aggregationRule"] = {"clusterRoleSelectors": [selector]}
    return role


def _binding(entry: dict[str, Any]) -> Obj:
    return {
        "metadata": _metadata(entry["name"], {}),
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": entry["name"]},
        "subjects": [_subject(text) for text in entry.get("to", ())],
    }


def standard() -> tuple[list[Obj], list[Obj]]:
    """The cluster roles, sums worked out, and their bindings."""
    text = (files(__package__) / "roles.yaml").read_text()
    loaded = yaml.load(text, yaml.CSafeLoader)
    entries = [one for one in loaded if "name" in one]
    roles = [_role(entry) for entry in entries]
    for name in ("view", "edit", "admin"):  # a sum may be part of the next one
        role = next(one for one in roles if one["metadata"]["name"] == name)
        role["rules"] = rules.aggregated(role, roles)
    return roles, [_binding(entry) for entry in entries if "to" in entry or "unbound" in entry]


async def ensure(cluster: Cluster, writing: Writing) -> None:
    """Make what is missing, all at once: the store writes them together."""
    roles, bindings = standard()
    work = [*_writes(cluster, writing, "clusterroles", roles)]
    work += _writes(cluster, writing, "clusterrolebindings", bindings)
    await asyncio.gather(*work)


def _writes(cluster: Cluster, writing: Writing, plural: str, objects: Iterable[Obj]) -> Iterator[Any]:
    kind = cluster.scheme.find(_RBAC, "v1", plural)
    if kind is None:
        raise LookupError(f"{plural}.{_RBAC} is missing from the catalog")
    for obj in objects:
        row = cluster.row(kind, "", obj["metadata"]["name"])
        call = Call(kind, "", "", _SERVER, manager="weft-apiserver", validation="Ignore")
        if row is None:
            yield writing.create(call, obj)
        elif wanted := _completed(row.decode(), obj):
            call.name = obj["metadata"]["name"]
            yield _complete(writing, call, wanted)


async def _complete(writing: Writing, call: Call, wanted: Obj) -> None:
    try:
        await writing.update(call, lambda before: {**before, **wanted})
    except errors.StatusError as error:
        if error.code != 404:
            raise


def _completed(held: Obj, standard_one: Obj) -> Obj:
    """What the object held lacks of the standard one; empty if nothing, or if its annotation says: leave it."""
    if (held["metadata"].get("annotations") or {}).get(_UPDATES) != "true":
        return {}
    if "roleRef" in standard_one:
        have = held.get("subjects") or []
        lacking = [one for one in standard_one["subjects"] if one not in have]
        return {"subjects": [*have, *lacking]} if lacking else {}
    have = held.get("rules") or []
    lacking = rules.uncovered(have, standard_one["rules"])
    return {"rules": [*have, *lacking]} if lacking else {}
