"""From objects of the cluster to what Envoy does with a request: the canary and the fault of the walkthrough."""

from typing import Any

import pytest
import yaml
from tests.model import objects

from weft.model.services import Proxy
from weft.model.views import inbound_ports, view
from weft.xds.generate import Generator
from weft.xds.resource import CLUSTER
from weft.xds.simulate import Fault, Outcome, Request, simulate

RULES = """
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: {name: canary, namespace: canary}
spec:
  hosts: [canary]
  http:
    - match:
        - headers: {user: {exact: zhongmingmao}}
      route:
        - destination: {host: canary, subset: v2}
      retries: {attempts: 3, perTryTimeout: 2s}
    - route:
        - destination: {host: canary, subset: v1}
      fault:
        abort: {httpStatus: 500, percentage: {value: 80}}
---
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {name: canary, namespace: canary}
spec:
  host: canary
  trafficPolicy: {loadBalancer: {simple: RANDOM}}
  subsets:
    - name: v1
      labels: {version: v1}
    - name: v2
      labels: {version: v2}
      trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}
"""
VIP = "10.100.93.113"


def canary() -> list[dict[str, Any]]:
    """The service and its two pods."""
    pods = [
        objects.pod(f"canary-{version}", address, "canary", app="canary", version=version)
        for version, address in (("v1", "10.244.0.6"), ("v2", "10.244.0.8"))
    ]
    ready = [
        {
            "addresses": [pod["status"]["podIP"]],
            "conditions": {"ready": True},
            "targetRef": {"kind": "Pod", "name": pod["metadata"]["name"], "namespace": "canary"},
        }
        for pod in pods
    ]
    port = objects.port(80, "http")
    return [
        objects.service("canary", "canary", port, clusterIP=VIP, clusterIPs=[VIP]),
        *pods,
        objects.endpoint_slice("canary", *ready, namespace="canary", ports=[{"name": "http", "port": 80}]),
    ]


@pytest.fixture
def generator() -> Generator:
    return Generator()


def outcome(generator: Generator, *rules: dict[str, Any], user: str = "") -> Outcome:
    snapshot = objects.snapshot_of(*canary(), *rules)
    assert [str(problem) for problem in snapshot.problems] == []
    proxy = Proxy("toolbox", "canary", "10.244.0.7")
    headers = (("user", user),) if user else ()
    return simulate(Request(VIP, 80, "canary", headers=headers), generator.resources(view(snapshot, proxy)))


def test_without_rules_both_versions_answer(generator: Generator) -> None:
    [share] = outcome(generator).shares
    assert share.endpoints == ("10.244.0.6:80", "10.244.0.8:80")


def test_the_rules_lead_users_to_their_version_and_break_80_percent_of_the_rest(generator: Generator) -> None:
    rules = list(yaml.safe_load_all(RULES))
    rest, user = outcome(generator, *rules), outcome(generator, *rules, user="zhongmingmao")
    assert [share.endpoints for share in user.shares] == [("10.244.0.8:80",)]
    assert (user.abort, user.retries) == (None, 3)
    assert [share.endpoints for share in rest.shares] == [("10.244.0.6:80",)]
    assert (rest.abort, rest.retries) == (Fault(80.0, status=500), 2)


def test_a_rule_for_a_host_that_is_not_there_answers_503_and_leaves_others_alone(generator: Generator) -> None:
    rule = objects.virtual_service("canary", objects.route("nobody"), namespace="canary")
    snapshot = objects.snapshot_of(*canary(), objects.service("web", "canary"), rule)
    resources = generator.resources(view(snapshot, Proxy("toolbox", "canary", "10.244.0.7")))
    lost = simulate(Request(VIP, 80, "canary"), resources)
    assert [share.endpoints for share in lost.shares] == [()]
    other = simulate(Request("10.96.0.9", 80, "web"), resources)
    assert other.shares[0].cluster == "outbound|80||web.canary.svc.cluster.local"
    assert other.shares[0].cluster in resources[CLUSTER]


def test_the_servers_own_ports_come_from_its_services(generator: Generator) -> None:
    snapshot = objects.snapshot_of(*canary())
    proxy = Proxy("canary-v1", "canary", "10.244.0.6", labels=(("app", "canary"), ("version", "v1")))
    ports = inbound_ports(snapshot, proxy)
    known = Proxy("canary-v1", "canary", "10.244.0.6", labels=proxy.labels, inbound=ports)
    assert "inbound|80||" in generator.resources(view(snapshot, known))[CLUSTER]
