"""Services of every type: ports of nodes, addresses from outside, and what an update keeps and drops."""

import asyncio
import random
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.cluster.apiserver.servers import Home, Kubectl

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import EVENTS, SERVICES
from weft.cluster.apiserver.loadbalancers import Range
from weft.cluster.apiserver.serving import serve
from weft.cluster.apiserver.world import World

HERE = "default"


def service(name: str, *ports: dict[str, Any], **spec: Any) -> dict[str, Any]:
    listed = list(ports or ({"port": 80},))
    return {"metadata": {"name": name, "namespace": HERE}, "spec": {"ports": listed, **spec}}


@pytest.fixture
async def balanced(home: Home) -> AsyncIterator[Kube]:
    """A server with two addresses for load balancers."""
    settings = replace(home.settings, load_balancers=Range.read("192.0.2.7-192.0.2.8"))
    world = World(lambda: datetime.now(UTC), random.SystemRandom())
    async with serve(settings, world), Kube(home.access) as client:
        yield client


async def ingress(kube: Kube, name: str, wanted: int = 1) -> list[dict[str, Any]]:
    """What stands in the status, when that is as many entries as wanted."""
    async with asyncio.timeout(5):
        while True:
            status = (await kube.get(SERVICES, name, HERE))["status"]
            found: list[dict[str, Any]] = status["loadBalancer"].get("ingress", [])
            if len(found) == wanted:
                return found
            await asyncio.sleep(0.01)


async def told(kube: Kube) -> set[tuple[str, str]]:
    """Which Services have Events, and of what."""
    return {(event["involvedObject"]["name"], event["reason"]) for event in await kube.list(EVENTS, HERE)}


async def test_a_node_port_is_given_kept_honoured_and_given_back(kube: Kube) -> None:
    made = await kube.create(SERVICES, service("a", type="NodePort"))
    number = made["spec"]["ports"][0]["nodePort"]
    assert 30000 <= number < 32768
    assert made["spec"]["externalTrafficPolicy"] == "Cluster"
    again = await kube.replace(SERVICES, {**service("a", type="NodePort"), "status": {}})
    assert again["spec"]["ports"][0]["nodePort"] == number
    asked = service("b", {"port": 80, "nodePort": number}, type="NodePort")
    with pytest.raises(ApiError, match=rf"nodePort: Invalid value: {number}: provided port is already allocated"):
        await kube.create(SERVICES, asked)
    plain = await kube.patch(SERVICES, "a", {"spec": {"type": "ClusterIP"}}, HERE)
    assert "nodePort" not in plain["spec"]["ports"][0]
    assert "externalTrafficPolicy" not in plain["spec"]
    assert (await kube.create(SERVICES, asked))["spec"]["ports"][0]["nodePort"] == number


async def test_a_refused_or_dry_write_holds_nothing(kube: Kube) -> None:
    port = {"port": 80, "nodePort": 30123}
    path = f"/api/v1/namespaces/{HERE}/services"
    await kube.call("POST", path, body=service("dry", port, type="NodePort"), query={"dryRun": "All"})
    bad = {"name": "o", "port": 81, "nodePort": 1}
    with pytest.raises(ApiError, match="The range of valid ports is 30000-32767"):
        await kube.create(SERVICES, service("bad", {**port, "name": "p"}, bad, type="NodePort"))
    assert (await kube.create(SERVICES, service("real", port, type="NodePort")))["spec"]["ports"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (service("x", {"port": 80, "nodePort": 30001})["spec"], "may not be used when `type` is 'ClusterIP'"),
        (
            service(
                "x",
                {"name": "a", "port": 80, "nodePort": 30001},
                {"name": "b", "port": 81, "nodePort": 30001},
                type="NodePort",
            )["spec"],
            "spec.ports[1].nodePort: Duplicate value: 30001",
        ),
        (
            service("x", type="NodePort", clusterIP="None")["spec"],
            "may not be set to 'None' for NodePort services",
        ),
        ({"type": "ExternalName", "externalName": "No_Good"}, "spec.externalName: Invalid value"),
        ({"type": "ExternalName"}, "spec.externalName: Required value"),
        (
            service("x", externalTrafficPolicy="Local")["spec"],
            "may only be set for externally-accessible services",
        ),
        (service("x", {"port": 80}, {"port": 81})["spec"], "spec.ports[0].name: Required value"),
        (
            service("x", allocateLoadBalancerNodePorts=False)["spec"],
            "may only be used when `type` is 'LoadBalancer'",
        ),
    ],
)
async def test_what_kubernetes_refuses_is_refused_in_its_words(
    kube: Kube, spec: dict[str, Any], message: str
) -> None:
    with pytest.raises(ApiError) as refused:
        await kube.create(SERVICES, {"metadata": {"name": "x", "namespace": HERE}, "spec": spec})
    assert refused.value.code == 422
    assert message in str(refused.value)


async def test_one_node_port_serves_two_protocols(kube: Kube) -> None:
    ports = [{"name": one.lower(), "port": 53, "protocol": one, "nodePort": 30053} for one in ("TCP", "UDP")]
    made = await kube.create(SERVICES, service("dns", *ports, type="NodePort"))
    assert [port["nodePort"] for port in made["spec"]["ports"]] == [30053, 30053]


