"""Requests leave the mesh by the egress gateway, as Istio's guide has it."""

import json
from typing import Any

import pytest
from tests.e2e.manifests import NGINX, TOOLBOX
from tests.support.cluster import Cluster, eventually

HOST = "partner.example.com"
EGRESS = "istio-egressgateway.istio-system.svc.cluster.local"


def rule(kind: str, name: str, spec: dict[str, Any]) -> str:
    head = {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": {"name": name}}
    return json.dumps(head | {"spec": spec})


def entry(address: str) -> str:
    ports = [{"number": 80, "name": "http", "protocol": "HTTP"}]
    endpoints = [{"address": address}]
    spec = {"hosts": [HOST], "location": "MESH_EXTERNAL", "resolution": "STATIC", "ports": ports}
    return rule("ServiceEntry", "outside", spec | {"endpoints": endpoints, "addresses": ["240.0.0.17"]})


def routes() -> str:
    """From sidecars to the gateway, from the gateway on."""
    inside = {
        "match": [{"gateways": ["mesh"], "port": 80}],
        "route": [{"destination": {"host": EGRESS, "port": {"number": 80}}}],
    }
    out = {
        "match": [{"gateways": ["egress"], "port": 80}],
        "route": [{"destination": {"host": HOST, "port": {"number": 80}}}],
    }
    return rule(
        "VirtualService", "outside", {"hosts": [HOST], "gateways": ["mesh", "egress"], "http": [inside, out]}
    )


def gateway() -> str:
    port = {"number": 80, "name": "http", "protocol": "HTTP"}
    spec = {"selector": {"istio": "egressgateway"}, "servers": [{"hosts": [HOST], "port": port}]}
    return rule("Gateway", "egress", spec)


@pytest.fixture(scope="module")
def leaving(cluster: Cluster) -> Cluster:
    """A client in the mesh, and what it asks for outside of it."""
    cluster.kubectl("create", "ns", "beyond")
    cluster.apply("beyond", NGINX)
    cluster.injected("leaving")
    cluster.apply("leaving", TOOLBOX)
    cluster.roll_out("beyond", "nginx-deployment")
    cluster.roll_out("leaving", "toolbox")
    cluster.roll_out("istio-system", "istio-egressgateway")
    return cluster


def passed(cluster: Cluster) -> int:
    """How many requests the egress gateway has answered."""
    table = cluster.shell("istio-system", "istio-egressgateway", "curl -s 127.0.0.1:15000/clusters")
    mine = (line for line in table.splitlines() if line.startswith(f"outbound|80||{HOST}::"))
    return sum(int(line.rpartition("::")[2]) for line in mine if "::rq_total::" in line)


def test_a_host_outside_is_reached_by_the_egress_gateway(leaving: Cluster) -> None:
    form = "jsonpath={.items[0].status.podIP}"
    address = leaving.kubectl("get", "pods", "-n", "beyond", "-l", "app=nginx", "-o", form)
    leaving.apply("leaving", entry(address), gateway(), routes())

    def answer() -> str:
        words = f"curl -s -m 5 -o /dev/null -w '%{{http_code}}' -H 'host: {HOST}' http://240.0.0.17/"
        return leaving.shell("leaving", "toolbox", words)

    assert eventually(lambda: answer() == "200")
    before = passed(leaving)
    assert [answer() for _ in range(5)] == ["200"] * 5
    assert eventually(lambda: passed(leaving) >= before + 5), "they went by the gateway"
    leaving.kubectl("delete", "gateway", "-n", "leaving", "egress")
    assert eventually(lambda: answer() == "503"), "and no other way"
