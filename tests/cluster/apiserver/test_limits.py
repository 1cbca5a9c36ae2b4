"""LimitRanges and ResourceQuotas in force, as `kubectl` users meet them."""

import asyncio
from typing import Any

import pytest
import yaml
from tests.cluster.apiserver.servers import Kubectl

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import PODS, SECRETS, SERVICEACCOUNTS
from weft.cluster.apiserver import amounts

HERE = "default"


@pytest.fixture
async def account(kube: Kube) -> None:
    await kube.create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": HERE}})


def pod(
    name: str, requests: dict[str, str] | None = None, limits: dict[str, str] | None = None, **spec: Any
) -> Any:
    resources = {key: value for key, value in (("requests", requests), ("limits", limits)) if value}
    container = {"name": "c", "image": "x:1", "resources": resources}
    return {"metadata": {"name": name, "namespace": HERE}, "spec": {"containers": [container], **spec}}


async def limit(kubectl: Kubectl, *items: dict[str, Any]) -> None:
    body = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l"}, "spec": {"limits": list(items)}}
    await kubectl("apply", "-f", "-", stdin=yaml.safe_dump(body))


async def used(kubectl: Kubectl, name: str, wanted: dict[str, str]) -> None:
    async with asyncio.timeout(20):
        while True:
            quota = yaml.safe_load((await kubectl("get", "quota", name, "-o", "yaml")).out)
            if (quota.get("status") or {}).get("used") == wanted:
                return


async def test_containers_that_ask_for_nothing_get_the_namespaces_defaults(
    kubectl: Kubectl, kube: Kube, account: None
) -> None:
    await limit(
        kubectl, {"type": "Container", "default": {"cpu": "500m", "memory": "256Mi"}, "min": {"cpu": "50m"}}
    )
    made = await kube.create(PODS, pod("p", {"cpu": "100m"}))
    assert made["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "100m", "memory": "256Mi"},
        "limits": {"cpu": "500m", "memory": "256Mi"},
    }
    noted = "LimitRanger plugin set: memory request for container c; cpu, memory limit for container c"
    assert made["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == noted
    assert made["status"]["qosClass"] == "Burstable"
    shown = (await kubectl("describe", "limitrange", "l")).out
    assert ["Container", "cpu", "50m", "-", "500m", "500m", "-"] in [line.split() for line in shown.splitlines()]


async def test_too_little_and_too_much_are_refused_together(kubectl: Kubectl, account: None) -> None:
    bounds = {"min": {"cpu": "100m"}, "max": {"cpu": "800m"}, "maxLimitRequestRatio": {"cpu": "2"}}
    await limit(kubectl, {"type": "Container", **bounds}, {"type": "Pod", "max": {"memory": "1Gi"}})
    body = {"apiVersion": "v1", "kind": "Pod", **pod("p", {"cpu": "50m"}, {"cpu": "1", "memory": "2Gi"})}
    refused = await kubectl("apply", "-f", "-", stdin=yaml.safe_dump(body), ok=False)
    assert (
        'pods "p" is forbidden: [minimum cpu usage per Container is 100m, but request is 50m,'
        " maximum cpu usage per Container is 800m, but limit is 1,"
        " cpu max limit to request ratio per Container is 2, but provided ratio is 20.000000,"
        " maximum memory usage per Pod is 1Gi, but limit is 2Gi]" in refused.err
    )


async def test_claims_have_bounds_too(kubectl: Kubectl) -> None:
    await limit(kubectl, {"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}})
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "3Gi"}}},
    }
    refused = await kubectl("apply", "-f", "-", stdin=yaml.safe_dump(claim), ok=False)
    assert "maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi" in refused.err


