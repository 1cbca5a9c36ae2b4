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

SECONDS = float(os.environ.get("WEFT_CHURN_SECONDS", "25"))
SEED = int(os.environ.get("WEFT_CHURN_SEED", "1"))
RATE = 200
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
    began, result = _result(requests)
    told = _told(log.read_text(), began)
    assert done.returncode == 0, told
    answers = result["seen"]
    print(json.dumps(result, indent=1), f"{len(told)} changes with seed {SEED}", sep="\n")
    assert len(told) > SECONDS, told
    assert {kind for each in answers.values() for kind in each} == {"200"}, (
        json.dumps(result, indent=1) + f"\nseed {SEED}\n" + "\n".join(told)
    )
    assert sum(each["200"] for each in answers.values()) == int(RATE * SECONDS)


def _result(requests: subprocess.Popen[str]) -> tuple[float, dict[str, Any]]:
    out, _ = requests.communicate(timeout=60)
    first, last = out.strip().splitlines()
    return json.loads(first)["began"], json.loads(last)


def _told(log: str, began: float) -> list[str]:
    """The changes, each with its time since the load began."""
    found = []
    for line in log.splitlines():
        stamp, _, what = line.partition(" ")
        try:
            found.append(f"{float(stamp) - began:.3f}s {what}")
        except ValueError:
            found.append(line)
    return found