async def test_a_service_that_becomes_a_name_loses_its_address(kube: Kube) -> None:
    address = (await kube.create(SERVICES, service("a")))["spec"]["clusterIP"]
    named = await kube.patch(SERVICES, "a", {"spec": {"type": "ExternalName", "externalName": "e.org."}}, HERE)
    assert "clusterIP" not in named["spec"]
    assert (await kube.create(SERVICES, service("b", clusterIP=address)))["spec"]["clusterIP"] == address


async def test_load_balancers_get_addresses_and_wait_while_none_is_free(balanced: Kube) -> None:
    for name in ("a", "b", "c"):
        made = await balanced.create(SERVICES, service(name, type="LoadBalancer"))
        assert made["spec"]["ports"][0]["nodePort"]
    assert await ingress(balanced, "a") == [{"ip": "192.0.2.7", "ipMode": "VIP"}]
    assert await ingress(balanced, "b") == [{"ip": "192.0.2.8", "ipMode": "VIP"}]
    assert await ingress(balanced, "c", 0) == []
    expected = {
        ("a", "EnsuredLoadBalancer"),
        ("b", "EnsuredLoadBalancer"),
        ("c", "SyncLoadBalancerFailed"),
    }
    async with asyncio.timeout(5):
        told: set[tuple[str, str]] = set()
        while told != expected:
            events = await balanced.list(EVENTS, HERE)
            told = {(event["involvedObject"]["name"], event["reason"]) for event in events}
    await balanced.patch(SERVICES, "a", {"spec": {"type": "ClusterIP"}}, HERE)
    assert await ingress(balanced, "a", 0) == []
    assert await ingress(balanced, "c") == [{"ip": "192.0.2.7", "ipMode": "VIP"}]


async def test_a_load_balancer_gets_the_address_it_asks_for_and_none_of_another_class(balanced: Kube) -> None:
    await balanced.create(SERVICES, service("a", type="LoadBalancer", loadBalancerIP="192.0.2.8"))
    assert (await ingress(balanced, "a"))[0]["ip"] == "192.0.2.8"
    other = service("other", type="LoadBalancer", loadBalancerClass="example.com/x")
    await balanced.create(SERVICES, other)
    await balanced.create(SERVICES, service("b", type="LoadBalancer"))
    assert (await ingress(balanced, "b"))[0]["ip"] == "192.0.2.7"
    assert await ingress(balanced, "other", 0) == []


async def test_an_address_is_kept_when_the_server_starts_anew(home: Home) -> None:
    settings = replace(home.settings, load_balancers=Range.read("192.0.2.7-192.0.2.8"))
    world = World(lambda: datetime.now(UTC), random.SystemRandom())
    async with serve(settings, world), Kube(home.access) as kube:
        await kube.create(SERVICES, service("z", type="LoadBalancer"))
        assert (await ingress(kube, "z"))[0]["ip"] == "192.0.2.7"
        await kube.create(SERVICES, service("np", {"port": 1, "nodePort": 30009}, type="NodePort"))
    async with serve(settings, world), Kube(home.access) as kube:
        await kube.create(SERVICES, service("a", type="LoadBalancer"))
        assert (await ingress(kube, "a"))[0]["ip"] == "192.0.2.8"
        with pytest.raises(ApiError, match="already allocated"):
            await kube.create(SERVICES, service("x", {"port": 1, "nodePort": 30009}, type="NodePort"))


async def test_kubectl_shows_ports_and_external_addresses(home: Home, balanced: Kube) -> None:
    kubectl = Kubectl(home)
    await kubectl("create", "service", "loadbalancer", "lb", "--tcp=80:8080")
    await ingress(balanced, "lb")
    shown = (await kubectl("get", "svc", "lb", "--no-headers")).out.split()
    assert shown[1] == "LoadBalancer"
    assert shown[3] == "192.0.2.7"
    assert shown[4].startswith("80:3")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        (
            "externalIPs",
            ["300.1.1.1"],
            'spec.externalIPs[0]: Invalid value: "300.1.1.1": must be a valid IP address',
        ),
        (
            "externalIPs",
            ["192.0.2.1", "127.0.0.1"],
            'spec.externalIPs[1]: Invalid value: "127.0.0.1": may not be in',
        ),
        ("externalIPs", ["0.0.0.0"], "may not be unspecified (0.0.0.0)"),
        ("externalIPs", ["169.254.1.1"], "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        ("externalIPs", ["224.0.0.5"], "may not be in the link-local multicast range"),
        ("loadBalancerSourceRanges", ["10.0.0.0"], 'spec.LoadBalancerSourceRanges[0]: Invalid value: "10.0.0.0"'),
        ("loadBalancerSourceRanges", ["x/8"], "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"),
        ("trafficDistribution", "Near", 'supported values: "PreferClose", "PreferSameNode", "PreferSameZone"'),
    ],
)
async def test_who_can_never_come_is_refused(kube: Kube, field: str, value: Any, said: str) -> None:
    with pytest.raises(ApiError, match=re.escape(said)):
        await kube.create(SERVICES, service("bad", type="LoadBalancer", **{field: value}))


async def test_source_ranges_are_a_load_balancers(kube: Kube) -> None:
    ranges = {"loadBalancerSourceRanges": [" 10.0.0.0/8 "]}
    await kube.create(SERVICES, service("good", type="LoadBalancer", **ranges))
    with pytest.raises(ApiError, match="may only be used when `type` is 'LoadBalancer'"):
        await kube.create(SERVICES, service("bad", **ranges))
