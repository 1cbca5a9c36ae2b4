"""What a kubelet's identity may do: its own node and pods, what they use, and nothing else."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from tests.cluster.apiserver.servers import Home

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import (
    CONFIGMAPS,
    EVENTS,
    LEASES,
    NODES,
    PODS,
    SECRETS,
    SERVICEACCOUNTS,
    SERVICES,
)

HERE, LEASE = "default", "kube-node-lease"


@pytest.fixture
async def node(home: Home, kube: Kube) -> AsyncIterator[Kube]:
    """The kubelet of node `a`. Pod `mine` runs there and uses things; pod `other` runs on `b`."""
    await kube.create(SERVICEACCOUNTS, {"metadata": {"name": "default", "namespace": HERE}})
    for name in ("used", "unused"):
        await kube.create(SECRETS, {"metadata": {"name": name, "namespace": HERE}})
        await kube.create(CONFIGMAPS, {"metadata": {"name": name, "namespace": HERE}})
    for name, where in (("mine", "a"), ("other", "b")):
        env = [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "used", "key": "k"}}}]
        volumes = [{"name": "v", "projected": {"sources": [{"configMap": {"name": "used"}}]}}]
        container: dict[str, Any] = {"name": "c", "image": "x:1", **({"env": env} if where == "a" else {})}
        spec = {"nodeName": where, "containers": [container], **({"volumes": volumes} if where == "a" else {})}
        await kube.create(PODS, {"metadata": {"name": name, "namespace": HERE}, "spec": spec})
    home.authority.issue("kubelet", "system:node:a", ("system:nodes",))
    certificate, key = ((home.path / f"pki/kubelet.{end}").read_text() for end in ("crt", "key"))
    async with Kube(replace(home.access, client_cert=certificate, client_key=key)) as client:
        yield client


@contextlib.contextmanager
def refused(why: str) -> Any:
    with pytest.raises(ApiError) as caught:
        yield
    assert caught.value.code == 403
    assert why in str(caught.value)


UNRELATED = "no relationship found between node 'a' and this object"


async def test_a_node_reads_what_its_pods_use_and_nothing_else(node: Kube) -> None:
    for kind in (SECRETS, CONFIGMAPS):
        assert (await node.get(kind, "used", HERE))["metadata"]["name"] == "used"
        assert len(await node.list(kind, HERE, fields="metadata.name=used")) == 1
        with refused(UNRELATED):
            await node.get(kind, "unused", HERE)
        with refused(UNRELATED):
            await node.list(kind, HERE, fields="metadata.name=unused")
        with refused("by name"):
            await node.list(kind, HERE)
    with refused('cannot get resource "secrets" in API group "" in the namespace "kube-system": no relationship'):
        await node.get(SECRETS, "used", "kube-system")


async def test_a_node_sees_its_own_pods_and_writes_their_status(node: Kube) -> None:
    listed = await node.list(PODS, fields="spec.nodeName=a")
    assert [pod["metadata"]["name"] for pod in listed] == ["mine"]
    for fields in ("", "spec.nodeName=b"):
        with refused("can only list/watch pods with spec.nodeName field selector"):
            await node.list(PODS, fields=fields)
    status = {"status": {"phase": "Running"}}
    assert (await node.patch(PODS, "mine", status, HERE, subresource="status"))["status"]["phase"] == "Running"
    with refused(UNRELATED):
        await node.patch(PODS, "other", status, HERE, subresource="status")
    with refused(UNRELATED):
        await node.delete(PODS, "other", HERE, grace=0)
    with refused("cannot patch"):
        await node.patch(PODS, "mine", {"metadata": {"labels": {"a": "b"}}}, HERE)
    await node.delete(PODS, "mine", HERE, grace=0)


async def test_a_node_makes_and_writes_only_its_own_node_and_lease(node: Kube) -> None:
    await node.create(NODES, {"metadata": {"name": "a"}})
    await node.patch(NODES, "a", {"status": {"phase": ""}}, subresource="status")
    with refused('node "a" is not allowed to modify node "b"'):
        await node.create(NODES, {"metadata": {"name": "b"}})
    with refused("other nodes"):
        await node.patch(NODES, "b", {"metadata": {"labels": {"x": "y"}}})
    lease = {"metadata": {"name": "a", "namespace": LEASE}, "spec": {"holderIdentity": "a"}}
    await node.create(LEASES, lease)
    with refused("can only access node lease with the same name"):
        await node.create(LEASES, {"metadata": {"name": "b", "namespace": LEASE}})
    with refused("kube-node-lease"):
        await node.create(LEASES, {"metadata": {"name": "a", "namespace": HERE}})


async def test_a_node_gets_tokens_for_its_pods_accounts_alone(node: Kube, kube: Kube) -> None:
    await kube.create(SERVICEACCOUNTS, {"metadata": {"name": "rich", "namespace": HERE}})
    path = f"/api/v1/namespaces/{HERE}/serviceaccounts"
    uid = (await kube.get(PODS, "mine", HERE))["metadata"]["uid"]
    bound = {"kind": "Pod", "apiVersion": "v1", "name": "mine", "uid": uid}
    assert (await node.post(f"{path}/default/token", {"spec": {"boundObjectRef": bound}}))["status"]["token"]
    with refused(UNRELATED):
        await node.post(f"{path}/rich/token", {"spec": {"boundObjectRef": bound}})
    other = {**bound, "name": "other", "uid": (await kube.get(PODS, "other", HERE))["metadata"]["uid"]}
    with refused("node requested token bound to a pod scheduled on a different node"):
        await node.post(f"{path}/default/token", {"spec": {"boundObjectRef": other}})
    with refused("node requested token not bound to a pod"):
        await node.post(f"{path}/default/token", {"spec": {}})


async def test_a_node_serves_services_and_writes_events(node: Kube) -> None:
    await node.list(SERVICES)
    about = {"kind": "Pod", "name": "mine", "namespace": HERE}
    await node.create(EVENTS, {"metadata": {"name": "e", "namespace": HERE}, "involvedObject": about})
    with refused("cannot create"):
        await node.create(SERVICES, {"metadata": {"name": "s", "namespace": HERE}})
    with refused("cannot list"):
        await node.list(EVENTS)


async def test_a_node_does_not_say_what_it_is_trusted_with(node: Kube) -> None:
    own = {
        "kubernetes.io/hostname": "a",
        "topology.kubernetes.io/zone": "z",
        "x/y": "z",
        "node.kubernetes.io/x": "y",
    }
    await node.create(NODES, {"metadata": {"name": "a", "labels": own}})
    for label in ("node-restriction.kubernetes.io/x", "secure.node-restriction.kubernetes.io/x", "other.k8s.io/x"):
        with refused(f'nodes "a" is forbidden: node "a" is not allowed to modify labels: {label}'):
            await node.patch(NODES, "a", {"metadata": {"labels": {label: "1"}}})
    with refused('node "a" is not allowed to modify taints'):
        await node.patch(NODES, "a", {"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}})
