"""Sparse manifests get the values that a real API server fills in, and no others."""

import ipaddress
from pathlib import Path
from typing import Any

import pytest
import yaml

from weft.adapters.kube.client import Kube
from weft.adapters.kube.kinds import SERVICEACCOUNTS
from weft.cluster.apiserver.rest.server import Server

Obj = dict[str, Any]
CASES: list[Obj] = yaml.safe_load((Path(__file__).parent / "defaults.yaml").read_text())
OF_THE_SERVER = ("creationTimestamp", "managedFields", "resourceVersion", "uid")


@pytest.fixture
async def ready(kube: Kube) -> Kube:
    await kube.create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": "default"}})
    return kube


def _plain(obj: Any, uid: str) -> Any:
    """The object with what was made up replaced by what it is."""
    if isinstance(obj, dict):
        found = {key: _plain(value, uid) for key, value in obj.items()}
        if found.get("nodePort"):
            found["nodePort"] = "<port>"
        return found
    if isinstance(obj, list):
        return [_plain(item, uid) for item in obj]
    if not isinstance(obj, str):
        return obj
    if obj.startswith("kube-api-access-"):
        return "<token>"
    return "<uid>" if obj == uid else "<ip>" if _of_services(obj) else obj


def _of_services(text: str) -> bool:
    try:
        return ipaddress.ip_address(text) in ipaddress.ip_network("10.96.0.0/12")
    except ValueError:
        return False


def _seen(made: Obj, case: Obj) -> Any:
    found = _plain(made, made["metadata"]["uid"])
    for name in OF_THE_SERVER:
        found["metadata"].pop(name, None)
    if "part" in case:
        for step in case["part"].split("."):
            found = (found or {}).get(step)
        return found
    compared = {key: value for key, value in found.items() if key not in {"apiVersion", "kind"}}
    if "metadata" not in (case["kept"] or {}):
        del compared["metadata"]
    return compared


async def test_what_is_left_out_is_filled_in_as_kubernetes_does(ready: Kube, server: Server) -> None:
    wrong = []
    for case in CASES:
        given = case["given"]
        group, _, version = given["apiVersion"].rpartition("/")
        found = server.cluster.scheme.by_kind(group, given["kind"])
        assert found
        kind = server.cluster.scheme.find(group, version, found.plural)
        assert kind
        start = f"/apis/{group}/{version}" if group else "/api/v1"
        below = "/namespaces/default" if kind.namespaced else ""
        made = await ready.call("POST", f"{start}{below}/{kind.plural}", body=given, query={"dryRun": "All"})
        if (seen := _seen(made, case)) != case["kept"]:
            wrong.append(f"{case['name']}\n  expected: {case['kept']}\n  kept:     {seen}")
    assert not wrong, "\n" + "\n".join(wrong)
