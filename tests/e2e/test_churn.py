"""Whatever changes in the mesh, at random and all the time, no request fails that no rule asked to fail."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e import loading
from tests.e2e.churn import HOST
from tests.e2e.manifests import TOOLBOX, deployment, service
from tests.support.cluster import Cluster, eventually

SECONDS = float(os.environ.get("WEFT_CHURN_SECONDS", "15"))
SEED = int(os.environ.get("WEFT_CHURN_SEED", "1"))
RATE = 200
NEAR = 2.0
"""How many seconds before and after a failure its cause may lie."""
TARGETS = ("web:80/web", "plain:80/plain", f"istio-ingressgateway.istio-system:80/{HOST}")

PLAIN = json.dumps(
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "plain"},
        "spec": {"ports": [{"name": "http", "port": 80}]},
    }
)
EDGE = f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: 80, name: http-80, protocol: HTTP}}, hosts: [{HOST}]}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: edge}}
spec:
  hosts: [{HOST}]
  gateways: [edge]
  http: [{{route: [{{destination: {{host: web}}}}]}}]
"""
SLICE = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: plain-1, labels: {kubernetes.io/service-name: plain}}
addressType: IPv4
ports: [{name: http, port: 80, protocol: TCP}]
endpoints: [{addresses: [ADDRESS], conditions: {ready: true}}]
"""


@pytest.fixture(scope="module")
def churned(cluster: Cluster) -> Iterator[Cluster]:
    cluster.injected("churn")
    versions = [
        deployment(f"web-{version}", "web", "nginx:1.25.3", version=version, replicas=count)
        for version, count in (("v1", 2), ("v2", 1))
    ]
    cluster.apply("churn", *versions, service("web", "web"), PLAIN, TOOLBOX, *EDGE.split("---"))
    cluster.roll_out("churn", "web-v1", "web-v2", "toolbox")
    [first, *_] = cluster.objects("pods", "churn", "app=web,version=v1")
    cluster.apply("churn", SLICE.replace("ADDRESS", first["status"]["podIP"]))
    for target in TARGETS:
        place, _, name = target.partition("/")
        code = f"curl -s -o /dev/null -w %{{http_code}} -H 'host: {name}' http://{place}/"
        eventually(lambda code=code: cluster.shell("churn", "toolbox", code) == "200")  # type: ignore[misc]
    yield cluster
    cluster.kubectl("delete", "envoyfilters", "-n", "istio-system", "--all")
    cluster.kubectl("delete", "ns", "churn", "--wait=false")


@pytest.mark.timeout(SECONDS + 180)
def test_no_request_fails_while_everything_changes(churned: Cluster, tmp_path: Path) -> None:
    requests = loading.begun(churned, "churn", RATE, SECONDS, TARGETS)
    time.sleep(1.0)
    log = tmp_path / "changes"
    with log.open("w") as changes:
        command = ["nsenter", f"--net=/run/netns/{churned.namespace}", sys.executable, "-m", "tests.e2e.churn"]
        place = [str(churned.home / "kubeconfig"), "churn", str(SECONDS - 3), str(SEED)]
        done = subprocess.run(
            [*command, *place], stdout=changes, stderr=subprocess.STDOUT, timeout=SECONDS + 60, check=False
        )
    began, found = loading.result(requests)
    told = _told(log.read_text(), began)
    assert done.returncode == 0, "\n".join(what for _, what in told[-20:])
    answers = found["seen"]
    print(json.dumps(found, indent=1), f"{len(told)} changes with seed {SEED}", sep="\n")
    assert len(told) > SECONDS, told
    assert {kind for each in answers.values() for kind in each} == {"200"}, "\n".join(
        [
            f"seed {SEED}, and what changed within {NEAR:g} s of the failures:",
            *_near(told, found["failures"]),
            loading.trouble(churned, found, ("istio-system", "churn")),
        ]
    )
    assert sum(each["200"] for each in answers.values()) == int(RATE * SECONDS)


def _told(log: str, began: float) -> list[tuple[float, str]]:
    """The changes, each with the time since the load began at which it began itself."""
    found = []
    for line in log.splitlines():
        stamp, _, what = line.partition(" ")
        try:
            found.append((float(stamp) - began, what))
        except ValueError:
            found.append((float("inf"), line))
    return found


def _near(told: list[tuple[float, str]], failures: list[dict[str, Any]]) -> list[str]:
    """The changes that began while a request that failed was on its way, or a little before or after."""
    spans = [(each["sent"] - NEAR, each["sent"] + each["took"] + NEAR) for each in failures]
    return [f"{at:.3f}s {what}" for at, what in told if any(begin <= at <= end for begin, end in spans)]