async def test_a_quota_is_counted_kept_and_given_back(kubectl: Kubectl, kube: Kube, account: None) -> None:
    await kubectl("create", "quota", "q", "--hard=pods=2,requests.cpu=1,limits.memory=1Gi,count/secrets=1")
    await used(kubectl, "q", {"pods": "0", "requests.cpu": "0", "limits.memory": "0", "count/secrets": "0"})
    await kube.create(PODS, pod("a", {"cpu": "600m"}, {"memory": "512Mi"}))
    with pytest.raises(ApiError) as refused:
        await kube.create(PODS, pod("b", {"cpu": "600m"}, {"memory": "1Gi"}))
    assert refused.value.code == 403
    assert str(refused.value).endswith(
        'pods "b" is forbidden: exceeded quota: q, requested: limits.memory=1Gi,requests.cpu=600m,'
        " used: limits.memory=512Mi,requests.cpu=600m, limited: limits.memory=1Gi,requests.cpu=1"
    )
    with pytest.raises(ApiError, match=r"failed quota: q: must specify limits.memory for: c; requests.cpu for: c"):
        await kube.create(PODS, pod("c"))
    await kube.create(SECRETS, {"metadata": {"name": "s", "namespace": HERE}})
    with pytest.raises(ApiError, match="exceeded quota: q, requested: count/secrets=1, used: count/secrets=1"):
        await kube.create(SECRETS, {"metadata": {"name": "t", "namespace": HERE}})
    await used(kubectl, "q", {"pods": "1", "requests.cpu": "600m", "limits.memory": "512Mi", "count/secrets": "1"})
    shown = [line.split() for line in (await kubectl("describe", "quota", "q")).out.splitlines()]
    assert ["limits.memory", "512Mi", "1Gi"] in shown
    await kube.delete(PODS, "a", HERE, grace=0)
    await used(kubectl, "q", {"pods": "0", "requests.cpu": "0", "limits.memory": "0", "count/secrets": "1"})


async def test_of_pods_that_come_at_once_no_more_pass_than_the_quota_says(
    kubectl: Kubectl, kube: Kube, account: None
) -> None:
    await kubectl("create", "quota", "q", "--hard=pods=3")
    writes = [kube.create(PODS, pod(f"p{number}")) for number in range(12)]
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert sum(isinstance(one, dict) for one in outcomes) == 3
    assert len(await kube.list(PODS, HERE)) == 3


async def test_a_scoped_quota_counts_its_pods_alone(kubectl: Kubectl, kube: Kube, account: None) -> None:
    await kubectl("create", "quota", "loose", "--hard=pods=1", "--scopes=BestEffort")
    await kube.create(PODS, pod("a"))
    with pytest.raises(ApiError, match="exceeded quota: loose, requested: pods=1, used: pods=1, limited: pods=1"):
        await kube.create(PODS, pod("b"))
    await kube.create(PODS, pod("b", {"cpu": "1"}))
    await used(kubectl, "loose", {"pods": "1"})


async def test_ports_of_nodes_are_counted_when_a_service_changes(kubectl: Kubectl) -> None:
    await kubectl("create", "quota", "q", "--hard=services.nodeports=1,services=2")
    await kubectl("create", "service", "nodeport", "a", "--tcp=80")
    refused = await kubectl("create", "service", "nodeport", "b", "--tcp=80", ok=False)
    assert "exceeded quota: q, requested: services.nodeports=1, used: services.nodeports=1" in refused.err
    await kubectl("create", "service", "clusterip", "b", "--tcp=80")
    patch = ["patch", "service", "b", "-p", '{"spec":{"type":"NodePort"}}']
    assert "exceeded quota" in (await kubectl(*patch, ok=False)).err
    await used(kubectl, "q", {"services": "2", "services.nodeports": "1"})


def test_a_pod_asks_for_its_containers_or_for_its_greediest_step() -> None:
    def part(cpu: str, **more: str) -> dict[str, Any]:
        return {"resources": {"requests": {"cpu": cpu}}, **more}

    spec: dict[str, Any] = {"containers": [part("100m"), part("200m")], "initContainers": [part("1")]}
    assert str(amounts.of_pod({"spec": spec}, "requests")["cpu"]) == "1"
    spec["initContainers"] = [part("500m", restartPolicy="Always"), part("400m")]
    assert str(amounts.of_pod({"spec": spec}, "requests")["cpu"]) == "900m"
    spec |= {"overhead": {"cpu": "50m", "memory": "1Mi"}}
    found = amounts.written(amounts.of_pod({"spec": spec}, "requests"))
    assert found == {"cpu": "950m", "memory": "1Mi"}
