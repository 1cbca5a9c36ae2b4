"""How users name a proxy, and what they are told when there is none."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.processes.controlplane.cluster import Cluster

from weft.adapters.kube.access import Access
from weft.adapters.kube.client import Kube
from weft.cli.reach import NotThereError, Target, find

RUNNING: dict[str, Any] = {"running": {}}


def pod(name: str, *containers: str, state: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"containers": [{"name": one} for one in containers]},
        "status": {
            "phase": "Running",
            "containerStatuses": [{"name": one, "state": state or RUNNING} for one in containers],
        },
    }


@pytest.fixture
async def kube(tmp_path: Path) -> AsyncIterator[Kube]:
    cluster = Cluster()
    cluster.put(pod("web.1", "app", "istio-proxy"))
    cluster.put(pod("bare", "app"))
    crashing = {"waiting": {"reason": "CrashLoopBackOff"}}
    cluster.put(pod("ill", "app", "istio-proxy", state=crashing))
    async with cluster.serving(), Kube(Access.from_kubeconfig(cluster.kubeconfig(tmp_path / "config"))) as one:
        yield one


@pytest.mark.parametrize(
    ("name", "namespace"), [("web.1.shop", ""), ("web.1", "shop"), ("pod/web.1", "shop"), ("po/web.1.shop", "")]
)
async def test_a_proxy_is_named_by_its_pod(kube: Kube, name: str, namespace: str) -> None:
    assert await find(kube, name, namespace) == Target("shop", "web.1")


@pytest.mark.parametrize(
    ("name", "namespace", "said"),
    [
        ("nobody", "shop", 'no pod "nobody" in namespace "shop". See which there are: kubectl get pods -n shop'),
        ("deploy/nobody.shop", "", "See which there are: kubectl get deployments -n shop"),
        ("service/web", "shop", "Write POD[.NAMESPACE] or deployment/NAME."),
        ("bare", "shop", "no container istio-proxy: it is not in the mesh. Label the namespace"),
        ("ill", "shop", "does not run (CrashLoopBackOff). See why: kubectl describe pod ill -n shop"),
    ],
)
async def test_a_name_without_a_proxy_is_told_with_the_way_out(
    kube: Kube, name: str, namespace: str, said: str
) -> None:
    with pytest.raises(NotThereError) as told:
        await find(kube, name, namespace)
    assert said in str(told.value)
