"""IPAM of nodes with a real API server."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.processes.underlay import ipam_api as api
from tests.processes.underlay.ipam_node import Node, call, running
from tests.support.istio_iptables import empty_namespace, run

from weft.adapters import pod_network
from weft.adapters.kube.client import Kube
from weft.adapters.kube.kinds import EVENTS, NAMESPACES, SPIDERENDPOINTS, SPIDERIPPOOLS, SPIDERRESERVEDIPS
from weft.processes.cni.calls import CallError
from weft.underlay.ipam import annotations

Json = dict[str, Any]

BOTH = {annotations.IPPOOL: '{"ipv4":["four"],"ipv6":["six"]}'}


async def test_a_pod_gets_and_keeps_addresses_and_gives_them_back(tmp_path: Path) -> None:
    async with api.serving(tmp_path, "node-1") as kube:
        config = tmp_path / "kubeconfig"
        await api.pool(kube, "four", "10.6.0.2-10.6.0.3", routes=[{"dst": "10.9.0.0/16", "gw": "10.6.0.9"}])
        await api.pool(kube, "six", "fd00:6::/64", subnet="fd00:6::/64", gateway="fd00:6::1")
        await api.pool(kube, "other", "10.6.1.2", nodeName=["node-2"])
        async with running(kube, config, "node-1", "--spiderpool-ip-rest-seconds", "1") as node:
            await _whole_life(kube, node)
            await _exhaustion(kube, node)
            await _half_of_it(kube, node)
            await _names_that_last(kube, node)
            await _sources(kube, node)
            await _reserved(kube, node)
            await _machines(kube, node)
            await _what_the_runtime_has_not(kube, node)
            text = node.registry.text()
            assert "spiderpool_ipam_allocation_err_ip_used_out_counts" in text
            assert "spiderpool_ipam_release_duration_seconds_count" in text


async def _whole_life(kube: Kube, node: Node) -> None:
    routes = json.dumps([{"dst": "10.8.0.0/16", "gw": "10.6.0.8"}, {"dst": "10.8.0.0/16", "gw": "10.5.0.8"}])
    pod = await api.pod(kube, "a", "node-1", BOTH | {annotations.ROUTES: routes})
    result = await node.add(pod)
    assert result == {
        "cniVersion": "1.0.0",
        "ips": [
            {"address": "10.6.0.2/16", "gateway": "10.6.0.1"},
            {"address": "fd00:6::2/64", "gateway": "fd00:6::1"},
        ],
        "routes": [
            {"dst": "0.0.0.0/0", "gw": "10.6.0.1"},
            {"dst": "::/0", "gw": "fd00:6::1"},
            {"dst": "10.9.0.0/16", "gw": "10.6.0.9"},
            {"dst": "10.8.0.0/16", "gw": "10.6.0.8"},
        ],
        "dns": {},
    }
    found = await kube.get(SPIDERENDPOINTS, "a", "shop")
    assert found["status"]["ownerControllerType"] == "Pod"
    assert found["status"]["current"]["node"] == "node-1"
    assert found["status"]["current"]["ips"][0]["ipv4Pool"] == "four"
    await node.check(pod, result)
    status = (await kube.get(SPIDERIPPOOLS, "four"))["status"]
    assert (status["allocatedIPCount"], status["totalIPCount"]) == (1, 2)
    # its sandbox is made anew: it lives, and keeps what it has
    await node.delete(pod)
    assert await node.add(pod) == result
    await api.end(kube, pod)
    await node.delete(pod)
    await node.delete(pod)
    assert await api.taken(kube, "four") == await api.taken(kube, "six") == {}
    assert await kube.list(SPIDERENDPOINTS) == []
    await api.gone(kube, pod)


async def _exhaustion(kube: Kube, node: Node) -> None:
    wish = {annotations.IPPOOL: '{"ipv4":["other","four","nowhere"]}'}
    pods = [await api.pod(kube, f"full-{number}", "node-1", wish) for number in range(3)]
    results = await asyncio.gather(*(node.add(pod) for pod in pods[:2]))
    assert {each["ips"][0]["address"] for each in results} == {"10.6.0.2/16", "10.6.0.3/16"}
    with pytest.raises(CallError) as caught:
        await node.add(pods[2])
    assert caught.value.msg == (
        "spiderpool: all IP addresses used out: no IPv4 address for net1 of shop/full-2: pool four: exhausted: 2"
        " of 2 in use; pool other: for other nodes (spec.nodeName has no node-1); pool nowhere: it does not exist."
        " These pools are named by annotation ipam.spidernet.io/ippool. Name another, or give one more ips."
    )
    # who waits for an address gets the one that is given back, once it has rested
    waiting = asyncio.create_task(node.add(pods[2]))
    await api.end(kube, pods[0])
    await node.delete(pods[0])
    if await asyncio.wait([waiting]) and waiting.exception():
        waiting = asyncio.create_task(node.add(pods[2]))
    assert (await waiting)["ips"] == results[0]["ips"]
    # a pod that ends while it waits leaves nothing behind
    late = await api.pod(kube, "late", "node-1", wish)
    waiting = asyncio.create_task(node.add(late))
    await _until_known(node, late)
    await api.gone(kube, late)
    await api.end(kube, pods[1])
    await node.delete(pods[1])
    with pytest.raises(CallError, match=r"shop/late is ending|exhausted"):
        await waiting
    assert len(await api.taken(kube, "four")) == 1
    for _ in range(600):
        told = [each for each in await kube.list(EVENTS, "shop") if each["reason"] == "FailedAllocateIP"]
        if told:
            break
        await asyncio.sleep(0.05)
    assert told[0]["message"] == caught.value.msg
    for pod in pods[1:]:
        await api.end(kube, pod)
        await node.delete(pod)
    assert await api.taken(kube, "four") == {}
    for pod in pods:
        await api.gone(kube, pod)


async def _until_known(node: Node, pod: Json) -> None:
    for _ in range(600):
        if pod["metadata"]["uid"] in {each["metadata"]["uid"] for each in node.pods.all()}:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the node does not hear of its pod")


async def _half_of_it(kube: Kube, node: Node) -> None:
    """Where one IP version fails, nothing is kept of the other."""
    wish = {annotations.IPPOOL: '{"ipv4":["nowhere"],"ipv6":["six"]}'}
    pod = await api.pod(kube, "half", "node-1", wish)
    with pytest.raises(CallError, match="no IPPool available: no IPv4 address"):
        await node.add(pod)
    assert await api.taken(kube, "six") == {}
    await api.gone(kube, pod)


async def _names_that_last(kube: Kube, node: Node) -> None:
    """A pod of a StatefulSet has the addresses of the one before it; that one's late end does not matter."""
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "controller": True, "uid": "1"}
    first = await api.pod(kube, "db-0", "node-1", BOTH, ownerReferences=[owner])
    result = await node.add(first)
    await api.end(kube, first)
    await node.delete(first)
    await api.gone(kube, first)
    second = await api.pod(kube, "db-0", "node-1", BOTH, ownerReferences=[owner])
    assert await node.add(second) == result
    await node.delete(first)
    assert set((await api.taken(kube, "four")).values()) == {second["metadata"]["uid"]}
    await api.gone(kube, second)
    # with another pool it has an address of that, and leaves the old one
    await api.pool(kube, "moved", "10.6.2.2")
    wish = {annotations.IPPOOL: '{"ipv4":["moved"]}'}
    third = await api.pod(kube, "db-0", "node-1", wish, ownerReferences=[owner])
    assert (await node.add(third))["ips"][0]["address"] == "10.6.2.2/16"
    assert await api.taken(kube, "four") == {}


