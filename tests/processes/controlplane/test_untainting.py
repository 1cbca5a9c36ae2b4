"""Nodes whose taint goes once their node process is ready, against the one-machine cluster's API server."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.processes.cni.api import serving
from tests.processes.controlplane.test_istiod_and_apiserver import found

from weft.adapters.kube import kinds
from weft.adapters.kube.client import Kube
from weft.api.kubernetes import Pod
from weft.processes.controlplane.untainting import TAINT, Node, Untainting, opening

SYSTEM = "istio-system"
OURS = [{"key": TAINT, "effect": effect} for effect in ("NoSchedule", "NoExecute")]
THEIRS = {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}
READY = {"conditions": [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "True"}]}


def node(name: str, *taints: dict[str, str]) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"taints": list(taints)}}


def node_process(name: str, on: str, namespace: str = SYSTEM) -> dict[str, Any]:
    spec = {
        "nodeName": on,
        "tolerations": [{"operator": "Exists"}],
        "containers": [{"name": "install-cni", "image": "weft.local/install-cni:1"}],
    }
    meta = {"name": name, "namespace": namespace, "labels": {"k8s-app": "istio-cni-node"}}
    return {"metadata": meta, "spec": spec}


@pytest.mark.parametrize(
    ("taints", "status", "meta", "staying"),
    [
        pytest.param([*OURS, THEIRS], READY, {}, [THEIRS], id="ready: whatever its effect, and no other taint"),
        pytest.param([THEIRS], READY, {}, None, id="nothing to take off"),
        pytest.param(OURS, {"conditions": [{"type": "Ready", "status": "False"}]}, {}, None, id="not ready"),
        pytest.param(OURS, {}, {}, None, id="nothing known of it yet"),
        pytest.param(OURS, READY, {"deletionTimestamp": "2026-01-01T00:00:00Z"}, None, id="on its way out"),
        pytest.param(OURS, READY, {"on": "another"}, None, id="ready on another node"),
    ],
)
def test_a_node_is_opened_when_its_own_node_process_is_ready(
    taints: list[dict[str, str]],
    status: dict[str, Any],
    meta: dict[str, str],
    staying: list[dict[str, str]] | None,
) -> None:
    pod = node_process("istio-cni-node-1", meta.get("on", "one")) | {"status": status}
    pod["metadata"] |= meta
    nodes = [msgspec.convert(node("one", *taints), Node)]
    done = list(opening(nodes, [msgspec.convert(pod, Pod)]))
    assert [left for _, left in done] == ([] if staying is None else [staying])


@pytest.fixture
async def kube(tmp_path: Path) -> AsyncIterator[Kube]:
    async with serving(tmp_path) as client:
        for name in (SYSTEM, "elsewhere"):
            await client.create(kinds.NAMESPACES, {"metadata": {"name": name}})
            await client.create(kinds.SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": name}})
        yield client


async def taints(kube: Kube, name: str) -> list[dict[str, str]]:
    return (await kube.get(kinds.NODES, name))["spec"].get("taints") or []


async def test_the_taint_goes_when_the_node_process_is_ready_and_nothing_else_is_lost_meanwhile(
    kube: Kube,
) -> None:
    for name in ("one", "two"):
        await kube.create(kinds.NODES, node(name, *OURS))
    running = asyncio.create_task(Untainting(kube, SYSTEM).run())
    try:
        await kube.create(kinds.PODS, node_process("impostor", "two", "elsewhere"))
        await kube.create(kinds.PODS, node_process("istio-cni-node-1", "one"))
        await kube.patch(kinds.PODS, "impostor", {"status": READY}, "elsewhere", subresource="status")

        async def others_write() -> None:
            """Somebody keeps changing the node: what is written for a version that has passed comes to nothing."""
            for number in range(20):
                await kube.patch(kinds.NODES, "one", {"metadata": {"labels": {"turn": str(number)}}})
                if number == 3:
                    add = [{"op": "add", "path": "/spec/taints/0", "value": THEIRS}]
                    await kube.patch(kinds.NODES, "one", add, how="json")

        writing = asyncio.create_task(others_write())
        await kube.patch(kinds.PODS, "istio-cni-node-1", {"status": READY}, SYSTEM, subresource="status")

        async def is_open() -> bool:
            return all(taint["key"] != TAINT for taint in await taints(kube, "one"))

        await found(is_open, 20)
        await writing
        assert (await kube.get(kinds.NODES, "one"))["metadata"]["labels"]["turn"] == "19"
        assert THEIRS in await taints(kube, "one")
        assert [taint for taint in await taints(kube, "two") if taint["key"] == TAINT] == OURS
    finally:
        running.cancel()
        await asyncio.wait([running])
