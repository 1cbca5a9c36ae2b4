"""Evictions take no more pods than their budgets allow."""

import asyncio
from typing import Any

import pytest
from tests.cluster.apiserver.servers import Kubectl

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import PODS, SERVICEACCOUNTS
from weft.cluster.apiserver.evictions import desired

HERE = "default"
_BUDGETS = f"/apis/policy/v1/namespaces/{HERE}/poddisruptionbudgets"


async def budget(kube: Kube, name: str, **spec: Any) -> None:
    selector = {"matchLabels": {"app": "x"}}
    await kube.call("POST", _BUDGETS, body={"metadata": {"name": name}, "spec": {"selector": selector, **spec}})


@pytest.fixture
async def pods(kube: Kube) -> None:
    """Three pods on a node, two of them ready."""
    await kube.create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": HERE}})
    for name, ready in (("a", "True"), ("b", "True"), ("sick", "False")):
        spec = {"nodeName": "n", "containers": [{"name": "c", "image": "x"}]}
        labels = {"app": "x"}
        await kube.create(PODS, {"metadata": {"name": name, "namespace": HERE, "labels": labels}, "spec": spec})
        status = {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}
        await kube.patch(PODS, name, {"status": status}, HERE, subresource="status")


async def evict(kube: Kube, name: str) -> None:
    path = f"/api/v1/namespaces/{HERE}/pods/{name}/eviction"
    await kube.post(path, {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}})


async def test_a_budget_refuses_the_pod_too_many(kube: Kube, pods: None) -> None:
    await budget(kube, "keep", minAvailable=1)
    outcomes = await asyncio.gather(*(evict(kube, name) for name in ("a", "b")), return_exceptions=True)
    refused = [error for error in outcomes if isinstance(error, ApiError)]
    assert [error.code for error in refused] == [429]
    assert "Cannot evict pod as it would violate the pod's disruption budget." in str(refused[0])
    going = [bool((await kube.get(PODS, name, HERE))["metadata"].get("deletionTimestamp")) for name in "ab"]
    assert sorted(going) == [False, True]


async def test_an_unready_pod_goes_while_its_budget_is_kept_or_never_counts_it(kube: Kube, pods: None) -> None:
    await budget(kube, "keep", minAvailable=3)
    with pytest.raises(ApiError, match="disruption budget"):
        await evict(kube, "sick")
    merge = "application/merge-patch+json"
    await kube.call("PATCH", f"{_BUDGETS}/keep", body={"spec": {"minAvailable": 2}}, content_type=merge)
    await evict(kube, "sick")
    with pytest.raises(ApiError, match="disruption budget"):
        await evict(kube, "a")


async def test_two_budgets_for_one_pod_are_an_error_as_in_kubernetes(kube: Kube, pods: None) -> None:
    await budget(kube, "one", maxUnavailable=1)
    await budget(kube, "two", maxUnavailable=1)
    with pytest.raises(ApiError, match="more than one PodDisruptionBudget"):
        await evict(kube, "a")


@pytest.mark.parametrize(
    ("spec", "expected", "wanted"),
    [
        ({"minAvailable": 2}, 5, 2),
        ({"minAvailable": "50%"}, 5, 3),
        ({"maxUnavailable": 1}, 5, 4),
        ({"maxUnavailable": "30%"}, 5, 3),
        ({"maxUnavailable": 9}, 5, 0),
        ({}, 5, 1),
    ],
)
def test_shares_of_a_budget_are_rounded_up(spec: dict[str, Any], expected: int, wanted: int) -> None:
    assert desired({"spec": spec}, expected, expected) == wanted


async def test_kubectl_drain_waits_for_the_budget(kube: Kube, pods: None, kubectl: Kubectl) -> None:
    await budget(kube, "keep", minAvailable=2)
    await kubectl("create", "-f", "-", stdin='{"apiVersion":"v1","kind":"Node","metadata":{"name":"n"}}')
    waits = await kubectl("drain", "n", "--force", "--timeout=2s", "--grace-period=0", ok=False)
    assert "Cannot evict pod as it would violate the pod's disruption budget." in waits.err