async def _sources(kube: Kube, node: Node) -> None:
    """Interfaces by their order, the namespace's pools, the network's, and the cluster's."""
    await api.pool(kube, "default", "10.6.3.2-10.6.3.9", default=True)
    await api.pool(kube, "nad", "10.6.4.2-10.6.4.9")
    await api.pool(kube, "namespace", "10.6.5.2-10.6.5.9")
    await api.pool(kube, "listed", "10.6.6.2-10.6.6.9")
    nad: Json = {"ipam": {"type": "spiderpool", "default_ipv4_ippool": ["nad"]}}

    def first(result: dict[str, list[dict[str, str]]]) -> str:
        return result["ips"][0]["address"]

    plain = await api.pod(kube, "plain", "node-1")
    assert first(await node.add(plain)) == "10.6.3.2/16"
    assert first(await node.add(plain, "net2", **nad)) == "10.6.4.2/16"
    asked: Json = {"args": {"cni": {"ips": ["10.6.4.7/16"]}}}
    assert first(await node.add(plain, "net3", **nad, **asked)) == "10.6.4.7/16"
    note = {"metadata": {"annotations": {annotations.DEFAULT_IPV4: '["namespace"]'}}}
    await kube.patch(NAMESPACES, "shop", note)
    wish = '[{"ipv4":["default"]},{"ipv4":["lis*"],"cleangateway":true}]'
    listed = await api.pod(kube, "listed", "node-1", {annotations.IPPOOLS: wish})
    assert first(await node.add(listed, "eth0", **nad)) == "10.6.3.3/16"
    clean = await node.add(listed, "net1", **nad)
    assert (first(clean), clean["routes"]) == ("10.6.6.2/16", [])
    assert [each["interface"] for each in await api.endpoint(kube, "listed")] == ["eth0", "net1"]
    assert first(await node.add(listed, "net2", **nad)) == "10.6.5.2/16"
    bad = await api.pod(kube, "bad", "node-1", {annotations.IPPOOL: "{"})
    with pytest.raises(
        CallError, match=r"pod shop/bad: annotation ipam.spidernet.io/ippool: .* Write it like this"
    ):
        await node.add(bad)


async def _machines(kube: Kube, node: Node) -> None:
    """The pods of a virtual machine share its address while it moves; the one that ends takes nothing away."""
    owner = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "name": "vm", "controller": True}
    wish = {annotations.IPPOOL: '{"ipv4":["machines"]}'}
    pods = [
        await api.pod(kube, f"virt-launcher-vm-{each}", "node-1", wish, ownerReferences=[owner | {"uid": "1"}])
        for each in ("old", "new")
    ]
    await api.pool(kube, "machines", "10.6.9.2-10.6.9.9")
    source, target = [await node.add(pod) for pod in pods]
    assert source == target
    for pod in pods:
        await api.end(kube, pod)
        await node.delete(pod)
    assert await api.taken(kube, "machines") == {"10.6.9.2": pods[1]["metadata"]["uid"]}
    found = await kube.get(SPIDERENDPOINTS, "vm", "shop")
    assert found["status"]["ownerControllerType"] == "VirtualMachineInstance"


async def _what_the_runtime_has_not(kube: Kube, node: Node) -> None:
    """GC takes back what pods of this node have that are gone, and nothing else."""
    pods = [await api.pod(kube, name, "node-1", {annotations.IPPOOL: '{"ipv4":["default"]}'}) for name in "xy"]
    before = (await api.taken(kube, "default")).keys()
    results = [await node.add(pod) for pod in pods]
    await api.gone(kube, pods[0])
    await node.ipam.gc(call("GC", pods[0], "net1", {"cni.dev/valid-attachments": []}))
    kept = results[1]["ips"][0]["address"].partition("/")[0]
    assert (await api.taken(kube, "default")).keys() == before | {kept}
    await node.ipam.status(call("STATUS", pods[0], "net1", {}))


async def _reserved(kube: Kube, node: Node) -> None:
    await api.pool(kube, "small", "10.6.7.2-10.6.7.3")
    await kube.create(SPIDERRESERVEDIPS, {"metadata": {"name": "r"}, "spec": {"ips": ["10.6.7.2"]}})
    await asyncio.sleep(0)
    wish = {annotations.IPPOOL: '{"ipv4":["small"]}'}
    for _ in range(600):
        if "10.6.7.2" in str(node.ipam.reserved):
            break
        await asyncio.sleep(0.05)
    pod = await api.pod(kube, "reserved", "node-1", wish)
    assert (await node.add(pod))["ips"][0]["address"] == "10.6.7.3/16"


LINKS = """
link set lo up
link add net1 type veth peer name lan
addr add 10.6.0.1/16 dev lan
addr add 10.6.0.2/16 dev lan
addr add fd00:6::1/64 dev lan nodad
link set lan up
"""


async def test_the_network_is_asked_before_an_address_is_given(tmp_path: Path) -> None:
    switches = ("--spiderpool-enable-ip-conflict-detection", "--spiderpool-enable-gateway-detection")
    flags = [word for each in switches for word in (each, "true")]
    async with api.serving(tmp_path, "node-1") as kube:
        await api.pool(kube, "four", "10.6.0.2-10.6.0.4")
        await api.pool(kube, "six", "fd00:6::/64", subnet="fd00:6::/64", gateway="")
        await api.pool(kube, "astray", "10.6.1.2", gateway="10.6.1.1")
        with empty_namespace() as name:
            assert run(name, "ip", "-batch", "-", stdin=LINKS).returncode == 0
            async with running(kube, tmp_path / "kubeconfig", "node-1", *flags) as node:
                pod = await api.pod(kube, "a", "node-1", BOTH)
                result = await node.add(pod, netns=name)
                assert [each["address"] for each in result["ips"]] == ["10.6.0.3/16", "fd00:6::2/64"]
                assert (await api.taken(kube, "four")).keys() == {"10.6.0.3"}
                # the interface has no address yet: who hears of it now learns the right neighbour
                told = {each.address: each.mac for each in pod_network.look(name).neighbours}
                assert told.get("10.6.0.3") == _mac(name)
                assert await node.add(pod, netns=name) == result
                # an interface that is made later cannot be asked about
                assert (await node.add(pod, "net2", netns=name))["ips"][0]["address"] == "10.6.0.4/16"
                lost = await api.pod(kube, "lost", "node-1", {annotations.IPPOOL: '{"ipv4":["astray"]}'})
                with pytest.raises(CallError, match=r"gateway 10\.6\.1\.1 of pool astray is unreachable on net1"):
                    await node.add(lost, netns=name)
                assert await api.taken(kube, "astray") == {}


def _mac(name: str) -> str:
    return next(link.mac for link in pod_network.look(name).links if link.name == "net1")
